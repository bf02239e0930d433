"""Reads NumPy arrays by name from a pickle, as detectron2 publishes weights, without running anything in it.

``pickle`` itself would call what the file names. Here the standard library takes the file apart into its
instructions (``pickletools``), and these few are followed: containers, texts, numbers, and the ways in which
NumPy writes an array. Nothing is imported, no object of a class is made, and NumPy sees nothing but bytes, a
number format and a shape that were checked.
"""

from __future__ import annotations

import math
import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

# The largest Mask2Former has some 700 arrays of some 30 instructions each.
MOST_INSTRUCTIONS = 1_000_000
_MOST_AXES = 8
_FORMATS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
# Modules of NumPy before and since version 2.
_CORE = ("numpy.core", "numpy._core")
_CALLABLE = {
    **{f"{core}.multiarray _reconstruct": "array" for core in _CORE},
    **{f"{core}.multiarray scalar": "scalar" for core in _CORE},
    **{f"{core}.numeric _frombuffer": "buffer" for core in _CORE},
    "numpy ndarray": "ndarray",
    "numpy dtype": "format",
    "collections OrderedDict": "dictionary",
    # How old pickles hold bytes, and none.
    "_codecs encode": "encode",
    "__builtin__ bytes": "bytes",
}


class _Refused(Exception):
    """What the file holds is not followed."""


@dataclass(frozen=True)
class _Global:
    """Something that the file names: one of a few words here, which are never called."""

    kind: str


@dataclass
class _Format:
    """A number format, whose byte order comes later."""

    name: str
    order: str = "<"


@dataclass
class _Array:
    """An array, whose content comes later."""

    content: NDArray[Any] | None = None


_MARK = object()


def read_array_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary.

    Args:
        path: A file of protocol 2 or later.

    Returns:
        Its entries: NumPy arrays, which cannot be written to, texts, numbers, and dictionaries of such; None
        for other things.

    Raises:
        UserError: It is damaged, holds something else, or would have to run code to be read.
    """
    try:
        with check_regular(path).open("rb") as file:
            if not file.read(1):
                raise UserError(f"source: '{path}' is empty. Download it again.")
            # Unlike a file, a map never gives more than there is, whatever length is asked for.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = _Reader().read(content)
    except _Refused as error:
        raise UserError(f"source: '{path}' is refused: {error}. Nothing of it was run.") from error
    except OSError as error:
        raise UserError(f"source: '{path}' cannot be read ({error.strerror or error}).") from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"source: '{path}' is not a whole pickle ({str(error)[:200] or type(error).__name__}). "
            "Download it again."
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"source: '{path}' holds no arrays by name. Is it a file of weights?")
    return found


class _Reader:
    """Follows the instructions."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, content: mmap.mmap) -> object:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", content))):
            if number > MOST_INSTRUCTIONS:
                raise _Refused(f"it has more than {MOST_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return _finished(self.stack.pop())
            self._follow(opcode.name, argument)
        raise ValueError("it has no end")

    def _follow(self, name: str, argument: Any) -> None:  # noqa: ANN401 (any argument of an instruction)
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = self._pop(count)
            self.stack.append(tuple(items))
        elif name == "TUPLE":
            self.stack.append(tuple(self._pop_to_mark()))
        elif name == "APPEND":
            self._append(self._pop(1))
        elif name == "APPENDS":
            self._append(self._pop_to_mark())
        elif name == "SETITEM":
            self._set(self._pop(2))
        elif name == "SETITEMS":
            self._set(self._pop_to_mark())
        elif name == "GLOBAL":
            self.stack.append(_global(argument))
        elif name == "STACK_GLOBAL":
            module, member = self._pop(2)
            self.stack.append(_global(f"{module} {member}"))
        elif name == "REDUCE":
            called, arguments = self._pop(2)
            self.stack.append(_make(called, arguments))
        elif name == "BUILD":
            (state,) = self._pop(1)
            _fill(self.stack[-1], state)
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(f"it has the instruction {name}, which no pickle of arrays needs")

    def _pop(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise ValueError("it ends inside of a container")
        del self.stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("it puts entries into what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of a nested tuple may take for ever.
            if not isinstance(key, str | int):
                raise _Refused("a name in it is neither a text nor a number")
            target[key] = value


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_LITERALS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _global(name: str) -> _Global:
    if name not in _CALLABLE:
        raise _Refused(
            f"it asks for {name.replace(' ', '.')[:200]!r}, and reading it could run foreign code; only "
            "plain NumPy arrays are read"
        )
    return _Global(_CALLABLE[name])


def _make(called: object, arguments: object) -> object:
    """Give what the file says that a call gives."""
    kind = called.kind if isinstance(called, _Global) else None
    if not isinstance(arguments, tuple):
        raise ValueError("the arguments of a call are no tuple")
    if kind == "array":
        return _Array()
    if kind == "format":
        return _Format(_check_format(arguments[0]))
    if kind == "scalar":
        number_format, content = arguments
        return _Array(_array(number_format, (), False, content))
    if kind == "buffer":
        content, number_format, shape, order = arguments
        return _Array(_array(number_format, shape, order == "F", content))
    if kind == "dictionary" and not arguments:
        return {}
    if kind == "bytes" and not arguments:
        return b""
    if kind == "encode" and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        return arguments[0].encode("latin-1")
    _refuse_call(kind)


def _refuse_call(kind: str | None) -> NoReturn:
    raise _Refused(f"it calls {kind or 'what is no function'} as no pickle of arrays does")


def _fill(target: object, state: object) -> None:
    """Take what the file says that an object holds."""
    if not isinstance(state, tuple):
        raise _Refused("it fills in something that is no array")
    if isinstance(target, _Format):
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError("its byte order is unknown")
        target.order = "<" if order in ("|", "=") else order
    elif isinstance(target, _Array):
        _, shape, number_format, is_fortran, content = state
        target.content = _array(number_format, shape, bool(is_fortran), content)
    else:
        raise _Refused("it fills in something that is no array")


def _check_format(name: object) -> str:
    if not isinstance(name, str) or name not in _FORMATS:
        raise _Refused(
            f"an array in it has the number format {str(name)[:20]!r}; only plain numbers are read"
        )
    return name


def _array(number_format: object, shape: object, is_fortran: bool, content: object) -> NDArray[Any]:
    if isinstance(content, str):
        content = content.encode("latin-1")  # as Python 2 wrote them
    if not isinstance(number_format, _Format) or not isinstance(content, bytes | bytearray):
        raise _Refused("an array in it holds objects; only plain numbers are read")
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_AXES
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise ValueError("an array has no shape")
    resolved = np.dtype(number_format.order + number_format.name)
    if math.prod(shape) * resolved.itemsize != len(content):
        raise ValueError(f"an array of shape {str(shape)[:100]} has {len(content)} bytes")
    return np.frombuffer(content, resolved).reshape(shape, order="F" if is_fortran else "C")


def _finished(found: object, depth: int = 0) -> object:
    """Put the arrays in their places, two containers deep; what is further down is of no use here."""
    if isinstance(found, _Array):
        if found.content is None:
            raise ValueError("an array has no content")
        return found.content
    if isinstance(found, dict) and depth < 2:
        return {key: _finished(value, depth + 1) for key, value in found.items()}
    return None if isinstance(found, dict | list | tuple | _Global | _Format) else found
