"""Who may import whom, as the design says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "modise_lightning"
PARTS = {
    "backbones",
    "captioners",
    "text",
    "mask_generator",
    "classifiers",
    "losses",
    "inference",
    "metrics",
    "data",
}
SHARED = {
    "structures",
    "packed_masks",
    "errors",
    "c_compiler",
    "weights",
    "clip",
    "atomic_files",
    "json_text",
    "feature_store",
}
KNOW_LIGHTNING = {
    "lightning_module",
    "sharding",
    "checkpoint_writing",
    "resuming",
    "data",
    "callbacks",
    "train",
    "evaluate",
    "predict",
    "prepare",
    "assembly",
}
KNOW_HYDRA = {
    "train",
    "evaluate",
    "predict",
    "prepare",
    "tables",
    "figures",
    "report",
    "command_line",
    "help_menu",
    "assembly",
    "stored_config",
    "resuming",
    "config_check",
    "run_identity",
}


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


def room(file: Path) -> str:
    """First component below the package: a part's name, or a module's."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_keep_the_rules(file: Path) -> None:
    own = room(file)
    modules = imported_modules(file)
    ours = {name.split(".")[1] for name in modules if name.startswith("modise_lightning.")}
    if own == "packed_masks":
        assert not ours
    if own == "structures":
        assert ours <= {"packed_masks"}
    if own in PARTS:
        assert ours <= {own} | SHARED
    if own not in KNOW_LIGHTNING:
        assert not {name for name in modules if name.split(".")[0] in {"lightning", "pytorch_lightning"}}
    if own not in KNOW_HYDRA:
        assert not {name for name in modules if name.split(".")[0] in {"hydra", "omegaconf"}}


@pytest.mark.parametrize(
    "entry", ["train", "evaluate", "predict", "prepare", "tables", "figures", "report", "command_line"]
)
def test_entry_points_import_nothing_heavy_at_the_top(entry: str) -> None:
    tree = ast.parse((PACKAGE / f"{entry}.py").read_text())
    light = {"__future__", "typing", "collections", "pathlib", "sys", "hydra", "omegaconf"}
    light |= {"errno", "io", "os", "shlex"}
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= light
        elif isinstance(node, ast.ImportFrom):
            root = (node.module or "").split(".")
            assert root[0] in light or root[:2] in (
                ["modise_lightning", "command_line"],
                ["modise_lightning", "errors"],
                ["modise_lightning", "help_menu"],
                ["modise_lightning", "interruption"],
            )


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_first_sentence_says_what_a_file_is_for(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring
    assert len(docstring.split()) >= 4


def test_processes_that_write_images_do_not_load_torch() -> None:
    modules = ["cdd_cesm_image", "vindr_mammo_image", "phantom.generator", "phantom.writing"]
    imports = ", ".join(f"modise_lightning.data.{module}" for module in modules)
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys, {imports}; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout == "False\n"
