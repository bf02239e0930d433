"""The reference's rows say of every value what its file says."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("rate: 1.0e-4 # of learning; ODISE\n", ["| `group.rate` | `1.0e-4` | of learning; ODISE |"]),
        ("a: {b: 1, c: [2, 3]}\n", ["| `group.a` | `{b: 1, c: [2, 3]}` |  |"]),
        ("a: # of all\n  b: x # one\n", ["| `group.a` | | of all |", "| `group.a.b` | `x` | one |"]),
        ("a:\n  - name: x # not of a\n", ["| `group.a` | *in the file below* |  |"]),
        ("defaults:\n  - base\nlast: null", ["| `group.last` | `null` |  |"]),
        ("a: 'x|y' # <b> | *c* or ${d}\n", ["| `group.a` | `'x\\|y'` | &lt;b> &#124; \\*c\\* or ${d} |"]),
        ("# nothing\n", []),
    ],
)
def test_a_value_has_a_row(source: str, rows: list[str]) -> None:
    assert list(load("docs_pages").rows_of(source, "group.")) == rows


def test_counts_add_up_by_folder() -> None:
    counted = load("coverage_by_room")
    one = {"covered_lines": 3, "num_statements": 4, "covered_branches": 0, "num_branches": 0}
    two = {"covered_lines": 1, "num_statements": 6, "covered_branches": 1, "num_branches": 2}
    files = {
        "src/modise_lightning/data/one.py": {"summary": one},
        "/elsewhere/src/modise_lightning/data/two.py": {"summary": two},
        "src/modise_lightning/train.py": {"summary": one},
    }
    rooms = counted.count_by_room(files)
    assert rooms == {
        "data": {"lines": (4, 10), "branches": (1, 2)},
        "(top)": {"lines": (3, 4), "branches": (0, 0)},
    }
    assert counted.percent(rooms["data"], "lines") == 40.0
    assert counted.percent(rooms["(top)"], "branches") == 100.0
