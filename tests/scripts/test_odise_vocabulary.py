"""The texts that ODISE's authors publish, put on the classes of a shipped vocabulary."""

import subprocess
import sys
from pathlib import Path

from modise_lightning.configuration.vocabulary import read_vocabulary

SCRIPT = Path(__file__).parents[2] / "scripts" / "odise_vocabulary.py"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_classes_keep_their_names_and_get_the_texts(tmp_path: Path) -> None:
    classes = read_vocabulary("coco")
    assert classes is not None
    lines = ["0:invalid_class_id"]
    lines += [f"{number}:text {number},synonym {number},text 1" for number in range(1, 134)]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    done = run(tmp_path, "coco", "texts.txt", "mine.yaml")
    assert done.returncode == 0, done.stderr
    found = read_vocabulary(str(tmp_path / "mine.yaml"))
    assert found is not None
    assert [(each.name, each.isthing) for each in found] == [(each.name, each.isthing) for each in classes]
    assert found[0].prompts == ("text 1", "synonym 1")
    assert found[1].prompts == ("text 2", "synonym 2")


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("1:person\n")
    (tmp_path / "other.txt").write_text("person\n")
    for file, message in (("short.txt", "1 classes, coco has 133"), ("other.txt", "line 1: expected number")):
        done = run(tmp_path, "coco", file, "mine.yaml")
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "mine.yaml").exists()
