"""A download's files are found through links, once each, without those that programs leave beside them."""

import os
from pathlib import Path

import pytest

from modise_lightning.data.preparation.download import list_download, only_file, only_files
from modise_lightning.errors import UserError


def test_links_are_followed_without_end_and_left_behind_files_are_skipped(tmp_path: Path) -> None:
    raw, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    (raw / "images").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (
        raw / "a.csv",
        raw / "._a.csv",
        raw / "~$a.xlsx",
        raw / "images" / "b.jpg",
        elsewhere / "c.jpg",
    ):
        path.write_text("")
    (raw / "linked").symlink_to(elsewhere, target_is_directory=True)
    (raw / "images" / "loop").symlink_to(raw, target_is_directory=True)
    (elsewhere / "loop").symlink_to(elsewhere, target_is_directory=True)
    (raw / "d.jpg").symlink_to(elsewhere / "c.jpg")
    folder, files = list_download(str(raw), "a dataset", "somewhere")
    assert folder == raw
    names = [str(file.relative_to(raw)) for file in files]
    assert names == ["a.csv", "d.jpg", "images/b.jpg", "linked/c.jpg"]


@pytest.mark.parametrize(
    ("contents", "chosen"), [([], None), (["same"], 0), (["same", "same"], 0), (["same", "other"], "error")]
)
def test_of_a_table_that_is_there_twice_only_copies_are_accepted(
    contents: list[str], chosen: int | str | None, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    if chosen == "error":
        with pytest.raises(UserError, match=r"'0.csv' and '1.csv' .* could both be the table"):
            only_file(tmp_path, paths, "the table")
    else:
        assert only_file(tmp_path, paths, "the table") == (None if chosen is None else paths[int(chosen)])


def test_of_an_image_that_is_there_twice_only_copies_are_accepted(tmp_path: Path) -> None:
    contents = {"a": "1", "copy/a": "1", "b": "1", "copy/b": "2", "again/b": "3", "c": "1"}
    (tmp_path / "copy").mkdir()
    (tmp_path / "again").mkdir()
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    files, problems = only_files(tmp_path, [(name[-1], tmp_path / name) for name in contents])
    assert files == {"a": tmp_path / "a", "c": tmp_path / "c"}
    assert problems == ["copy/b: another image than b, of the same name; both left out."]


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe.csv"):
        only_file(tmp_path, [tmp_path / "table.csv", tmp_path / "pipe.csv"], "the table")
