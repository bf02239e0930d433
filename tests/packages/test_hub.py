"""Packages go to a hub and come back, with and without a network; the hub is a stand-in on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from modise_lightning.errors import UserError
from modise_lightning.packages.hub import parse_reference, pull, push
from packages.hub_stand_in import StandIn, stand_in


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_OFFLINE", False, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with stand_in() as served:
        yield served
    huggingface_hub.close_session()


def test_what_is_pushed_is_pulled_also_without_a_network(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "model.zip"
    package.write_bytes(b"first")
    first = push(package, "# card", "hf://someone/model", private=True, endpoint=hub.address)
    package.write_bytes(b"second")
    second = push(package, "# card", "hf://someone/model", private=True, endpoint=hub.address)
    assert first != second
    latest = next(reversed(hub.files["someone/model"].values()))
    assert latest == {"model.zip": b"second", "README.md": b"# card"}
    assert pull("hf://someone/model", endpoint=hub.address).read_bytes() == b"second"
    assert pull(first, endpoint=hub.address).read_bytes() == b"first"
    before = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert pull("hf://someone/model", endpoint=hub.address).read_bytes() == b"second"
    assert pull(first, endpoint=hub.address).read_bytes() == b"first"
    assert len(hub.requests) == before
    with pytest.raises(UserError, match="neither in the local cache"):
        pull("hf://someone/other", endpoint=hub.address)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [("hf://no/body", "neither"), ("hf://some/one@v2", "neither"), ("hf://with/out", "neither")],
)
def test_what_is_not_there_is_told_in_a_line(hub: StandIn, reference: str, reason: str) -> None:
    hub.commit("some/one", {"model.zip": b""})
    hub.commit("with/out", {"other.zip": b""})
    with pytest.raises(UserError, match=reason) as refused:
        pull(reference, endpoint=hub.address)
    assert "\n" not in str(refused.value)


def test_a_file_that_would_fill_the_disk_is_not_downloaded(hub: StandIn, tmp_path: Path) -> None:
    hub.commit("some/one", {"model.zip": b"small"})
    hub.declared_size = 2**44
    with pytest.raises(UserError, match="17592186044416 bytes, more than"):
        pull("hf://some/one", endpoint=hub.address)
    assert not [request for request in hub.requests if request.startswith("GET")]
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "reference",
    ["hf://name", "hf://a/b/c", "hf://../b@", "hf:/a/b", "hf://a b/c", "hf://a/b@c d", "hf://a/ä"],
)
def test_other_references_are_refused(reference: str) -> None:
    with pytest.raises(UserError, match="is not hf://owner/name"):
        parse_reference(reference, "model")


def test_references_have_a_revision_or_none() -> None:
    assert parse_reference("hf://a.b-c/d_e", "model") == ("a.b-c/d_e", None)
    assert parse_reference("hf://a/b@v1.0/x", "model") == ("a/b", "v1.0/x")
