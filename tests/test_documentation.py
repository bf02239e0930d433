"""Links lead somewhere, commands compose, and the site is complete and opens without a network."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from modise_lightning.configuration.command_line import config_directory

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    file
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "benchmarks/*.md")
    for file in REPOSITORY.glob(pattern)
)
COMMAND = re.compile(r"(?:^|`)(python -m modise_lightning\.[^`\n]+)", re.MULTILINE)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}


def prose(text: str) -> str:
    """Leave out blocks and spans of code, which hold no links."""
    return re.sub(r"`[^`\n]*`", "``", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(file: Path) -> set[str]:
    """Name the headings as MkDocs and code hosts do."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def commands(file: Path) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", file.read_text())
    return [re.sub(r"\s#\s.*", "", found).strip() for found in COMMAND.findall(joined)]


ALL_COMMANDS = sorted({command for page in PAGES for command in commands(page)})


@pytest.fixture(autouse=True)
def _hydra_forgets() -> Iterator[None]:
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{target}: no such file"
        assert file.is_relative_to(REPOSITORY), f"{target} leaves the repository"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading in {file.name}"


def test_the_check_of_links_finds_what_is_broken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One heading, two words\n")
    assert anchors(page) == {"one-heading-two-words"}
    assert re.findall(r"\]\(([^)\s]+)\)", prose("[a](b) `[c](d)`\n```\n[e](f)\n```\n")) == ["b"]


def test_the_readme_has_the_commands() -> None:
    shown = {command.split()[2].rpartition(".")[2] for command in commands(REPOSITORY / "README.md")}
    assert shown == {file.stem for file in config_directory().glob("*.yaml")}


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_commands_compose(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("convolutional_backbone", "circles_dataset"):
        monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / package))
    module, *arguments = shlex.split(command)[2:]
    sweep = "-m" in arguments
    overrides = []
    for argument in arguments:
        if argument in ("-m", "--help", "--cfg", "job"):
            continue
        assert "=" in argument, f"{argument!r} is no option"
        key, _, value = argument.partition("=")
        if "my_package" in value and "searchpath" in key:
            pytest.skip("of a package of the reader's")
        is_swept = sweep and "," in value and not value.startswith("[")
        overrides.append(f"{key}={value.split(',')[0] if is_swept else value}")
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose(module.rpartition(".")[2], overrides=overrides, return_hydra_config=True)
    assert "output_dir" in config


def test_the_backbone_on_the_page_runs() -> None:
    import torch

    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/own_backbone.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    backbone = names["Convolutions"](channels=[4, 8, 12, 16])
    levels = backbone(torch.rand(2, 3, 64, 96), None)
    shapes = [tuple(level.shape) for level in (levels.s2, levels.s3, levels.s4, levels.s5)]
    assert shapes == [(2, 4, 16, 24), (2, 8, 8, 12), (2, 12, 4, 6), (2, 16, 2, 3)]
    assert backbone.learning_rate_multiplier == 1.0


def test_errors_that_are_explained_exist() -> None:
    """Quotations in bold are messages; what varies in them is dots, numbers or in quotation marks."""
    explained = re.findall(r"\*\*`([^`]+)`\*\*", (REPOSITORY / "docs/faq.md").read_text())
    assert len(explained) > 15
    files = (REPOSITORY / "src").rglob("*.py")
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files))
    for message in (" ".join(quoted.split()) for quoted in explained):
        if message.startswith("Could not"):
            continue  # Hydra's; told by tests of the commands
        fixed = re.split(r"\.\.\.|'[^']*'|\d+|\b(?:nan|float)\b|^[\w.]+: ", message)
        parts = [part.strip(" ():,;") for part in fixed if len(part.strip(" ():,;")) > 3]
        assert parts
        for part in parts:
            assert part in source, f"{message}: no message says {part!r}"


class _Addresses(HTMLParser):
    """Collects what a browser fetches for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        fetching = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
        if tag in fetching and values.get(fetching[tag]):
            self.fetched.append(str(values[fetching[tag]]))
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(str(values.get("href")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.mark.xdist_group("documentation")
def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        parser = _Addresses()
        parser.feed(page.read_text())
        assert parser.fetched
        assert [name for name in parser.fetched if re.match(r"(https?:)?//", name)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text()), sheet.name


@pytest.mark.xdist_group("documentation")
def test_every_setting_is_in_the_reference(site: Path) -> None:
    for file in config_directory().rglob("*.yaml"):
        group = file.parent.relative_to(config_directory()).as_posix()
        name = "commands" if group == "." else group.replace("/", "_")
        text = re.sub(r"<[^>]+>", "", (site / "reference" / "settings" / f"{name}.html").read_text())
        assert f"{group}={file.stem}" in text or f"modise_lightning.{file.stem}" in text
        prefix = (
            "" if group == "." or "@package _global_" in file.read_text() else group.replace("/", ".") + "."
        )
        for key in yaml.safe_load(file.read_text()):
            assert key == "defaults" or f"{prefix}{key}" in text, f"{file.name}: {key}"
    optimizer = (site / "reference" / "settings" / "optimizer.html").read_text()
    row = next(line for line in optimizer.split("<tr>") if "<code>optimizer.learning_rate</code>" in line)
    assert "<code>1.0e-4</code>" in row
    assert "ODISE" in row, "the comment says where the value is from"


@pytest.mark.xdist_group("documentation")
def test_every_module_is_in_the_reference(site: Path) -> None:
    text = "".join(file.read_text() for file in (site / "reference" / "python").glob("*.html"))
    package = REPOSITORY / "src" / "modise_lightning"
    for file in package.rglob("*.py"):
        parts = file.relative_to(package.parent).with_suffix("").parts
        if parts[-1] != "__init__":
            assert f'id="{".".join(parts)}"' in text


@pytest.mark.xdist_group("documentation")
def test_the_search_finds_a_page_without_a_server(site: Path) -> None:
    probe = [sys.executable, "-c", "import PySide6.QtWebEngineWidgets"]
    tried = subprocess.run(probe, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no headless Chromium: {tried.stderr.strip().splitlines()[-1]}")
    search = """
        document.querySelector('[data-md-toggle=search]').click();
        const query = document.querySelector('[data-md-component=search-query]');
        query.focus();
        query.value = 'captioner';
        query.dispatchEvent(new Event('keyup'));
        query.dispatchEvent(new Event('input'));
        0
    """
    count = "document.querySelectorAll('.md-search-result__item').length"
    # A key that changes nothing lets a tenth of a second pass.
    actions = [["run", search], *[["key", "Shift"], ["run", count]] * 40]
    shown = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parent / "browser_process.py"),
            str(site / "index.html"),
            json.dumps(actions),
        ],
        env={
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "QTWEBENGINE_DISABLE_SANDBOX": "1",
            "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-gpu",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    seen = json.loads(shown.stdout.splitlines()[-1])
    assert seen["values"][-1] > 3, seen["messages"]
    assert {address.split(":")[0] for address in seen["addresses"]} <= {"file", "data", "blob", "about"}
