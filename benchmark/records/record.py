"""Run records: the one JSON file that a run leaves, and what every table, figure and page is made of.

A record lies in OUT/<dataset>/<protocol>/<model>-<variant>/seed-<n>/record.json. It is written last and in
one step, so a folder without it is a run that did not finish.
"""

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datamodules.errors import UNSHOWN, UserError
from datamodules.files.atomic import write_atomically

FILE_NAME = "record.json"
LAYOUT = f"<dataset>/<protocol>/<model>-<variant>/seed-<n>/{FILE_NAME}"
SELECTIONS = ("last", "validation", "test")
_PLAIN = (bool, int, float, type(None))  # besides text, what a setting can be
_ADVICE = "Delete that run's folder and train it again, or take the file out of the folder."


@dataclass(frozen=True)
class AucBySelection:
    """Test AUC in [0, 1] of three checkpoints of one run; None where there is none.

    `last` is the last step, `validation` the step best on validation users, `test` the step best on test.
    """

    last: float | None
    validation: float | None
    test: float | None


@dataclass(frozen=True)
class Record:
    """One run: what was trained, under which protocol, with which outcome; the fields of record.json."""

    dataset: str
    protocol: str
    protocol_hash: str
    model: str
    variant: Literal["official", "paper"]
    seed: int
    selection: Literal["last", "validation", "test"]  # whose test AUC is reported
    auc: AucBySelection
    logloss: float | None  # nats a sample; None for a failed run
    best_step: int | None
    epochs: float
    steps: int
    parameters: int
    train_seconds: float  # evaluations included
    evaluation_seconds: float
    samples_per_second: float  # of training alone
    peak_memory_mb: int  # of the process that ran it
    device: str
    versions: dict[str, str]
    commit: str | None  # None outside a git checkout
    data_sha256: str
    settings: dict[str, Any]
    status: Literal["finished", "failed"]
    path: Path = field(compare=False)  # where it was read, for messages
    reason: str | None = None  # of a failure, in one line

    @property
    def reported_auc(self) -> float:
        """Test AUC of the selection that is reported. Raises ValueError for a failed run without one."""
        value: float | None = getattr(self.auc, self.selection)
        if value is None:
            raise ValueError(f"{self.path} has no AUC for its selection '{self.selection}'")
        return value


