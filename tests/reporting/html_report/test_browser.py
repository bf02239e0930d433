"""In headless Chromium: the page works as its reader uses it, and nothing else runs or is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinical_runs import SETTINGS
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.reporting.html_report.cards import Outline
from modise_lightning.reporting.html_report.data_uri import picture_uri
from modise_lightning.reporting.html_report.predictions import (
    PredictedCard,
    PredictedLesion,
    render_predictions,
)
from modise_lightning.structures import Category
from report_runs import HOSTILE, SCENES, Runs, described, images_of, report_settings

# One worker of pytest-xdist runs them all, so that one browser is started at a time.
pytestmark = pytest.mark.xdist_group("browser")
PROCESS = Path(__file__).parents[2] / "browser_process.py"
WORST_FIRST = ["alarm.png", "other.png", f"{HOSTILE}.png", "image9.png", "image10.png", "nothing.png"]


@pytest.fixture(scope="module", autouse=True)
def _chromium() -> None:
    """Skip where Chromium cannot be: a platform that it is not built for, or system libraries are missing."""
    probe = [sys.executable, "-c", "import PySide6.QtWebEngineWidgets"]
    tried = subprocess.run(probe, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no headless Chromium: {tried.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = Runs(folder / "runs")
    runs.add("model", 0, images_of(SCENES), dataset=f"phantom {HOSTILE}")
    path = folder / "report.html"
    path.write_text(runs.page(report_settings()))
    return path


def visit(page: Path, *actions: tuple[str, str]) -> dict[str, Any]:
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-gpu",
    }
    done = subprocess.run(
        [sys.executable, str(PROCESS), str(page), json.dumps(actions)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def run(*scripts: str) -> tuple[str, str]:
    """Run scripts in the page; the value of the last one comes back."""
    return ("run", ";".join(scripts))


def choose(control: str, value: str) -> str:
    return (
        f"document.querySelector('.{control}').value = {json.dumps(value)};"
        f"document.querySelector('.{control}').dispatchEvent(new Event('change', {{bubbles: true}}))"
    )


# The images that are seen, in their order on the screen; as JSON, because values of other types get lost.
SHOWN = """JSON.stringify([...document.querySelectorAll('.card')]
    .filter((card) => card.checkVisibility())
    .sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top
        || one.getBoundingClientRect().left - other.getBoundingClientRect().left)
    .map((card) => card.dataset.name))"""


def visible(layer: str) -> str:
    """Count the cards whose outlines of a layer are seen."""
    layers = f"[...document.querySelectorAll('.card g.{layer}')]"
    return f"{layers}.filter((each) => getComputedStyle(each).display !== 'none').length"


def test_a_page_loads_without_a_complaint(page: Path) -> None:
    seen = visit(
        page,
        run(SHOWN),
        run("document.querySelector('.count').textContent"),
        run("[...document.images].filter((image) => image.naturalWidth > 0).length"),
        run("document.images.length"),
        run("getComputedStyle(document.querySelector('.cards')).display"),
        run("getComputedStyle(document.querySelector('g.truth path')).strokeDasharray"),
        run("document.documentElement.scrollWidth <= window.innerWidth"),
    )
    assert seen["messages"] == []
    assert {address.split(":")[0] for address in seen["addresses"]} <= {"file", "data"}
    assert [address for address in seen["addresses"] if address.startswith("file")] == [page.as_uri()]
    shown, count, loaded, images, display, dashes, fits = seen["values"]
    assert json.loads(shown) == WORST_FIRST
    assert count == "6 of 6 images"
    assert loaded == images == 7
    assert display == "grid"
    assert dashes == "5px, 3px"
    assert fits


def test_order_and_filters_change_what_is_seen(page: Path) -> None:
    seen = visit(
        page,
        run(choose("order", "best"), SHOWN),
        run(choose("order", "name"), SHOWN),
        run(choose("order", "worst"), choose("errors", "missed"), SHOWN),
        run(choose("errors", "false-positives"), SHOWN),
        run(choose("errors", "any"), SHOWN),
        run(choose("errors", "none"), SHOWN),
        run("document.querySelector('.count').textContent"),
        run(choose("errors", ""), choose("category", "1"), SHOWN),
        run(choose("errors", "missed"), SHOWN),
        run(choose("size", "large"), "document.querySelector('.gallery').dataset.size"),
    )
    assert seen["messages"] == []
    best, by_name, missed, false_positives, both, none, count, category, together, size = seen["values"]
    assert json.loads(best) == [
        "image10.png",
        "image9.png",
        f"{HOSTILE}.png",
        "alarm.png",
        "other.png",
        "nothing.png",
    ]
    assert json.loads(by_name)[1:] == ["alarm.png", "image9.png", "image10.png", "nothing.png", "other.png"]
    assert json.loads(missed) == ["other.png", "image9.png"]
    assert json.loads(false_positives) == ["alarm.png", "other.png"]
    assert json.loads(both) == ["alarm.png", "other.png", "image9.png"]
    assert json.loads(none) == [f"{HOSTILE}.png", "image10.png", "nothing.png"]
    assert count == "3 of 6 images"
    assert json.loads(category) == ["other.png", f"{HOSTILE}.png", "image9.png"]
    assert json.loads(together) == ["other.png", "image9.png"]
    assert size == "large"


def test_a_stratum_can_be_chosen_together_with_the_other_filters(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    settings = ClinicalSettings(**{**SETTINGS, "suspicious": ["benign"]})
    runs.add("model", 0, described(images_of(SCENES)), clinical=settings)
    path = tmp_path / "report.html"
    path.write_text(runs.page(report_settings()))
    option = "[...document.querySelectorAll('.stratum option')].find((each) => each.text === '{}').value"
    choose_by_text = (
        "document.querySelector('.stratum').value = {};"
        "document.querySelector('.stratum').dispatchEvent(new Event('change', {{bubbles: true}}))"
    )
    seen = visit(
        path,
        run(choose_by_text.format(option.format("normal")), SHOWN),
        run(choose_by_text.format(option.format("left")), SHOWN),
        run(choose("errors", "missed"), SHOWN),
        run("document.querySelector('.count').textContent"),
    )
    assert seen["messages"] == []
    normal, left, missed, count = seen["values"]
    assert json.loads(normal) == ["alarm.png", "nothing.png"]
    assert json.loads(left) == ["other.png", "image9.png", "nothing.png"]
    assert json.loads(missed) == ["other.png", "image9.png"]
    assert count == "2 of 6 images"


def test_check_boxes_show_and_hide_outlines(page: Path) -> None:
    seen = visit(
        page,
        run(visible("truth")),
        run("document.querySelector('.all-truth').click()", visible("truth")),
        run(visible("prediction")),
        run("document.querySelector('.show-truth').click()", visible("truth")),
        run("['checked', 'indeterminate'].map((one) => document.querySelector('.all-truth')[one]).join()"),
        run("document.querySelector('.all-prediction').click()", visible("prediction")),
        run("document.querySelector('.all-prediction').click()", visible("prediction")),
        run("String(document.querySelector('.all-prediction').indeterminate)"),
        run("document.querySelector('.enlarge').click()", "document.querySelectorAll('.enlarged').length"),
    )
    assert seen["messages"] == []
    assert seen["values"] == [6, 0, 6, 1, "true,true", 0, 6, "false", 1]


def test_outlines_stay_over_the_image_at_any_size(page: Path) -> None:
    """A picture point of image and outlines is at one place of the screen, in every size of a card."""
    # Of the right lower corner of "image10.png"'s square, 30 pixels from the left top one of 64 x 96.
    offset = """(() => {
        const card = document.querySelector('.card[data-name="image10.png"]');
        const image = card.querySelector('img'), box = image.getBoundingClientRect();
        const fits = getComputedStyle(image).objectFit === 'contain';
        const scale = Math.min(box.width / 64, box.height / 96);
        const [across, down] = fits ? [scale, scale] : [box.width / 64, box.height / 96];
        const corner = card.querySelector('g.truth path:not(.casing)').getBoundingClientRect();
        const right = box.left + box.width / 2 + across * (30 - 32);
        const bottom = box.top + box.height / 2 + down * (30 - 48);
        return JSON.stringify([scale, corner.right - right, corner.bottom - bottom]);
    })()"""
    enlarge = "[...document.querySelectorAll('.enlarge')].forEach((each) => each.click())"
    seen = visit(page, run(offset), run(choose("size", "small"), offset), run(enlarge, offset))
    medium, small, enlarged = (json.loads(value) for value in seen["values"])
    assert small[0] < medium[0] < enlarged[0]
    for _, right, bottom in (medium, small, enlarged):
        assert abs(right) < 3
        assert abs(bottom) < 3


def test_the_keyboard_is_enough(page: Path) -> None:
    seen = visit(
        page,
        run("document.querySelector('.all-truth').focus()", "document.activeElement.className"),
        ("key", "Space"),
        run(visible("truth")),
        ("key", "Tab"),
        run("document.activeElement.className"),
        ("key", "Tab"),
        run("document.activeElement.className"),
        ("key", "Down"),
        run(SHOWN),
    )
    assert seen["messages"] == []
    focus, hidden, second, third, best = seen["values"]
    assert focus == "all-truth"
    assert hidden == 0
    assert second == "all-prediction"
    assert third == "order"
    assert json.loads(best)[0] == "image10.png"


def test_names_that_are_code_do_nothing_and_foreign_code_is_refused(page: Path) -> None:
    seen = visit(page, run("document.scripts.length"))
    assert seen["values"] == [1]
    for foreign in (
        "<script>window.foreign = 1</script>",
        '<img src="x" onerror="window.foreign = 1">',
        '<img src="https://example.org/x.png">',
    ):
        changed = page.with_name("changed.html")
        changed.write_text(page.read_text().replace("<main>", f"<main>{foreign}"))
        refused = visit(changed, run("String(window.foreign)"))
        assert refused["values"] == ["undefined"]
        assert any("Content Security Policy" in message for message in refused["messages"])
        assert not [address for address in refused["addresses"] if "example.org" in address]


def predicted_page(folder: Path) -> Path:
    """Three images: two lesions in a right CC view, one in a left MLO view, none in one of no known view."""
    square = "M10 10L40 10L40 40L10 40Z"
    categories = [Category(HOSTILE, ("mass",)), Category("cyst", ("cyst",), color=(0, 0, 255))]

    def lesion(category: int, score: float) -> PredictedLesion:
        return PredictedLesion(category, score, "12 mm", Outline(square, "#e69f00", HOSTILE))

    picture = picture_uri(np.zeros((60, 50), np.float32), 80)
    cards = [
        PredictedCard(name, HOSTILE, side, view, picture, 50, 60, lesions)
        for name, side, view, lesions in (
            ("none.png", None, None, ()),
            (f"{HOSTILE}.png", "left", "MLO", (lesion(1, 0.4),)),
            ("two.png", "right", "CC", (lesion(0, 0.9), lesion(1, 0.2))),
        )
    ]
    path = folder / "gallery.html"
    path.write_text(render_predictions(cards, categories, number=5, model=HOSTILE, notice="Synthetic."))
    return path


def test_predictions_are_ordered_and_chosen_by_class_view_and_score(tmp_path: Path) -> None:
    both = ["two.png", f"{HOSTILE}.png"]
    outlines = "document.querySelectorAll('g.lesion:not([hidden])').length"
    slider = "document.querySelector('.score')"
    slide = f"{slider}.value = 0.3; {slider}.dispatchEvent(new Event('input'))"
    seen = visit(
        predicted_page(tmp_path),
        run(SHOWN),
        run(choose("category", "1"), SHOWN),
        run(slide, SHOWN),
        run(outlines),
        run(choose("category", ""), choose("found", "some"), SHOWN),
        run(choose("found", "none"), SHOWN),
        run(choose("found", ""), choose("place", "left MLO"), SHOWN),
        run("document.querySelector('.count').textContent"),
        run("document.querySelector('header').textContent.includes('2 of 5 images are left out')"),
        run("document.querySelector('h1').textContent"),
        run("document.documentElement.scrollWidth <= window.innerWidth"),
    )
    assert seen["messages"] == []
    assert {address.split(":")[0] for address in seen["addresses"]} <= {"file", "data"}
    everything, cysts, surer, drawn, found, empty, left, count, told, title, fits = seen["values"]
    assert json.loads(everything) == [*both, "none.png"]
    assert json.loads(cysts) == both[::-1]  # the cyst of the other image scores 0.2
    assert json.loads(surer) == both[1:]
    assert drawn == 1
    assert json.loads(found) == both
    assert json.loads(empty) == ["none.png"]
    assert json.loads(left) == both[1:]
    assert count == "1 of 3 images"
    assert told
    assert HOSTILE in title
    assert fits
