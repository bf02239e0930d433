"""Changes bytes of a file, whatever they mean."""

from __future__ import annotations

from random import Random


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Flip, cut off, insert, remove, repeat or overwrite bytes, once to four times."""
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice((_flip, _truncate, _insert, _remove, _splice, _extreme))(data, random)
    return data


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 10)) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _insert(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    inserted = random.choice((b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b'"', b",", b"\xc3\x28"))
    return data[:place] + inserted * random.choice((1, 1, 1, 1000)) + data[place:]


def _remove(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    return data[:start] + data[start + random.choice((1, 4, 50)) :]


def _splice(data: bytes, random: Random) -> bytes:
    start, place = random.randrange(len(data) + 1), random.randrange(len(data) + 1)
    part = data[start : start + random.choice((4, 32, 500))]
    return data[:place] + part + data[place + random.choice((0, len(part))) :]


def _extreme(data: bytes, random: Random) -> bytes:
    size = random.choice((1, 2, 4, 8))
    place = random.randrange(max(1, len(data) - size + 1))
    value = random.choice(
        (b"\0" * size, b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), random.randbytes(size))
    )
    return data[:place] + value + data[place + size :]
