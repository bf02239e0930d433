"""A package gives the model back as it was, and a stranger's is refused before anything of it is used."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modise_lightning.configuration.trained_model import read_trained
from modise_lightning.errors import UserError
from modise_lightning.packages.archive import is_package
from modise_lightning.packages.package import read_package
from modise_lightning.training.checkpoint import read_checkpoint
from packages.packed import make_package, make_run, members_of, zipped

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package") / "model.zip", checkpoint)


def test_a_package_gives_back_the_checkpoint(checkpoint: Path, package: Path) -> None:
    before, found = read_checkpoint(checkpoint), read_package(package)
    assert before["state_dict"].keys() == found.checkpoint["state_dict"].keys()
    for name, value in before["state_dict"].items():
        other = found.checkpoint["state_dict"][name]
        assert other.dtype == value.dtype
        assert torch.equal(other, value)
    for key in ("config", "dataset", "frozen_weights", "versions"):
        assert found.checkpoint["modise_lightning"][key] == before["modise_lightning"][key]
    assert found.card == "# A card\n"
    assert found.evaluation is not None
    assert found.evaluation.numbers == {"PQ": (0.5, 0.4, None)}
    assert found.evaluation.text_tables()[0].lines[0].cells == ["PQ", "50"]


def test_the_same_model_gives_the_same_bytes(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    again = make_package(tmp_path / "other.zip", checkpoint)
    assert again.read_bytes() == package.read_bytes()


def test_tuned_settings_hold_unless_the_user_says_other(package: Path) -> None:
    config = read_trained(package, {}).config
    assert config.inference.score_threshold == 0.25
    assert config.inference.overlap_threshold == 0.5
    assert config.inference.mask_threshold == 0.4
    changed = read_trained(package, {"inference": {"score_threshold": 0.75}}).config
    assert changed.inference.score_threshold == 0.75
    assert changed.inference.overlap_threshold == 0.5


def test_both_kinds_are_told_apart_whatever_they_are_called(
    checkpoint: Path, package: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "model.ckpt"
    renamed.write_bytes(package.read_bytes())
    assert is_package(renamed)
    assert is_package(package)
    assert not is_package(checkpoint)
    assert read_trained(renamed, {}).dataset["name"] == "phantom"


def _signed(members: Members) -> Members:
    """Give a package's manifest the digests of what it holds now, as its writer would."""
    manifest = json.loads(members["manifest.json"])
    manifest["digests"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != "manifest.json"
    }
    return {**members, "manifest.json": json.dumps(manifest).encode()}


class _Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("marker"),)


def _config(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], bytes]:
    def changed(members: Members) -> bytes:
        config = yaml.safe_load(members["config.yaml"])
        change(config)
        return zipped(_signed({**members, "config.yaml": yaml.safe_dump(config).encode()}))

    return changed


def _with(name: str, data: bytes) -> Callable[[Members], bytes]:
    return lambda members: zipped(_signed({**members, name: data}))


def _manifest(**changes: Any) -> Callable[[Members], bytes]:
    def changed(members: Members) -> bytes:
        signed = _signed(members)
        manifest = {**json.loads(signed["manifest.json"]), **changes}
        return zipped({**signed, "manifest.json": json.dumps(manifest).encode()})

    return changed


def _beside(name: str, data: bytes = b"") -> Callable[[Members], bytes]:
    """Put a member in the place of the card, so that there are not too many."""
    return lambda members: zipped(
        {**{key: own for key, own in _signed(members).items() if key != "README.md"}, name: data}
    )


def _without(name: str) -> Callable[[Members], bytes]:
    return lambda members: zipped(_signed({key: data for key, data in members.items() if key != name}))


def _bomb(members: Members) -> bytes:
    return zipped(_signed({**members, "README.md": bytes(20 * 2**20)}), zipfile.ZIP_DEFLATED)


def _declared_smaller(members: Members) -> bytes:
    """Declare of the last member that it has 16 EiB less one byte, as ZIP64 can."""
    data = bytearray(zipped(_signed(members)))
    at = data.rfind(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    return bytes(data)


def _overlapping(members: Members) -> bytes:
    """Let the evaluation be where the weights are."""
    data = bytearray(zipped(_signed(members)))
    evaluation, weights = (
        next(at for at in _entries(data) if data[at + 46 :].startswith(name))
        for name in (b"evaluation", b"weights")
    )
    data[evaluation + 20 : evaluation + 28] = data[weights + 20 : weights + 28]
    data[evaluation + 42 : evaluation + 46] = data[weights + 42 : weights + 46]
    return bytes(data)


def _entries(data: bytearray) -> list[int]:
    """Give where the entries of the table of contents begin."""
    return [match.start() for match in re.finditer(b"PK\x01\x02", data)]


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Members], bytes]:
    def changed(members: Members) -> bytes:
        state = safetensors.torch.load(members["weights.safetensors"])
        change(state)
        return zipped(_signed({**members, "weights.safetensors": safetensors.torch.save(state)}))

    return changed


def _header(header: bytes) -> Callable[[Members], bytes]:
    return _with("weights.safetensors", struct.pack("<Q", len(header)) + header)


