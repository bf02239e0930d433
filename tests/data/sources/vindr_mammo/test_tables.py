"""VinDr-Mammo's tables: lists without evaluating them, hostile cells, and tables of the release's size."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modise_lightning.data.preparation.csv_table import read_csv_table
from modise_lightning.data.sources.vindr_mammo.selection import NAMES, select_images
from modise_lightning.data.sources.vindr_mammo.tables import parse_list, read_breasts, read_findings
from modise_lightning.errors import UserError
from vindr_mammo_download import HEADER, identity, row, write_csv

TEXT = st.text(st.characters(exclude_characters='[]\\"', exclude_categories=("C", "Z")), max_size=20)


@given(st.lists(TEXT, max_size=5))
def test_a_list_is_read_as_python_would(texts: list[str]) -> None:
    printed = repr(texts)
    assert list(parse_list(printed)) == ast.literal_eval(printed)


@given(st.text(max_size=40) | st.text("[]'\", ab\\", max_size=20))
def test_what_is_read_is_what_python_reads(text: str) -> None:
    try:
        found = parse_list(text)
    except ValueError:
        return
    assert list(found) == [str(value).strip() for value in ast.literal_eval(text)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mass",
        "['Mass'",
        "'Mass']",
        "['Mass' 'Skin']",
        "[Mass]",
        "['Mass', 3]",
        "__import__('os')",
        "[[]]",
    ],
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a list of texts"):
        parse_list(text)


def test_a_long_hostile_list_is_refused_at_once() -> None:
    for text in ("[" * 50_000, "['" + "a" * 50_000, "['a'" + " " * 50_000 + "x]", "['a'," * 20_000):
        with pytest.raises(ValueError, match="is not a list of texts"):
            parse_list(text)


CELL = st.sampled_from(
    ["", "nan", "inf", "1e400", "-5", "0", "abc", "['Mass']", "training", "../x", "3518.0", "\x00"]
)


@given(rows=st.lists(st.tuples(*[CELL] * len(HEADER)), max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_cells_are_told(rows: list[tuple[str, ...]], tmp_path: Path) -> None:
    path = tmp_path / "findings.csv"
    write_csv(path, [HEADER, row(1, 1), *rows])
    images, problems = read_findings(path)
    assert list(images) == [identity(1)]
    assert len(problems) == sum(any(cells) for cells in rows)


def test_a_table_with_repeated_columns_and_a_mark_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("\ufeffid,value,id\n 1 ,'a,b',3\n\n1,\"a,b\",3\n\n", encoding="utf-8")
    rows, problems = read_csv_table(path, ["id"])
    assert [(found.number, found.cells) for found in rows] == [(4, {"id": "1", "value": "a,b"})]
    assert problems == ["metadata.csv, row 2: 4 cells instead of 3; left out."]


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(UserError, match="cannot be read as CSV"):
        read_csv_table(path, ["id"])
    path.write_text("")
    with pytest.raises(UserError, match="no column 'id'; found nothing"):
        read_csv_table(path, ["id"])
    path.write_text("id\n" + "x" * (csv.field_size_limit() + 1))
    with pytest.raises(UserError, match="cannot be read as CSV"):
        read_csv_table(path, ["id"])


def test_tables_of_the_release_s_size_give_its_counts(tmp_path: Path) -> None:
    """As many images and boxes as the release has; which box lies on which image is made up."""
    assessments = [*["BI-RADS 3"] * 893, *["BI-RADS 4"] * 995, *["BI-RADS 5"] * 241, *[""] * 125]
    images_with_boxes = 1768
    rows = []
    for image in range(20_000):
        split = "test" if image >= 16_000 else "training"
        boxes = assessments[image::images_with_boxes] if image < images_with_boxes else []
        rows += [row(image // 4, image, (5, 5, 60, 60), birads, "['Mass']", split) for birads in boxes]
        if not boxes:
            rows.append(row(image // 4, image, split=split))
    write_csv(tmp_path / "findings.csv", [HEADER, *rows])
    images, problems = read_findings(tmp_path / "findings.csv")
    assert problems == []
    breasts, problems = read_breasts(tmp_path / "findings.csv")
    assert problems == []
    files = {name: Path(f"{name}.dicom") for name in images}
    selection = select_images(files, images, breasts, "birads", NAMES["birads"])
    assert selection.problems == []
    assert len({image.study_id for image in images.values()}) == 5000
    assert selection.counts["images in the tables"] == 20_000
    assert selection.counts["images with boxes"] == images_with_boxes
    assert selection.counts["boxes"] == 2254
    assert [numbers["boxes annotated"] for numbers in selection.classes.values()] == [893, 995, 241]
    assert any("125 boxes left out" in note for note in selection.notes)
