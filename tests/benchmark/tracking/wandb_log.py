"""Reads what W&B has written of an offline run."""

import json
import struct
import time
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record


def wandb_records(path: Path) -> list[Record]:
    """The records of a .wandb file: a LevelDB log (blocks of 32 KiB, pieces of a record in them) behind 7 bytes."""
    data, position, piece, records = path.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        piece += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            records.append(Record.FromString(piece))
            piece = b""
    return records


def offline_runs(out: Path) -> list[Path]:
    """The logs below an output folder, once the process that writes them has written their ends."""
    logs = sorted(out.glob("wandb/offline-run-*/run-*.wandb"))
    deadline = time.monotonic() + 30
    while not all(any(record.HasField("exit") for record in wandb_records(log)) for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return logs


def history(records: list[Record]) -> list[dict[str, Any]]:
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row} for row in rows]


def summary(records: list[Record]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records:
        for item in record.summary.update:
            found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def only(records: list[Record], kind: str) -> Any:
    (record,) = [record for record in records if record.WhichOneof("record_type") == kind]
    return getattr(record, kind)