def _is_name(value: object) -> bool:
    """A name is one component of a path, since every name is one in the run folder, and no formula of a spreadsheet."""
    return _is_text(value) and value not in (".", "..") and not re.search(r"[/\\]|^[=+@-]", str(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and not UNSHOWN.search(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return _is_count(value) or (isinstance(value, float) and math.isfinite(value) and value >= 0)


def _is_auc(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != set(SELECTIONS):
        return False
    return all(auc is None or (_is_number(auc) and auc <= 1) for auc in value.values())


def _is_versions(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))


def _is_settings(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    if not all(_is_text(name) and (_is_text(one) or isinstance(one, _PLAIN)) for name, one in value.items()):
        return False
    counts = all(_is_count(value.get(key)) and value[key] > 0 for key in ("batch_size", "steps"))
    return counts and _is_number(value.get("learning_rate"))


TEXT = "a string that is not empty, without control characters and marks of writing direction"
NAME = "a name without slashes, control characters and marks of writing direction, beginning with none of = + - @"

# Field by field: the test that a value must pass, and the words for it in the message.
CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "dataset": (_is_name, NAME),
    "protocol": (_is_name, NAME),
    "protocol_hash": (_is_text, f"a hash, {TEXT}"),
    "model": (_is_name, NAME),
    "variant": (lambda value: value in ("official", "paper"), "'official' or 'paper'"),
    "seed": (_is_count, "an integer of at least 0"),
    "selection": (lambda value: value in SELECTIONS, "'last', 'validation' or 'test'"),
    "auc": (_is_auc, "an object of exactly last, validation and test, each a number from 0 to 1 or null"),
    "logloss": (lambda value: value is None or _is_number(value), "a number of at least 0, or null"),
    "best_step": (lambda value: value is None or _is_count(value), "an integer of at least 0, or null"),
    "epochs": (_is_number, "a number of at least 0"),
    "steps": (_is_count, "an integer of at least 0"),
    "parameters": (_is_count, "an integer of at least 0"),
    "train_seconds": (_is_number, "a number of at least 0"),
    "evaluation_seconds": (_is_number, "a number of at least 0"),
    "peak_memory_mb": (_is_count, "an integer of at least 0"),
    "samples_per_second": (_is_number, "a number of at least 0"),
    "device": (_is_text, TEXT),
    "versions": (_is_versions, f"an object of strings, each {TEXT}"),
    "commit": (lambda value: value is None or _is_text(value), f"{TEXT}, or null"),
    "data_sha256": (
        lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
        "64 hexadecimal digits in lower case",
    ),
    "settings": (
        _is_settings,
        "an object of texts, numbers, true, false and null, with batch_size and steps (integers of at least 1) and "
        "learning_rate (a number)",
    ),
    "status": (lambda value: value in ("finished", "failed"), "'finished' or 'failed'"),
}
OPTIONAL: dict[str, tuple[Callable[[object], bool], str]] = {
    "reason": (lambda value: value is None or _is_text(value), "a string that is not empty, or null"),
}


def parse_record(data: object, path: Path) -> Record:
    """Return the record that `data`, the content of the JSON file `path`, stands for.

    Raises UserError naming file and field where a field is missing, unknown, of a wrong type or out of range,
    and where a finished run lacks the figures that it reports.
    """
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a JSON {type(data).__name__}, expected an object. {_ADVICE}")
    if missing := [name for name in CHECKS if name not in data]:
        raise UserError(f"{path} lacks the field '{missing[0]}'. {_ADVICE}")
    if unknown := [name for name in data if name not in CHECKS | OPTIONAL]:
        raise UserError(f"{path} has the unknown field {unknown[0]!r}. {_ADVICE}")
    for name, (holds, expected) in (CHECKS | OPTIONAL).items():
        if name in data and not holds(data[name]):
            raise _wrong(path, name, data[name], expected)
    if data["status"] == "finished":
        for name in ("last", data["selection"]):
            if data["auc"][name] is None:
                raise _wrong(path, f"auc.{name}", None, "a number, since the run finished")
        if data["logloss"] is None:
            raise _wrong(path, "logloss", None, "a number, since the run finished")
    return Record(**{**data, "auc": AucBySelection(**data["auc"])}, path=path)


def _wrong(path: Path, name: str, found: object, expected: str) -> UserError:
    shown = json.dumps(found, default=repr)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return UserError(f"{path}: the field '{name}' is {shown}, expected {expected}. {_ADVICE}")


def run_folder(root: Path, dataset: str, protocol: str, model: str, variant: str, seed: int) -> Path:
    """Return the folder of a run: root/<dataset>/<protocol>/<model>-<variant>/seed-<n>."""
    return root / dataset / protocol / f"{model}-{variant}" / f"seed-{seed}"


def read_records(
    root: Path,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    model: str | None = None,
    variant: str | None = None,
) -> list[Record]:
    """Return the records below `root` of the given data set, protocol, model and variant (None: of all).

    Sorted by data set, protocol, model, variant and seed; an empty list where there is none. What is filtered
    out is not opened, so that a damaged record does no harm to the tables of other data sets.
    Raises UserError for a root that is no folder, for a damaged record, and for one in another run's folder.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}, expected one with run records. Train first: dien-bench run --help")
    wanted = {"dataset": dataset, "protocol": protocol, "model": model, "variant": variant}
    records = []
    for path in root.rglob(FILE_NAME):
        place = _place(path)
        if all(value is None or place[name] == value for name, value in wanted.items()):
            records.append(read_record(path))
    return sorted(records, key=lambda r: (r.dataset, r.protocol, r.model, r.variant, r.seed, str(r.path)))


def read_record(path: Path) -> Record:
    """Return the record in the file `path`; raises UserError where it is damaged or lies in another run's folder."""
    record = parse_record(_read_json(path), path)
    _check_place(record, _place(path))
    return record


def _place(path: Path) -> dict[str, str]:
    """Return what the folders above a record say about it (the absolute path: `root` may be any of them)."""
    parts = Path(os.path.abspath(path)).parts[-5:-1]
    if len(parts) < 4 or parts[0] == os.sep:
        raise UserError(f"{path} does not lie in a run folder, expected {LAYOUT}. Move or delete it.")
    model, _, variant = parts[2].rpartition("-")
    return {"dataset": parts[0], "protocol": parts[1], "model": model, "variant": variant, "seed": parts[3]}


def _check_place(record: Record, place: dict[str, str]) -> None:
    for name, found in place.items():
        expected = f"seed-{record.seed}" if name == "seed" else getattr(record, name)
        if found != expected:
            raise UserError(
                f"{record.path}: the field '{name}' says {expected!r}, but its folder says {found!r}; "
                f"expected {LAYOUT}. Move the run folder to where it belongs."
            )


def _read_json(path: Path) -> object:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return json.loads(path.read_text("utf-8"), parse_constant=refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}. {_ADVICE}") from error


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write `record`, which has the fields of `Record` but `path`, as JSON; readers see all of it or nothing.

    Raises UserError where the fields are not those of a record or the file cannot be written.
    """
    parse_record(record, path)
    text = json.dumps({name: record[name] for name in CHECKS | OPTIONAL if name in record}, indent=2, allow_nan=False)
    write_atomically(path, (text + "\n").encode("utf-8"))
