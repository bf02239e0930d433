"""Source distribution, wheel and plug-ins build and install, and say one version."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import modise_lightning
from modise_lightning.configuration.command_line import config_directory

REPOSITORY = Path(__file__).parents[1]
# One worker of pytest-xdist builds once for them all.
pytestmark = pytest.mark.xdist_group("packaging")


def run(*arguments: str, folder: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and of it the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "-o", str(folder), str(REPOSITORY), folder=folder)
    return folder


@pytest.fixture(scope="module")
def site(distributions: Path) -> Path:
    (wheel,) = distributions.glob("*.whl")
    folder = distributions / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder)]
    plug_ins = [str(file.parent) for file in sorted((REPOSITORY / "examples").glob("*/pyproject.toml"))]
    run("-m", "pip", "install", *options, str(wheel), *plug_ins, folder=distributions)
    return folder


def test_both_distributions_hold_what_is_needed_and_no_more(distributions: Path) -> None:
    version = modise_lightning.__version__
    (wheel,) = distributions.glob("*.whl")
    (source,) = distributions.glob("*.tar.gz")
    assert source.name == f"modise_lightning-{version}.tar.gz"
    assert wheel.name == f"modise_lightning-{version}-py3-none-any.whl"
    with ZipFile(wheel) as archive:
        in_wheel = archive.namelist()
    with tarfile.open(source) as archive:
        in_source = [name.partition("/")[2] for name in archive.getnames()]
    settings = {
        file.relative_to(config_directory()).as_posix() for file in config_directory().rglob("*.yaml")
    }
    # Modules, templates, and the files of the page.
    files = [file for file in (REPOSITORY / "src").rglob("*") if file.is_file()]
    modules = {file.name for file in files if "__pycache__" not in file.parts}
    for names, folder in ((in_wheel, "modise_lightning/conf/"), (in_source, "conf/")):
        assert {name.removeprefix(folder) for name in names if name.startswith(folder)} >= settings
        assert {name.rpartition("/")[2] for name in names} >= modules | {"py.typed", "LICENSE"}
        assert not [name for name in names if re.match(r"(tests|docs|benchmarks|outputs|data)/", name)]
    assert {"CHANGELOG.md", "README.md", "pyproject.toml"} <= set(in_source)


def test_the_installed_wheel_runs_with_its_configuration(site: Path, tmp_path: Path) -> None:
    templates = site / "modise_lightning" / "reporting" / "html_report" / "templates"
    assert len(list(templates.iterdir())) == 7
    code = "import importlib.metadata, modise_lightning; print(modise_lightning.__file__)"
    code += "; print(importlib.metadata.version('modise-lightning'), modise_lightning.__version__)"
    place, versions = run("-c", code, folder=tmp_path, path=site).splitlines()
    assert place.startswith(str(site))
    assert versions.split() == [modise_lightning.__version__] * 2
    shown = run("-m", "modise_lightning.train", "--cfg", "job", folder=tmp_path, path=site)
    assert "modise_lightning.training.optimization.OptimizerFactory" in shown


def test_installed_plug_ins_are_found(site: Path, tmp_path: Path) -> None:
    searched = "hydra.searchpath=[pkg://convolutional_backbone.conf,pkg://circles_dataset.conf]"
    shown = run("-m", "modise_lightning.train", searched, "--help", folder=tmp_path, path=site)
    assert re.search(r"^    convolutions +Four convolutions", shown, re.MULTILINE)
    assert re.search(r"^    circles +Images with circles", shown, re.MULTILINE)


def test_the_changelog_has_this_version_and_one_for_what_comes() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == modise_lightning.__version__


def test_hooks_before_a_commit_are_the_linters_of_make() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    recipe = makefile.split("lint: environment\n")[1].split("\n\n")[0]
    linters = [line.strip().removeprefix("$(BIN)/").removesuffix(" .") for line in recipe.splitlines()]
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local", "nothing is fetched"
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    assert [entry.removesuffix(" --force-exclude") for entry in entries] == linters


def test_the_citation_names_the_papers() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "what the format demands"
    assert citation["title"] == "modise_lightning"
    titles = [reference["title"] for reference in citation["references"]]
    assert titles == [
        "Panoptic Segmentation of Mammograms with Text-To-Image Diffusion Model",
        "Open-Vocabulary Panoptic Segmentation with Text-to-Image Diffusion Models",
    ]
