"""A file is there whole or not at all."""

import json
import math
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from modise_lightning.atomic_files import write_bytes_atomically, write_text_atomically
from modise_lightning.reporting.files import (
    write_json_atomically,
    write_png_atomically,
)


def test_bytes_replace_what_was_there_and_leave_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    write_bytes_atomically(path, b"first")
    write_bytes_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failure_in_the_middle_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_bytes_atomically(path, "text is no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_taken_by_a_folder_leaves_no_temporary_file(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(OSError, match="taken"):
        write_bytes_atomically(folder, b"data")
    assert list(tmp_path.iterdir()) == [folder]


def test_json_refuses_nan_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomically(path, {"score": math.nan})
    assert not list(tmp_path.iterdir())
    write_json_atomically(path, {"score": 0.5, "name": "ä"})
    assert json.loads(path.read_text()) == {"score": 0.5, "name": "ä"}


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_png_holds_the_pixels(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    write_png_atomically(tmp_path / "file.png", pixels)
    read = cv2.imread(str(tmp_path / "file.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read if len(shape) == 2 else read[..., ::-1], pixels)


def test_half_a_character_is_spelled_out(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a" / "b.csv", "\ud800,ä\udcff\n")
    assert (tmp_path / "a" / "b.csv").read_text(encoding="utf-8") == "\\ud800,ä\\udcff\n"