RUN = {"_target_": "pathlib.Path.touch", "self": "marker"}
HOSTILE: dict[str, tuple[Callable[[Members], bytes], str]] = {
    # code
    "code in the configuration": (
        _config(lambda config: config["inference"].update(max_instances=RUN)),
        "does not build there",
    ),
    "a module of the working directory": (
        _config(lambda config: config["backbone"].update(_target_="marker.run")),
        "does not build there",
    ),
    "a resolver": (_config(lambda config: config.update(name="${oc.env:HOME}")), "calls a resolver"),
    "code in the settings": (
        _with("settings.yaml", yaml.safe_dump({"inference": {"score_threshold": RUN}}).encode()),
        "score_threshold",
    ),
    "a resolver in the settings": (
        _with("settings.yaml", b"inference: {score_threshold: '${oc.env:HOME}'}"),
        "valid number",
    ),
    "other settings": (_with("settings.yaml", b"backbone: {weights: /etc/passwd}"), "it may hold inference"),
    "a tag in the settings": (
        _with("settings.yaml", b"!!python/object/apply:os.mkdir [marker]"),
        "is no YAML",
    ),
    "aliases in the settings": (_with("settings.yaml", b"a: &a [x]\nb: [*a, *a]"), "aliases"),
    "a pickle for weights": (_with("weights.safetensors", pickle.dumps(_Command())), "damaged"),
    "a pickle beside the weights": (
        _beside("data.pkl", pickle.dumps(_Command())),
        "holds 'data.pkl'",
    ),
    # paths
    "a path upwards": (
        _beside("../marker"),
        "outside of the archive's folder",
    ),
    "an absolute path": (
        _beside("/absolute/marker"),
        "outside of the archive's folder",
    ),
    "a folder": (_beside("a/b.txt"), "holds 'a/b.txt'"),
    "capital letters": (
        _beside("Readme.md"),
        "holds 'Readme.md'",
    ),
    # sizes
    "more members": (lambda members: zipped({**_signed(members), "more": b""}), "more than 6"),
    "compressed": (lambda members: zipped(_signed(members), zipfile.ZIP_DEFLATED), "is compressed"),
    "a bomb": (_bomb, "is compressed"),
    "too large a card": (_with("README.md", bytes(4 * 2**20 + 1)), "more than 4194304"),
    "too large a configuration": (_with("config.yaml", b"#" * 1_000_001), "more than 1000000"),
    "a declared size": (_declared_smaller, "more than"),
    "overlapping members": (_overlapping, "unfold to more than it holds"),
    "too large a header of weights": (
        _with("weights.safetensors", struct.pack("<Q", 2**62) + b"{}"),
        "damaged",
    ),
    "weights beyond the file": (
        _header(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        "damaged",
    ),
    "weights that unfold": (
        _header(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,0]}}'),
        "damaged",
    ),
    # contents
    "no configuration": (_without("config.yaml"), "holds no config.yaml"),
    "no weights": (_without("weights.safetensors"), "holds no weights.safetensors"),
    "another format": (_manifest(format=2), "format"),
    "another key": (_manifest(run="os.system"), "run"),
    "a digest that differs": (_manifest(digests={}), "not what its manifest says"),
    "a manifest that is nested": (
        lambda members: zipped({**members, "manifest.json": b"[" * 100_000}),
        "damaged",
    ),
    "not a manifest": (lambda members: zipped({**members, "manifest.json": b"\xff"}), "damaged"),
    "an evaluation that is none": (_with("evaluation.json", b"{}"), "numbers"),
    "not a ZIP": (lambda members: b"PK\x03\x04" + bytes(100), "not a readable ZIP"),
    "empty": (lambda members: b"", "not a readable ZIP"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_package_is_refused(
    name: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason = HOSTILE[name]
    members = members_of(package)
    path = tmp_path / "model.zip"
    data = make(members)
    path.write_bytes(data)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as refused:
        read_trained(path, {})
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    # In KiB; a few copies of the file are allowed.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000 + 8 * len(data) // 1024
    assert list((tmp_path / "empty").iterdir()) == []
    assert not Path("/absolute/marker").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: ['extra']"),
        (lambda state: state.pop(next(iter(state))), "missing"),
        (
            lambda state: state.update({next(iter(state)): torch.full((3,), torch.nan)}),
            "other shapes",
        ),
        (
            lambda state: state.update(
                {key: torch.full_like(value, torch.nan) for key, value in list(state.items())[:1]}
            ),
            "not finite",
        ),
    ],
    ids=["more", "fewer", "another shape", "not finite"],
)
def test_weights_that_do_not_fit_are_refused_when_the_model_is_built(
    change: Callable[[dict[str, torch.Tensor]], object], reason: str, package: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(_tensors(change)(members_of(package)))
    with pytest.raises(UserError) as refused:
        read_trained(path, {}).build()
    assert reason in str(refused.value)


@given(place=st.floats(0, 1), value=st.integers(0, 255))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_byte_is_noticed_or_changes_nothing(
    package: Path, tmp_path: Path, place: float, value: int
) -> None:
    data = bytearray(package.read_bytes())
    at = min(int(place * len(data)), len(data) - 1)
    data[at] = value
    path = tmp_path / "model.zip"
    path.write_bytes(data)
    try:
        found = read_package(path)
    except UserError:
        return
    expected = read_package(package)
    assert found.checkpoint["modise_lightning"]["config"] == expected.checkpoint["modise_lightning"]["config"]
    for key, tensor in expected.checkpoint["state_dict"].items():
        assert torch.equal(found.checkpoint["state_dict"][key], tensor)
