"""Renders a template as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from modise_lightning.reporting.pictures.text import hex_color

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, script: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:  # noqa: ANN401
    """Write a page as HTML.

    The file loads nothing. Its Content-Security-Policy lets only its own style sheet and script run, known by
    their hashes, and every text in it is escaped: a name from a dataset cannot become code.

    Args:
        template: Its file's name.
        script: Likewise; it is put into the page, behind what the galleries of all pages share.
        filters: Further filters of the template, by name.
        values: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters, hex_color=hex_color)
    style, shared, own = (
        (_TEMPLATES / name).read_text("utf-8") for name in ("report.css", "gallery.js", script)
    )
    code = shared + own
    return environment.get_template(template).render(
        **values,
        style=Markup(style),  # our own files, not a reader's
        script=Markup(code),
        policy="; ".join(
            [
                "default-src 'none'",
                "img-src data:",
                f"style-src '{_hash(style)}'",
                f"script-src '{_hash(code)}'",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
        version=importlib.metadata.version("modise-lightning"),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
