"""Changes values of a tree of dicts and lists: what JSON, YAML and checkpoints hold."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

from fuzzing.byte_mutations import mutate_bytes

MARKER = "code-was-run"
# What a reader that builds what a file names would leave behind.
FOREIGN: list[dict[str, Any]] = [
    {"_target_": "os.mkdir", "path": MARKER},
    {"_target_": "pathlib.Path.mkdir", "_args_": [{"_target_": "pathlib.Path", "_args_": [MARKER]}]},
    {"_target_": "torch.utils.collect_env.run", "command": f"touch {MARKER}"},
    {
        "_target_": "numpy.size",
        "a": {"_target_": "torch.utils.collect_env.run", "command": f"touch {MARKER}"},
    },
    {"_target_": "no.such.module"},
]
_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e-200, 1e308),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "x",
        "0",
        "nan",
        "-1",
        "\x00",
        "\ud800",
        "\u202e\x1b[31m",
    ),
    *("é" * 300, "../../x", "/etc/passwd", "a" * 5000, "${oc.env:HOME}", "${data.root}", "???", "${"),
    *([], {}, [[]], [None], [1, "a", None], {"": None}, {"_target_": None}, [0] * 1000),
]


def mutate_tree(tree: Any, random: Random, extra: list[Any] | None = None) -> Any:
    """Swap, remove, repeat or add values of a copy of a tree, once to three times.

    Args:
        tree: Dicts, lists and whatever they hold.
        random: Decides.
        extra: More values to put in.
    """
    root = {"": copy.deepcopy(tree)}
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(root))
        if not places:
            break
        _change(*random.choice(places), random, _VALUES + 3 * (extra or []))
    return root.get("")


def _places(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    else:
        return []
    return [*((node, key) for key, _ in items), *(place for _, value in items for place in _places(value))]


def _change(parent: Any, key: Any, random: Random, values: list[Any]) -> None:
    value = parent[key]
    match random.randrange(8):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(value))
        case 1:
            parent[random.choice(("", "x", "_target_", "id", "\x00"))] = copy.deepcopy(value)
        case 2:
            parent[key] = random.choice(([value], {"x": value}, str(value)))
        case 3 if isinstance(value, bool | int | float):
            parent[key] = random.choice(
                (
                    value + 1,
                    -value,
                    value * 1e300,
                    str(value),
                    float(value),
                    value << 70 if isinstance(value, int) else 0,
                )
            )
        case 4:
            for _ in range(random.choice((30, 2000))):
                value = [value]
            parent[key] = value
        case _:
            parent[key] = copy.deepcopy(random.choice(values))


def mutate_json(data: bytes, random: Random) -> bytes:
    """Change values of a JSON file, or its text: duplicate keys, numbers that are none, a byte order mark."""
    try:
        text = json.dumps(mutate_tree(json.loads(data), random))
    except (ValueError, RecursionError, OverflowError):
        return mutate_bytes(data, random)
    match random.randrange(12):
        case 0:
            text = "\ufeff" + text
        case 1:
            text = text.replace("{", '{"id": 1, "id": "x", ', 1)
        case 2:
            return text.encode("utf-16")
        case 3:
            text = text.replace("0", "1e999", 1)
    return text.encode("utf-8", "surrogatepass")


def mutate_json_lines(data: bytes, random: Random) -> bytes:
    """Change one line of a file that has a JSON document a line."""
    lines = data.split(b"\n")
    line = random.choice([index for index, content in enumerate(lines) if content.strip()] or [0])
    lines[line] = mutate_json(lines[line], random)
    return b"\n".join(lines)


def mutate_yaml(data: bytes, random: Random) -> bytes:
    """Change values of a YAML file, also to such as build objects."""
    if random.randrange(8) == 0:
        return data + random.choice(
            (
                f"\nx: !!python/object/apply:os.mkdir [{MARKER}]\n".encode(),
                b"\na: &a [*a]\n",
                b"\n? {a: b}\n: 1\n",
                b"\n? [1]\n: 1\n",
                b"\nx: 2020-99-99\n",
                b"\nx: !!binary '@'\n",
                b"\nx: 0b\n",
                b"\nx: 1:99999999999\n",
                b"\n<<: 3\n",
            )
        )
    try:
        tree = yaml.safe_load(data)
        return yaml.safe_dump(mutate_tree(tree, random, FOREIGN)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, OverflowError, TypeError, yaml.YAMLError):
        return mutate_bytes(data, random)


Mutate = Callable[[bytes, Random], bytes]
