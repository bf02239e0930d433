"""A page is one file that loads nothing, in which names are only names, with the numbers of the results."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import cv2
import html5lib
import numpy as np
import pytest

from clinical_runs import SETTINGS as CLINICAL_SETTINGS
from modise_lightning.errors import UserError
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.reporting.html_report.page import make_report, render_report
from report_runs import (
    HOSTILE,
    HOSTILE_ATTRIBUTE,
    NAMES,
    SCENES,
    Runs,
    described,
    images_of,
    picture,
    random_scenes,
    report_settings,
)

SVG = "{http://www.w3.org/2000/svg}"


def parse(page: str) -> Element:
    parser = html5lib.HTMLParser(namespaceHTMLElements=False, strict=True)
    return parser.parse(page)


def text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def with_class(element: Element, name: str) -> list[Element]:
    return [each for each in element.iter() if name in each.get("class", "").split()]


def colored(group: Element) -> list[Element]:
    """Give the outlines of segments; each has a dark line below it."""
    casings = group.findall(f"{SVG}path[@class='casing']")
    outlines = [path for path in group if path not in casings]
    assert [path.get("d") for path in casings] == [path.get("d") for path in outlines]
    return outlines


def card_names(root: Element) -> list[str | None]:
    return [card.get("data-name") for card in with_class(root, "card")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One run, with scenes and names that are worked out by hand."""
    made = Runs(tmp_path_factory.mktemp("runs"))
    made.add(f"model {HOSTILE}", 1, images_of(SCENES), dataset=f"phantom {HOSTILE}")
    return made


@pytest.fixture(scope="module")
def page(runs: Runs) -> str:
    return runs.page(report_settings())


@pytest.fixture(scope="module")
def root(page: str) -> Element:
    return parse(page)


