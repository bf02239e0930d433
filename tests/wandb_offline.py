"""Reads back what Weights & Biases wrote to a run's offline file."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768  # LevelDB's log format, after a header of 7 bytes
HEADER = b":W&B"
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """What a run logged.

    Attributes:
        run: The run's record: display name, group, job type, tags.
        config: Settings.
        rows: Of the history.
        artifacts: Records of artifacts.
        files: Folder of media.
    """

    run: Any
    files: Path
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)

    def logged(self, key: str) -> list[Any]:
        """Every value of a key."""
        return [row[key] for row in self.rows if key in row]

    def table(self, value: dict[str, Any]) -> dict[str, Any]:
        """Columns and data of a logged table."""
        content: dict[str, Any] = json.loads((self.files / value["path"]).read_text())
        return content


def read_offline_run(folder: Path) -> OfflineRun:
    """Read the only offline run below ``folder``."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = OfflineRun(None, path.parent / "files")
    for data in records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = found.run or record.run
            update(found.config, record.run.config.update)
        elif kind == "config":
            update(found.config, record.config.update)
        elif kind == "history":
            found.rows.append(row(record.history.item))
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            found.artifacts.append(record.request.log_artifact.artifact)
    return found


def update(config: dict[str, Any], items: Any) -> None:
    for item in items:
        config["/".join(item.nested_key) or item.key] = json.loads(item.value_json)


def row(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        keys = list(item.nested_key) or [item.key]
        inner = found
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = json.loads(item.value_json)
    return found


def records(content: bytes) -> Iterator[bytes]:
    assert content[:4] == HEADER
    position, parts = 7, b""
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
