"""Pickles of arrays are read as pickle itself reads them, and nothing in them is ever run."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modise_lightning.errors import UserError
from modise_lightning.pretrained import array_pickle
from modise_lightning.pretrained.array_pickle import read_array_pickle

FORMATS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u8", "b1"]


def read(path: Path, data: bytes) -> dict[str, Any]:
    path.write_bytes(data)
    return read_array_pickle(path)


@settings(max_examples=60, deadline=None)
@given(
    arrays=st.dictionaries(
        st.text(max_size=20),
        st.one_of(
            *(
                hnp.arrays(order + name, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
                for name in FORMATS
                for order in "<>"
            )
        ),
        max_size=4,
    ),
    protocol=st.integers(2, 5),
    is_fortran=st.booleans(),
    shared=st.booleans(),
)
def test_equals_pickle(
    arrays: dict[str, Any], protocol: int, is_fortran: bool, shared: bool, tmp_path_factory: Any
) -> None:
    if is_fortran:
        arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
    if shared and arrays:
        arrays["again"] = next(iter(arrays.values()))
    content = {"model": OrderedDict(arrays), "__author__": "third_party", "number": -(2**40), "share": 0.5}
    data = pickle.dumps(content, protocol=protocol)
    found = read(tmp_path_factory.getbasetemp() / "a.pkl", data)
    expected = pickle.loads(data)
    assert {key: found[key] for key in ("__author__", "number", "share")} == {
        key: expected[key] for key in ("__author__", "number", "share")
    }
    assert found["model"].keys() == expected["model"].keys()
    for name, array in expected["model"].items():
        # pickle turns the bytes into this machine's order; the values are the same.
        own = found["model"][name]
        own = own.astype(own.dtype.newbyteorder("="))
        array = array.astype(array.dtype.newbyteorder("="))
        assert (own.dtype, own.shape) == (array.dtype, array.shape)
        assert own.tobytes() == array.tobytes()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numbers_and_views_are_read(protocol: int, tmp_path: Path) -> None:
    content = {"scale": np.float32(2.5), "view": np.arange(12, dtype=np.float32).reshape(3, 4)[::2, ::-1]}
    found = read(tmp_path / "a.pkl", pickle.dumps(content, protocol=protocol))
    assert float(found["scale"]) == 2.5
    np.testing.assert_array_equal(found["view"], content["view"])


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    """Its bytes are texts: numpy.core, BINSTRING and an old reconstruction."""
    raw = np.array([1.5, -2.0], np.float32).tobytes()
    data = (
        b"\x80\x02}U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    expected = pickle.loads(data, encoding="latin1")
    found = read(tmp_path / "a.pkl", data)
    np.testing.assert_array_equal(found["a"], expected["a"])


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Say what is to be called."""
        return self.call


def shifted(array: Any, **changes: object) -> bytes:
    """Pickle an array with a state that says something else than its bytes."""
    _, arguments, state = array.__reduce__()
    version, shape, dtype, is_fortran, raw = state
    state = (version, changes.get("shape", shape), changes.get("dtype", dtype), is_fortran, raw)

    class Other:
        def __reduce__(self) -> tuple[Any, ...]:
            """Say what is in it."""
            return np.ndarray.__reduce__(array)[0], arguments, state

    return pickle.dumps({"a": Other()})


ARRAY = np.zeros(4, np.float32)
LAUGHS: list[Any] = ["x"]
for _ in range(40):
    LAUGHS = [LAUGHS, LAUGHS]
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a call": (pickle.dumps({"a": Call(os.mkdir, "marker")}), r"asks for '(posix|nt)\.mkdir'"),
    "a call of old": (pickle.dumps({"a": Call(os.mkdir, "marker")}, 0), "is refused"),
    "evaluation": (pickle.dumps({"a": Call(eval, "open('marker', 'w')")}), r"asks for '.*eval'"),
    "a class": (pickle.dumps({"a": Path("x")}), "asks for 'pathlib"),
    "a method of numpy": (b"\x80\x04cnumpy\nload\n\x8c\x06marker\x85R.", r"asks for 'numpy\.load'"),
    "an extension": (b"\x80\x02}\x82\x01.", "instruction EXT1"),
    "a persistent id": (b"\x80\x02}\x8c\x01aQ.", "instruction BINPERSID"),
    "a new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
    "an array as function": (b"\x80\x02cnumpy\nndarray\nK\x01\x85R.", "calls ndarray"),
    "another encoding": (
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "calls",
    ),
    "objects": (pickle.dumps({"a": np.array([{}, None], dtype=object)}), "number format 'O8?'"),
    "texts": (pickle.dumps({"a": np.array(["a"])}), "number format 'U1'"),
    "fields": (pickle.dumps({"a": np.zeros(1, [("x", "f4")])}), "number format 'V4'"),
    "a vast array": (shifted(ARRAY, shape=(10**18,)), "not a whole pickle"),
    "a negative side": (shifted(ARRAY, shape=(-1, -4)), "not a whole pickle"),
    "nothing times anything": (shifted(np.zeros(0, np.float32), shape=(0, 10**40)), "not a whole pickle"),
    "a shape of texts": (shifted(ARRAY, shape=("4",)), "not a whole pickle"),
    "another format": (shifted(ARRAY, dtype=np.dtype("f8")), "not a whole pickle"),
    "no content": (b"\x80\x02}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\n)Rs.", "no content"),
    "a tuple as name": (pickle.dumps({((1, 2), 3): ARRAY}), "neither a text nor a number"),
    "a list": (pickle.dumps([ARRAY]), "holds no arrays by name"),
    "a long text": (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "not a whole pickle"),
    "an empty stack": (b"\x80\x020s.", "instruction POP"),
    "half": (pickle.dumps({"a": ARRAY})[:-20], "not a whole pickle"),
    "zeros": (b"\x80" + bytes(50), "not a whole pickle"),
    "empty": (b"", "is empty"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_array_is_refused_and_not_run(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, message = HOSTILE[case]
    with pytest.raises(UserError, match=message) as told:
        read(tmp_path / "a.pkl", data)
    assert str(told.value).startswith("source: ")
    assert not (tmp_path / "marker").exists()


def test_what_costs_nothing_is_read(tmp_path: Path) -> None:
    """Where ``pickle`` itself would fill the memory: a far place to remember, and lists of lists of lists."""
    assert read(tmp_path / "a.pkl", b"\x80\x02}r\xff\xff\xff\x7f.") == {}
    assert read(tmp_path / "a.pkl", pickle.dumps({"a": LAUGHS})) == {"a": None}


def test_a_call_that_is_no_pickle_of_ours_would_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack is one: ``pickle`` runs it."""
    monkeypatch.chdir(tmp_path)
    pickle.load(io.BytesIO(HOSTILE["a call"][0]))
    assert (tmp_path / "marker").is_dir()


def test_instructions_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_pickle, "MOST_INSTRUCTIONS", 100)
    with pytest.raises(UserError, match="more than 100 instructions"):
        read(tmp_path / "a.pkl", b"\x80\x02" + b"N" * 101 + b".")


def test_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"source: .* cannot be read \("):
            read_array_pickle(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="named pipe"):
        read_array_pickle(tmp_path / "pipe")