def test_it_loads_nothing_and_runs_only_its_own_script(page: str, root: Element) -> None:
    for element in root.iter():
        for attribute in (
            "src",
            "href",
            "action",
            "data",
            "srcset",
            "poster",
            "{http://www.w3.org/1999/xlink}href",
        ):
            value = element.get(attribute)
            assert value is None or value.startswith(("data:image/", "#")), value
        assert element.tag not in {"link", "iframe", "object", "embed", "base"}
        assert element.get("style") is None
        assert not [name for name in element.keys() if name.lower().startswith("on")]  # noqa: SIM118
    (style,), (script,) = (list(root.iter(tag)) for tag in ("style", "script"))
    assert style.text is not None
    assert script.text is not None
    assert not re.search(r"url\(|@import", style.text)
    assert "http" not in style.text + script.text
    (policy,) = (
        str(each.get("content"))
        for each in root.iter("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'{sha256(style.text)}'",
        "script-src": f"'{sha256(script.text)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.index("Content-Security-Policy") < page.index("<style")


def sha256(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def test_names_are_only_names(root: Element) -> None:
    assert f"phantom {HOSTILE}" in text(root.find(".//h1"))
    assert f"{HOSTILE}.png" in card_names(root)
    headings = [text(each) for each in root.iter("h3")]
    assert f"{HOSTILE}.png" in headings
    options = [text(each) for each in root.iter("option")]
    assert HOSTILE_ATTRIBUTE in options
    assert any(HOSTILE_ATTRIBUTE in text(each) for each in root.iter(f"{SVG}title"))
    assert {each.get("alt") for each in root.iter("img")} >= {f"{HOSTILE}.png"}


def test_the_heading_says_what_it_is_of(root: Element, runs: Runs) -> None:
    facts = {text(each.find("dt")): text(each.find("dd")) for each in with_class(root, "facts")[0]}
    assert facts["Experiment"] == f"model {HOSTILE}"
    assert facts["Test folds"] == "1 (of 2)"
    assert facts["IoU threshold"] == "0.30"
    assert facts["Checkpoint"] == str(runs.folder / "run0" / "checkpoints" / "best.ckpt")
    assert [text(each) for each in with_class(root, "badge")] == ["Synthetic images, not patients"] * 2


def test_real_images_have_no_badge_but_their_attribution(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.add("m", 0, images_of(SCENES[:2]), synthetic=False, dataset="cdd_cesm")
    root = parse(runs.page(report_settings()))
    assert not with_class(root, "badge")
    assert "synthetic" not in text(root.find("body")).lower()
    assert "Attribution of cdd_cesm" in text(root.find("body"))


def test_a_table_of_one_fold_has_the_numbers_of_the_results(runs: Runs, root: Element) -> None:
    (table,) = runs.tables()
    result = next(iter(table.models[0].results.values()))
    index = result.thresholds.index(0.3)
    shown, with_intervals = with_class(root, "numbers")
    assert "each number; mean over folds and 95 % interval" in text(with_intervals.find("caption"))
    fixed = ["PQ 0.1", "PQ 0.25", "PQ 0.5"]
    columns = [text(each) for each in shown.find("thead").iter("th")]
    assert columns == ["model", "fold", "images", "T", "PQ", "RQ", "SQ", "AP", "Dice", *fixed]
    rows = [[text(cell) for cell in line] for line in shown.find("tbody")]
    means = [
        result.panoptic_quality[index],
        result.recognition_quality[index],
        result.segmentation_quality[index],
        result.average_precision[index],
        result.dice,
        *(result.panoptic_quality[result.thresholds.index(t)] for t in (0.1, 0.25, 0.5)),
    ]
    assert rows[0] == [table.models[0].label, "1", "6", "0.30", *(f"{100 * value:.2f}" for value in means)]
    for row, name in zip(rows[1:], NAMES, strict=True):
        values = [
            result.panoptic_quality_by_category[name][index],
            result.recognition_quality_by_category[name][index],
            result.segmentation_quality_by_category[name][index],
            result.average_precision_by_category[name][index],
            result.dice_by_category[name],
            *(
                result.panoptic_quality_by_category[name][result.thresholds.index(t)]
                for t in (0.1, 0.25, 0.5)
            ),
        ]
        assert row == [name, "", "", "", *(f"{100 * value:.2f}" for value in values)]


def test_cards_say_what_is_seen_the_worst_first(root: Element) -> None:
    assert card_names(root) == [
        "alarm.png",
        "other.png",
        f"{HOSTILE}.png",
        "image9.png",
        "image10.png",
        "nothing.png",
    ]
    cards = {str(card.get("data-name")): card for card in with_class(root, "card")}
    counts = {
        name: [text(each) for each in with_class(card, "counts")[0].iter("dd")][:4]
        for name, card in cards.items()
    }
    assert counts["image9.png"] == ["50.0 %", "1", "0", "1"]
    assert counts["alarm.png"] == ["0.0 %", "0", "1", "0"]
    assert counts["nothing.png"] == ["-", "0", "0", "0"]
    assert "missed" in text(cards["image9.png"].find("details"))
    assert "false positive" in text(cards["alarm.png"].find("details"))
    assert cards["image9.png"].get("data-categories") == "0 1"
    assert cards["nothing.png"].get("data-categories") == ""
    assert cards["nothing.png"].get("data-iou") == ""
    assert not with_class(root, "differs")


def test_cards_show_the_image_with_its_segments_over_it(root: Element) -> None:
    card = next(each for each in with_class(root, "card") if each.get("data-name") == "image9.png")
    (image,), (drawing,) = list(card.iter("img")), list(card.iter(f"{SVG}svg"))
    encoded = np.frombuffer(base64.b64decode(str(image.get("src")).split(",")[1]), np.uint8)
    shown = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    assert np.abs(shown / 255 - picture()).mean() < 0.02
    assert (image.get("width"), image.get("height")) == ("64", "96")
    assert drawing.get("viewBox") == "0 0 64 96"
    truth, prediction = (with_class(drawing, name)[0] for name in ("truth", "prediction"))
    assert [path.get("stroke") for path in colored(truth)] == ["#56b4e9", "#e69f00"]
    assert [path.get("stroke") for path in colored(prediction)] == ["#56b4e9"]
    assert [text(path) for path in colored(prediction)] == ["prediction: benign, score 0.90"]
    for toggle in ("show-truth", "show-prediction"):
        (box,) = with_class(card, toggle)
        assert box.get("checked") is not None
        assert [each.get("for") for each in card.iter("label")].count(box.get("id")) == 1


def test_large_images_become_small_pictures(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.add("m", 0, images_of(SCENES[:1]))
    gallery = {**report_settings().gallery.model_dump(), "longest_side": 64}
    (image,) = parse(runs.page(report_settings(gallery=gallery, figures=[]))).iter("img")
    assert (image.get("width"), image.get("height")) == ("43", "64")


def test_a_cross_validation_has_its_table_and_a_gallery_a_model(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    generator = np.random.default_rng(1)
    for name in ("good", "bad"):
        for fold in (0, 1):
            scenes = random_scenes(generator, 6)
            runs.add(name, fold, images_of(scenes, 10 * fold), checkpoint=(name, fold) != ("bad", 1))
    root = parse(runs.page(report_settings()))
    first = text(with_class(root, "numbers")[0])
    (table,) = runs.tables()
    for row in table.models:
        for metric in ("PQ", "RQ", "SQ", "AP", "Dice"):
            summary = row.summary(metric)
            assert f"{100 * summary.mean:.2f} ± {100 * summary.deviation:.2f}" in first
    galleries = {text(each.find("h2")).split()[3]: each for each in with_class(root, "gallery")}
    assert list(galleries) == ["bad", "good"]
    assert len(with_class(galleries["good"], "card")) == 12
    assert len(with_class(galleries["bad"], "card")) == 6
    assert "Fold 1 is not shown: it has no checkpoint" in text(galleries["bad"])
    ious = [float(card.get("data-iou") or 2) for card in with_class(galleries["good"], "card")]
    assert ious == sorted(ious)
    identifiers = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(identifiers) == len(set(identifiers))


def test_images_that_are_left_out_are_said(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.add("m", 0, images_of(SCENES))
    gallery = {**report_settings().gallery.model_dump(), "max_images": 4}
    root = parse(runs.page(report_settings(gallery=gallery)))
    assert card_names(root) == ["alarm.png", "other.png", f"{HOSTILE}.png", "nothing.png"]
    assert "2 of 6 images are left out (gallery.max_images=4)" in text(with_class(root, "gallery")[0])
    none = {**gallery, "max_images": 0}
    assert not with_class(parse(runs.page(report_settings(gallery=none))), "gallery")


def test_a_prediction_that_is_not_the_recorded_one_is_said(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    folder = runs.add("m", 0, images_of(SCENES))
    others = [(name, truth, [(60, 40, 9, 0)]) for name, truth, _ in SCENES]
    runs.images[folder] = {record.image_id: (record, *rest) for record, *rest in images_of(others)}
    root = parse(runs.page(report_settings()))
    assert len(with_class(root, "differs")) == 6
    assert "In 6 images the segments that are drawn are not exactly" in text(root.find("body"))


def test_curves_are_pictures_that_need_no_font(root: Element) -> None:
    (figure,) = with_class(root, "chart")
    source = str(next(figure.iter("img")).get("src"))
    assert source.startswith("data:image/svg+xml;base64,")
    drawn = base64.b64decode(source.split(",")[1]).decode()
    assert "<text" not in drawn
    assert "<script" not in drawn


def test_every_curve_can_be_drawn(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.add("m", 0, images_of(random_scenes(np.random.default_rng(0), 6)))
    names = ["threshold_ablation", "precision_recall", "froc", "calibration", "confusion"]
    root = parse(runs.page(report_settings(figures=names)))
    assert [str(next(each.iter("img")).get("alt")).split()[0] for each in with_class(root, "chart")] == [
        "Panoptic,",
        "Precision",
        "Sensitivity",
        "Calibration",
        "Confusion",
    ]


CLINICAL = ClinicalSettings(**{**CLINICAL_SETTINGS, "suspicious": [NAMES[1]]})


def test_clinical_runs_have_a_second_table_charts_and_strata(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.add("m", 0, described(images_of(SCENES)), clinical=CLINICAL)
    root = parse(runs.page(report_settings()))
    tables = with_class(root, "numbers")
    captions = [text(table.find("caption")) for table in tables]
    assert "cases, lesions and borders" in captions[1]
    assert "lesions found at each evaluation's best T" in captions[2]
    assert "patient AUC" in text(tables[1])
    alts = [str(next(each.iter("img")).get("alt")) for each in with_class(root, "chart")]
    assert [alt.split(",")[0] for alt in alts[1:]] == ["ROC of cases", "Lesions found"]
    (choice,) = with_class(root, "stratum")
    levels = {
        group.get("label"): {option.text: option.get("value") for option in group}
        for group in choice.iter("optgroup")
    }
    assert set(levels) == {"findings", "view", "side"}  # all lesions are of one size
    assert set(levels["view"]) == {"CC", f"MLO {HOSTILE}"}
    shown = {
        card.get("data-name"): (card.get("data-strata") or "").split() for card in with_class(root, "card")
    }
    assert [name for name, own in shown.items() if levels["view"][f"MLO {HOSTILE}"] in own] == ["image10.png"]
    normal = {name for name, own in shown.items() if levels["findings"]["normal"] in own}
    assert normal == {"nothing.png", "alarm.png"}


def test_what_clinical_charts_cannot_show_is_told_on_the_page(tmp_path: Path) -> None:
    """Every image has a lesion of the suspicious class, so that no case is negative."""
    runs = Runs(tmp_path)
    scenes = [(f"{index}.png", [(10, 10, 20, 1)], [(12, 10, 20, 1)]) for index in range(3)]
    runs.add("m", 0, described(images_of(scenes)), clinical=CLINICAL)
    (table,) = runs.tables()
    made = make_report(table, report_settings(), runs.predict)
    assert made.left_out == []
    assert [chart.title for chart in made.charts][1:] == ["Lesions found, by stratum"]
    root = parse(render_report(made))
    assert "roc cannot be drawn: each of 3 cases (breast) has a suspicious lesion" in text(root)


def test_runs_of_the_papers_metrics_have_neither(root: Element) -> None:
    assert not with_class(root, "stratum")
    assert len(with_class(root, "chart")) == 1


def test_equal_runs_give_equal_pages(runs: Runs, page: str) -> None:
    assert runs.page(report_settings()) == page


def test_a_wrong_setting_is_told() -> None:
    with pytest.raises(UserError, match=r"figures\.0: .*found 'qualitative_grid'"):
        report_settings(figures=["qualitative_grid"])
    with pytest.raises(UserError, match=r"gallery\.quality: .*found 101"):
        report_settings(gallery={**report_settings().gallery.model_dump(), "quality": 101})
