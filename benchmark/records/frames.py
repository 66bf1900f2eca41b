"""Records and learning curves as DataFrames: `records()` and `curves()` of the package."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.records.record import FIELDS, FILE_NAME, Record, read_records
from benchmark.records.results import curves_of
from datamodules.errors import UserError, unknown_name

BOARD = Path(__file__).resolve().parents[2] / "leaderboards"  # of this checkout
IDENTITY = ("dataset", "protocol", "model", "variant", "seed")
FIRST = (*IDENTITY, "selection", "auc", "auc_last", "auc_validation", "auc_test")
NESTED = ("settings", "versions")  # fields with a column for each key: settings_steps
REST = tuple(name for name in FIELDS if name not in (*FIRST, *NESTED))
# Columns with empty cells that are numbers all the same.
FIGURES = ("auc", "auc_last", "auc_validation", "auc_test", "validation_auc", "gauc", "logloss", "calibration")
KINDS = dict.fromkeys(FIGURES, "float64") | {"best_step": "Int64"}


def records(root: Path | str | None = None) -> pd.DataFrame:
    """Return all records below `root`, an output folder or by default the board of this checkout, one line a run.

    Columns are the fields of record.json (docs/records.md). `auc` is the reported test AUC in [0, 1], and `auc_last`,
    `auc_validation` and `auc_test` are those of the three selections; settings and versions have a column for each key,
    as `settings_learning_rate`; `folder` is that of a run in an output folder. Lines are sorted by data set, protocol,
    model, variant and seed; failed runs are among them, with their `status` and `reason`. Raises UserError for a root
    that is no folder and for a damaged record.
    """
    found = read_records(folder_of(root))
    lines = [_line(record) for record in found]
    of_keys = sorted({name for line in lines for name in line if name.startswith(tuple(f"{n}_" for n in NESTED))})
    return pd.DataFrame(lines, columns=[*FIRST, *REST, *of_keys, "folder"]).astype(KINDS)


def curves(
    root: Path | str | None = None,
    *,
    models: Collection[str] | None = None,
    datasets: Collection[str] | None = None,
) -> pd.DataFrame:
    """Return the learning curves of all finished runs below `root`, by default the board of this checkout.

    A line is one value: `dataset`, `protocol`, `model`, `variant`, `seed`, `step`, `metric`, `value`; metrics are the
    columns of metrics.csv, `loss` and `test_auc` among them. `models` and `datasets` leave out all others. Raises
    UserError for a name without a run, and for damaged records and curves.
    """
    found = [record for record in read_records(folder_of(root)) if record.status == "finished"]
    for field, wanted in (("model", models), ("dataset", datasets)):
        if wanted is not None:
            found = _only(found, field, wanted)
    none = pd.DataFrame(columns=[*IDENTITY, "step", "metric", "value"])
    return pd.concat([_curves_of(record) for record in found], ignore_index=True) if found else none


def folder_of(root: Path | str | None) -> Path:
    """Return `root` as a path, for None the board of this checkout; raises UserError where that is not there."""
    if root is None and not BOARD.is_dir():
        raise UserError(f"no board at {BOARD}, expected a checkout of the project. Name a folder of runs: 'runs'")
    return BOARD if root is None else Path(root)


def _line(record: Record) -> dict[str, Any]:
    auc = asdict(record.auc)
    line: dict[str, Any] = {name: getattr(record, name) for name in (*IDENTITY, "selection", *REST)}
    line |= {"auc": auc[record.selection], "folder": str(record.path.parent) if record.path.name == FILE_NAME else None}
    line |= {f"auc_{selection}": value for selection, value in auc.items()}
    return line | {f"{field}_{key}": value for field in NESTED for key, value in getattr(record, field).items()}


def _only(found: Sequence[Record], field: str, wanted: Collection[str]) -> list[Record]:
    names = [wanted] if isinstance(wanted, str) else wanted
    known = dict.fromkeys(getattr(record, field) for record in found)
    for name in names:
        if name not in known:
            raise unknown_name(field, name, known)
    return [record for record in found if getattr(record, field) in names]


def _curves_of(record: Record) -> pd.DataFrame:
    """Return what a run logged, one value a line; NaN where it diverged."""
    logged = curves_of(record)
    found = {name: logged.curve(name) for name in logged.columns if name != "step" and logged.filled(name)}
    if not found:
        raise UserError(f"{logged.place} has no curves, expected steps and metrics of a run. Train this run again.")
    lines = {
        "step": np.concatenate([curve.steps for curve in found.values()]).astype(np.int64),
        "metric": np.repeat(list(found), [len(curve.steps) for curve in found.values()]),
        "value": np.concatenate([curve.values for curve in found.values()]),
    }
    return pd.DataFrame({name: getattr(record, name) for name in IDENTITY} | lines)
