"""Who may import whom, as the design says."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "modise_lightning"
# What may be imported by every room.
SHARED = {
    "structures",
    "images_to_predict",
    "packed_masks",
    "errors",
    "c_compiler",
    "atomic_files",
    "json_text",
    "console",
    "regular_files",
    "visible_text",
    "csv_cells",
    "cores",
    "feature_store",
    "pretrained",
}
# What else each room may import, from the bottom up.
MAY_IMPORT: dict[str, set[str]] = {
    "backbones": set(),
    "captioners": set(),
    "text": set(),
    "mask_generator": set(),
    "classifiers": set(),
    "losses": set(),
    "inference": set(),
    "metrics.segments": set(),
    "metrics.accumulated": {"metrics.segments"},
    "metrics.records": {"metrics.segments", "metrics.accumulated"},
    "metrics.curves": {"metrics.segments", "metrics.records"},
    "metrics.patients": {"metrics.curves"},
    "metrics.clinical": {"metrics.segments", "metrics.records", "metrics.curves", "metrics.patients"},
    "metrics": {f"metrics.{room}" for room in ("segments", "accumulated", "records", "clinical")},
    "data.images": set(),
    "data.prepared": {"data.images"},
    "data.preparation": {"data.images", "data.prepared"},
    "data.loading": {"data.images", "data.prepared"},
}
A_SOURCE_MAY_IMPORT = {"data.images", "data.prepared", "data.preparation"}
ENTRY_POINTS = {
    *("train", "evaluate", "predict", "prepare", "import_checkpoint"),
    *("tables", "figures", "report", "preview", "tune", "package", "info", "serve"),
}
KNOW_LIGHTNING = {"training", "callbacks", "configuration", "data.loading", *ENTRY_POINTS}
KNOW_HYDRA = {"configuration", *ENTRY_POINTS}


def imported_modules(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
    return names


def files() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 20
    return found


def room(module: str) -> str:
    """Name the room of a module, given below the package: its folder; at the root each module is one."""
    if (PACKAGE / module.replace(".", "/")).is_dir():
        return module
    return module.rpartition(".")[0] or module


def imported_rooms(file: Path) -> set[str]:
    prefix = "modise_lightning."
    names = {name.removeprefix(prefix) for name in imported_modules(file) if name.startswith(prefix)}
    return {room(name) for name in names} - {room_of_file(file)}


def room_of_file(file: Path) -> str:
    return room(".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_keep_the_rules(file: Path) -> None:
    own, others, modules = room_of_file(file), imported_rooms(file), imported_modules(file)
    if own == "packed_masks":
        assert not others
    if own == "structures":
        assert others <= {"packed_masks"}
    if own.startswith("data.sources."):
        assert others <= A_SOURCE_MAY_IMPORT | SHARED
    if own in MAY_IMPORT:
        assert others <= MAY_IMPORT[own] | SHARED
    if own not in KNOW_LIGHTNING:
        assert not {name for name in modules if name.split(".")[0] in {"lightning", "pytorch_lightning"}}
    if own not in KNOW_HYDRA:
        assert not {name for name in modules if name.split(".")[0] in {"hydra", "omegaconf"}}


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for file in files():
        rooms.setdefault(room_of_file(file), set()).update(imported_rooms(file))
    assert len(list(TopologicalSorter(rooms).static_order())) >= len(rooms)


def test_every_room_says_what_it_is_for_in_one_sentence() -> None:
    folders = {file.parent for file in files()}
    assert all((folder / "__init__.py").is_file() for folder in folders)


@pytest.mark.parametrize("entry", [*sorted(ENTRY_POINTS), "configuration.command_line"])
def test_entry_points_import_nothing_heavy_at_the_top(entry: str) -> None:
    tree = ast.parse((PACKAGE / f"{entry.replace('.', '/')}.py").read_text())
    light = {"__future__", "typing", "collections", "pathlib", "sys", "hydra", "omegaconf"}
    light |= {"errno", "io", "os", "shlex", "contextlib"}
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= light
        elif isinstance(node, ast.ImportFrom):
            root = (node.module or "").split(".")
            assert root[0] in light or root[1:] in (
                ["configuration", "command_line"],
                ["configuration", "help_menu"],
                ["configuration", "interruption"],
                ["messages"],
                ["errors"],
                ["visible_text"],
            )


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_first_sentence_says_what_a_file_is_for(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring
    assert len(docstring.split()) >= 4


def test_processes_that_write_images_do_not_load_torch() -> None:
    modules = ["cdd_cesm.image", "vindr_mammo.image", "phantom.generator", "phantom.writing"]
    imports = ", ".join(f"modise_lightning.data.sources.{module}" for module in modules)
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys, {imports}; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout == "False\n"
