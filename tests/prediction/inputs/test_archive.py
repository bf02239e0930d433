"""Archives are checked before a member is read: numbers, sizes, paths, encryption; nothing is unpacked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.archive import ArchiveLimits, list_archive, read_member

LIMITS = ArchiveLimits(members=6, member_bytes=1000, total_bytes=3000)


def archive(tmp_path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_members_are_listed_in_order_and_read(tmp_path: Path) -> None:
    contents = {"b/1.png": b"1", "a.dcm": b"2" * 900, "__MACOSX/a.dcm": b"3", "b/._1.png": b"4"}
    path = archive(tmp_path, contents)
    content = list_archive(path, LIMITS)
    assert (content.names, content.refused) == (["a.dcm", "b/1.png"], [])
    for name in content.names:
        member = read_member(path, name, LIMITS)
        assert (member.content, str(member)) == (contents[name], f"{path}:{name}")
    assert read_member(path, "a.dcm", LIMITS, 10).content == b"2" * 10


def _symbolic_link(path: Path) -> None:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, "/etc/passwd")


def _encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def _not_declared(path: Path) -> None:
    """Declare fewer members than the table of contents has."""
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x05\x06") + 10] = 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("members", "damage", "message"),
    [
        ({"../a.png": b"1"}, None, r"\.\./a\.png' would lie outside"),
        ({"/a.png": b"1"}, None, r"a\.zip:/a\.png' would lie outside"),
        ({"b/../../a.png": b"1"}, None, "would lie outside"),
        ({"C:/a.png": b"1"}, None, "would lie outside"),
        ({"..\\a.png": b"1"}, None, "would lie outside"),
        ({"n" * 1001: b"1"}, None, "no usable name"),
        ({f"{number}.png": b"1" for number in range(7)}, None, "has 7 members, more than 6"),
        ({f"{number}.png": b"1" * 900 for number in range(4)}, None, "unpacks to 3600 bytes, more than 3000"),
        ({"a.png": b"1"}, _symbolic_link, r"link\.png' is a link"),
        ({"a.png": b"1"}, _encrypted, r"a\.zip:a\.png' is encrypted"),
        ({"a.png": b"1"}, lambda path: path.write_bytes(b"PK" * 50), "no end, or is no ZIP"),
        ({"a.png": b"1"}, lambda path: path.write_bytes(path.read_bytes()[:60]), "no end, or is no ZIP"),
        ({"a.png": b"1"}, lambda path: path.write_bytes(b""), "no end, or is no ZIP"),
    ],
)
def test_what_is_not_safe_is_refused_before_anything_is_read(
    members: dict[str, bytes], damage: Callable[[Path], object] | None, message: str, tmp_path: Path
) -> None:
    path = archive(tmp_path, members)
    if damage is not None:
        damage(path)
    with pytest.raises(UserError, match=message):
        list_archive(path, LIMITS)


def test_a_table_that_has_more_members_than_it_declares(tmp_path: Path) -> None:
    path = archive(tmp_path, {f"{number}.png": b"1" for number in range(7)})
    _not_declared(path)
    with pytest.raises(UserError, match=r"7 members|not a readable ZIP"):
        list_archive(path, LIMITS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_limit_are_refused(method: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png' is compressed by method"):
        list_archive(archive(tmp_path, {"a.png": b"1"}, method), LIMITS)


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, {"a.png": b"1"})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("a.png", b"2")
    with pytest.raises(UserError, match=r"holds 'a\.png' twice"):
        list_archive(path, LIMITS)


def test_archives_in_archives_and_large_members_are_named_and_the_others_listed(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("a.png", b"1")
    path = archive(tmp_path, {"in.ZIP": inner.getvalue(), "large.png": bytes(1001), "good.png": b"1"})
    content = list_archive(path, LIMITS)
    assert content.names == ["good.png"]
    assert "in.ZIP' is an archive in an archive" in content.refused[0]
    assert "large.png' unpacks to 1001 bytes, more than 1000" in content.refused[1]


@pytest.mark.parametrize("declared", [10, 5000])
def test_a_member_of_another_size_than_declared_is_refused_without_unpacking_it(
    declared: int, tmp_path: Path
) -> None:
    path = archive(tmp_path, {"a.png": bytes(800)})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(signature) + offset
        data[start : start + 4] = declared.to_bytes(4, "little")
    path.write_bytes(data)
    generous = ArchiveLimits(members=6, member_bytes=6000, total_bytes=6000)
    with pytest.raises(UserError, match=r"a\.png' (cannot be read from its archive|does not unpack)"):
        read_member(path, "a.png", generous)
