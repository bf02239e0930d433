"""Inputs of every kind are found in order: files, folders, patterns, DICOMDIR, ZIP, DICOM by content."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.inputs.dicomdir import list_dicomdir
from modise_lightning.prediction.inputs.finding import FoundImages, find_inputs

LIMITS = ArchiveLimits(members=100, member_bytes=10**6, total_bytes=10**7)
DICOM = Path(str(get_testdata_file("CT_small.dcm")))
DICOMDIR = Path(str(get_testdata_file("DICOMDIR")))


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    """Make a folder of exams with images of all kinds."""
    folder = tmp_path / "exams"
    for name in ("a.PNG", "b/1.jpg", "b/c/2.tif", "b/notes.txt", "._a.png", "out/old.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    shutil.copy(DICOM, folder / "b" / "IM000001")
    shutil.copy(DICOMDIR, folder / "DICOMDIR")
    with zipfile.ZipFile(folder / "d.zip", "w") as file:
        file.writestr("e/1.png", b"x")
        file.write(DICOM, "e/IM2")
        file.writestr("readme.txt", b"x")
    return folder


def found(*inputs: Path | str, recursive: bool = True, leave_out: Path | None = None) -> FoundImages:
    return find_inputs(
        [str(name) for name in inputs], recursive=recursive, limits=LIMITS, leave_out=leave_out
    )


def parts(images: FoundImages) -> list[str]:
    return ["/".join(image.parts) for image in images.images]


def test_a_folder_is_searched_with_those_below_it_and_without_the_results(exams: Path) -> None:
    everything = ["a.PNG", "b/1.jpg", "b/IM000001", "b/c/2.tif", "d/e/1.png", "d/e/IM2"]
    assert parts(found(exams, leave_out=exams / "out")) == everything
    assert parts(found(exams)) == [*everything, "out/old.png"]
    assert parts(found(exams, recursive=False)) == ["a.PNG", "d/e/1.png", "d/e/IM2"]


def test_patterns_and_lists(exams: Path) -> None:
    assert parts(found(f"{exams}/b/*.jpg")) == ["1.jpg"]
    assert parts(found(f"{exams}/**/*.tif")) == ["b/c/2.tif"]
    assert parts(found(f"{exams}/[bo]*")) == ["b/1.jpg", "b/IM000001", "b/c/2.tif", "out/old.png"]
    assert parts(found(exams / "b" / "1.jpg", exams / "a.PNG", exams / "b")) == [
        *("1.jpg", "a.PNG", "IM000001", "c/2.tif"),
    ]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(b"x")
    assert parts(found(tmp_path / "a[1].png")) == ["a[1].png"]


def test_links_to_folders_are_not_followed(exams: Path) -> None:
    os.symlink(exams, exams / "b" / "again")
    assert len(found(exams).images) == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no file or folder"),
        ("b/notes.txt", "is not an image that can be read"),
        ("*.gif", r"nothing that is an image is called '.*\*\.gif'"),
    ],
)
def test_an_input_that_names_nothing_is_told(name: str, message: str, exams: Path) -> None:
    with pytest.raises(UserError, match=message):
        found(exams / name)


def test_a_dicomdir_lists_its_images_and_names_missing_ones(tmp_path: Path) -> None:
    shutil.copytree(DICOMDIR.parent, tmp_path / "disc")
    listed, refused = list_dicomdir(tmp_path / "disc" / "DICOMDIR")
    assert len(listed) > 20
    assert not refused
    listed[3].unlink()
    images = found(tmp_path / "disc" / "DICOMDIR")
    assert [image.path for image in images.images] == [*listed[:3], *listed[4:]]
    assert len(images.refused) == 1
    assert listed[3].name in images.refused[0]


@pytest.mark.parametrize(
    ("file_id", "reason"),
    [(["..", "secret.dcm"], "no file below its folder"), (["A" * 300], "which is not there")],
)
def test_a_dicomdir_that_names_no_file_of_its_own_is_refused(
    file_id: list[str], reason: str, tmp_path: Path
) -> None:
    from pydicom import dcmread

    disc = dcmread(DICOMDIR)
    image = next(record for record in disc.DirectoryRecordSequence if record.DirectoryRecordType == "IMAGE")
    (tmp_path / "secret.dcm").write_bytes(DICOM.read_bytes())
    (tmp_path / "disc").mkdir()
    image.ReferencedFileID = file_id
    disc.DirectoryRecordSequence = [image]
    disc.save_as(tmp_path / "disc" / "DICOMDIR")
    listed, refused = list_dicomdir(tmp_path / "disc" / "DICOMDIR")
    assert not listed
    assert reason in refused[0]


def test_a_refused_archive_does_not_hide_the_others(exams: Path) -> None:
    (exams / "broken.zip").write_bytes(b"PK")
    images = found(exams)
    assert len(images.images) == 7
    assert len(images.refused) == 1
    assert "broken.zip' is not a readable ZIP" in images.refused[0]


def test_images_are_told_by_suffix_in_any_case_and_dicom_by_content(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.dcm", "._a.jpg", "~$x.tif", "notes.txt"):
        (tmp_path / name).write_bytes(b"x" * 200)
    for name in ("1.2.840.113", "IM0001"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(20))
    (tmp_path / "folder.png").mkdir()
    assert parts(found(tmp_path)) == ["1.2.840.113", "IM0001", "a.jpg", "b.PNG", "c.dcm"]
    assert parts(found(tmp_path / "IM0001")) == ["IM0001"]
    assert parts(found(tmp_path / "b.PNG")) == ["b.PNG"]
    for name, message in (("notes.txt", "is not an image"), ("folder.png", "holds no image")):
        with pytest.raises(UserError, match=message):
            found(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs Linux")
def test_an_unreadable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    unreadable = tmp_path / "notes"
    unreadable.symlink_to("/proc/self/mem")  # whose first byte nobody can read, the superuser included
    with pytest.raises(OSError, match="Input/output error"):
        unreadable.read_bytes()
    (tmp_path / "a.png").write_bytes(b"x")
    assert parts(found(tmp_path)) == ["a.png"]
    with pytest.raises(UserError, match=r"notes' is not an image"):
        found(unreadable)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a.png").write_bytes(b"x")
    assert parts(found(tmp_path)) == ["a.png"]
