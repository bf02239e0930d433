"""Generates pages of the documentation site while it is built: the reference, and the project's own texts.

A hook of MkDocs (``hooks`` in ``mkdocs.yml``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
CONFIGURATION = REPOSITORY / "conf"
PACKAGE = REPOSITORY / "src" / "modise_lightning"
# Texts that lie elsewhere in the repository, by the page that shows them.
BROUGHT_IN = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "benchmarks.md": "benchmarks/README.md",
    "examples.md": "examples/README.md",
}
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_COMMENT = re.compile(r"\s#\s(.*)$")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    nav: Any = config.nav
    reference = next(section for section in nav if "Reference" in section)
    reference["Reference"] = [
        {"Settings": [{title: page} for title, page, _ in setting_pages()]},
        {"Python": [{title: page} for title, page, _ in package_pages()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = [(page, text) for _, page, text in (*setting_pages(), *package_pages())]
    pages += [(page, (REPOSITORY / source).read_text()) for page, source in BROUGHT_IN.items()]
    for page, text in pages:
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links, which are right in the repository, to the pages of the site."""
    own = BROUGHT_IN.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {(REPOSITORY / source).resolve(): name for name, source in BROUGHT_IN.items()}

    def moved(match: re.Match[str]) -> str:
        target = ((REPOSITORY / own).parent / match[1]).resolve()
        if target.is_relative_to(REPOSITORY / "docs"):
            name = target.relative_to(REPOSITORY / "docs").as_posix()
        elif target in pages:
            name = pages[target]
        else:
            return match[0]
        return f"]({name}{match[2] or ''})" if "/" not in page.file.src_uri else match[0]

    return _LINK.sub(moved, markdown)


def setting_pages() -> list[tuple[str, str, str]]:
    """Write a page for the commands and one for each group of settings: title, name, text."""
    pages = [("Commands", "reference/settings/commands.md", _settings_page("Commands", ""))]
    for group in sorted({file.parent for file in CONFIGURATION.rglob("*.yaml")} - {CONFIGURATION}):
        name = group.relative_to(CONFIGURATION).as_posix()
        pages.append((name, f"reference/settings/{name.replace('/', '_')}.md", _settings_page(name, name)))
    return pages


def _settings_page(title: str, group: str) -> str:
    parts = [f"# {title}"]
    if group:
        parts.append(f"A choice is made with `{group}=NAME`; `--help` says which a command offers.")
    for file in sorted((CONFIGURATION / group).glob("*.yaml")):
        source = file.read_text()
        comments = [
            line.removeprefix("#").strip()
            for line in source.splitlines()
            if not line.startswith("# @package")
        ]
        is_global = not group or "# @package _global_" in source
        prefix = "" if is_global else f"{group.replace('/', '.')}."
        heading = f"{group}={file.stem}" if group else f"python -m modise_lightning.{file.stem}"
        parts += [f"## {heading}", _escape(comments[0])]
        rows = list(rows_of(source, prefix))
        if rows:
            parts.append("\n".join(["| setting | value | |", "|---|---|---|", *rows]))
        shown = "\n".join(f"    {line}".rstrip() for line in source.splitlines())
        parts.append(f'??? note "conf/{file.relative_to(CONFIGURATION)}"\n    ```yaml\n{shown}\n    ```')
    return "\n\n".join(parts) + "\n"


def rows_of(source: str, prefix: str) -> Iterator[str]:
    """Give a row of a table for every value of a configuration file, with the comment at its end.

    Args:
        source: YAML.
        prefix: What stands before its keys.
    """
    root = yaml.compose(source, Loader=yaml.SafeLoader)
    lines = source.splitlines()
    if isinstance(root, yaml.MappingNode):
        yield from _rows(root, prefix, lines)


def _rows(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[str]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name.split(".")[-1] == "defaults":
            continue
        comment = _COMMENT.search(lines[key.start_mark.line])
        told = _escape(comment[1]) if comment else ""
        is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        if is_block and isinstance(value, yaml.MappingNode):
            if told:
                yield f"| `{name}` | | {told} |"
            yield from _rows(value, f"{name}.", lines)
        elif is_block or (isinstance(value, yaml.ScalarNode) and value.style == "|"):
            yield f"| `{name}` | *in the file below* | {told} |"
        else:
            text = value.start_mark.buffer[value.start_mark.pointer : value.end_mark.pointer]
            yield f"| `{name}` | `{_cell(' '.join(text.split()))}` | {told} |"


def _cell(text: str) -> str:
    return text.rstrip("\0").replace("|", "\\|")


def _escape(text: str) -> str:
    """Keep text from being read as HTML, a column, a link or emphasis; code in backticks stays code."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return re.sub(r"([\\*_\[\]])", r"\\\1", text)


def package_pages() -> list[tuple[str, str, str]]:
    """Write a page for each package with all its modules: title, name, text."""
    folders = sorted({file.parent for file in PACKAGE.rglob("*.py")})
    pages = []
    for folder in folders:
        files = sorted(file for file in folder.glob("*.py") if file.stem != "__init__")
        if not files and folder != PACKAGE:
            continue
        parts = folder.relative_to(PACKAGE.parent).parts
        name = ".".join(parts)
        modules = [f"::: {name}.{file.stem}" for file in files]
        head = f"::: {name}\n    options:\n      members: false\n      heading_level: 1"
        page = f"reference/python/{'_'.join(parts[1:]) or parts[0]}.md"
        pages.append((".".join(parts[1:]) or name, page, "\n\n".join([head, *modules]) + "\n"))
    return pages
