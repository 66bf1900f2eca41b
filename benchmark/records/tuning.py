"""The search behind a row with tuned options: tuning.json, and whether a run was trained with what it found.

It lies beside the seeds of the row, OUT/<dataset>/<protocol>/<model>+tuned-<variant>/tuning.json, on a board in
results/<dataset>/<protocol>/tuning/. A run's setting `tuned` names it: its number of trials, and its hash.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from benchmark.records.record import RUNS, Auc, Count, Name, Number, Record, Setting, Sha256, Text
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

FILE = "tuning.json"
TUNED = "tuned"
OF_RUN = ("dataset", "protocol", "protocol_hash", "data_sha256", "variant")  # that a run has in common with its search


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Trial:
    """Options that were tried, and the best AUC on validation samples that a run with them had."""

    options: dict[Text, Setting]
    validation_auc: Auc | None  # None: it failed
    step: Count | None  # of that AUC
    seconds: Number | None
    reason: Text | None = None  # of a failure


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Tuning:
    """One search: what it was of, how it went about it, and every trial in order."""

    dataset: Name
    protocol: Name
    protocol_hash: Text
    data_sha256: Sha256
    code_sha256: Sha256
    model: Text  # without the options that were chosen
    variant: Text
    seed: Count  # of every trial's run, and of the sampler
    steps: Count
    batch_size: Count
    sampler: Text
    at_once: Count  # trials that were chosen together
    space: dict[Text, Text]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The trial of the highest AUC on validation samples, of several the first; raises UserError without any."""
        done = [trial for trial in self.trials if trial.validation_auc is not None]
        if not done:
            raise UserError(
                f"no trial of {self.model} finished: {self.trials[0].reason if self.trials else 'none ran'}"
            )
        return max(done, key=lambda trial: trial.validation_auc or 0.0)

    @property
    def name(self) -> str:
        """What the setting `tuned` of its runs says: the number of trials, and a hash of all but the seconds."""
        values = asdict(self)
        for trial in values["trials"]:
            del trial["seconds"]
        return f"{len(self.trials)}-{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]}"


def read_tuning(path: Path) -> Tuning:
    """Return the search in a file; raises UserError where it is none."""
    try:
        return TypeAdapter(Tuning).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise UserError(f"{path} is no search of options: {what}. Restore it, or run dien-bench tune again.") from error


def write_tuning(path: Path, tuning: Tuning) -> None:
    """Write a search, a line a trial."""
    values = asdict(tuning)
    trials = values.pop("trials")
    head = json.dumps(values, indent=1).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(trial) for trial in trials)
    write_atomically(path, f'{head},\n "trials": [\n  {lines}\n ]\n}}\n'.encode())


def tuning_of(record: Record) -> Path | None:
    """Return where the search behind a run lies, None for a run without one."""
    if TUNED not in record.settings:
        return None
    if record.path.name == RUNS:
        return board_place(record.path.parent, record)
    return record.path.parent.parent / FILE


def board_place(folder: Path, record: Record) -> Path:
    """Return where a board keeps the search behind a run, below the folder of its data set and protocol."""
    return folder / "tuning" / f"{record.model}-{record.variant}.json"


def check_tuning(record: Record) -> None:
    """Raise UserError where a run names a search that is not there, is another one, or chose other options."""
    path = tuning_of(record)
    if path is None:
        return
    if not path.is_file():
        raise UserError(f"{record.place} has tuned options, and {path} with its trials is missing. Restore it.")
    found = read_tuning(path)
    if found.name != record.settings[TUNED]:
        raise UserError(f"{path} is the search {found.name}, expected {record.settings[TUNED]}, that of {record.place}")
    wanted = {name: getattr(found, name) for name in OF_RUN} | found.best.options
    wanted |= {"steps": found.steps, "batch_size": found.batch_size}
    for name, value in wanted.items():
        there = getattr(record, name) if name in OF_RUN else record.settings.get(name)
        if there != value:
            raise UserError(
                f"{record.place} has {name} = {there}, but the search in {path} has {value}: train it again"
            )


def with_budget(label: str, records: Sequence[Record]) -> str:
    """Return the label of a row with the trials behind its options, where it has tuned ones.

    >>> with_budget("DIEN", [])
    'DIEN'
    """
    settings: Mapping[str, Any] = records[0].settings if records else {}
    return f"{label} ({str(settings[TUNED]).partition('-')[0]} trials)" if TUNED in settings else label
