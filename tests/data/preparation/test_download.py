"""A download's files are found through links, once each, without those that programs leave beside them."""

from pathlib import Path

from modise_lightning.data.preparation.download import list_download


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
