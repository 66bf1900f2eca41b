"""Learning curves: metrics.csv of a run folder."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

Floats = NDArray[np.float64]
MOST_STEPS, DIVERGED = 1e12, 1e30  # what lies beyond is no step, and a value that is as good as infinite


class Curve(NamedTuple):
    """The filled cells of a column of metrics.csv: increasing steps (S,); values (S,), NaN beyond `DIVERGED`."""

    steps: Floats
    values: Floats


def read_curve(path: Path, column: str) -> Curve:
    """Return the filled cells of one column of a metrics.csv.

    Raises UserError naming the file where it cannot be read, lacks the column or has no value in it, and for
    a cell that is no number and steps that do not increase.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            header = reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}. Train this run again.") from error
    if lacking := [name for name in ("step", column) if name not in header]:
        found = ", ".join(header) or "nothing"
        raise UserError(f"{path} lacks the column {lacking[0]}, found {found}. Expected a metrics.csv of a run.")
    if not lines:
        raise UserError(f"{path} has no rows: its run stopped before anything was logged. Train it again.")
    before = -1.0
    steps: list[float] = []
    values: list[float] = []
    for number, line in enumerate(lines, start=2):
        if line[column]:
            step, value = (
                _number(path, number, "step", line["step"]),
                _number(path, number, column, line[column]),
            )
            if not before < step <= MOST_STEPS:
                raise UserError(
                    f"{path}, line {number}: step {step:g} follows {before:g}; expected more, up to {MOST_STEPS:g}."
                )
            before = step
            steps.append(step)
            values.append(value)
    if not values:
        raise UserError(f"{path} has no value in its column {column}. Train this run for more steps.")
    array = np.asarray(values)
    return Curve(np.asarray(steps), np.where(np.abs(array) <= DIVERGED, array, np.nan))


def read_losses(path: Path) -> dict[str, Curve]:
    """Return the losses of a metrics.csv by column: `loss`, the whole, and the losses that it consists of.

    A model without further losses has `loss` alone, which is its target loss. Raises UserError as `read_curve`.
    """
    whole = read_curve(path, "loss")
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    parts = [name for name in lines[0] if str(name).endswith("_loss") and any(line[name] for line in lines)]
    return {"loss": whole} | ({name: read_curve(path, name) for name in parts} if parts != ["target_loss"] else {})


def _number(path: Path, line: int, column: str, cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:
        raise UserError(f"{path}, line {line}: {column} is {cell!r}, expected a number.") from None
