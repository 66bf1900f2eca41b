"""Learning curves: what a run logged at its steps, as in metrics.csv of its folder."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

CURVES = "metrics.csv"
Floats = NDArray[np.float64]
Cell = str | float | None  # "" and None: nothing was logged
MOST_STEPS, DIVERGED = 1e12, 1e30  # what lies beyond is no step, and a value that is as good as infinite


class Curve(NamedTuple):
    """The filled cells of a column: increasing steps (S,); values (S,), NaN beyond `DIVERGED`."""

    steps: Floats
    values: Floats


@dataclass(frozen=True)
class Curves:
    """All that a run logged: equally long columns by name, and where they were read, for messages."""

    place: str
    columns: Mapping[str, Sequence[Cell]]
    _read: dict[str, tuple[NDArray[np.intp], Floats]] = field(default_factory=dict, repr=False, compare=False)

    def curve(self, column: str) -> Curve:
        """Return the filled cells of one column.

        Raises UserError where there is no such column or no value in it, for a cell that is no number, and for steps
        that do not increase.
        """
        if lacking := [name for name in ("step", column) if name not in self.columns]:
            found = ", ".join(self.columns) or "nothing"
            raise UserError(
                f"{self.place} lacks the column {lacking[0]}, found {found}. Expected a metrics.csv of a run."
            )
        if not self.columns["step"]:
            raise UserError(f"{self.place} has no rows: its run stopped before anything was logged. Train it again.")
        (at, values), (at_step, steps) = self._numbers(column), self._numbers("step")
        if not len(values):
            raise UserError(f"{self.place} has no value in its column {column}. Train this run for more steps.")
        if lacking := np.setdiff1d(at, at_step).tolist():
            raise self._no_number(lacking[0], "step")
        steps = steps[np.searchsorted(at_step, at)]
        before = np.append(-1.0, steps[:-1])
        if wrong := np.flatnonzero(~((before < steps) & (steps <= MOST_STEPS))).tolist():
            raise UserError(
                f"{self.place}, line {at[wrong[0]] + 2}: step {steps[wrong[0]]:g} follows {before[wrong[0]]:g}; "
                f"expected more, up to {MOST_STEPS:g}."
            )
        return Curve(steps, np.where(np.abs(values) <= DIVERGED, values, np.nan))

    def losses(self) -> dict[str, Curve]:
        """Return the losses by column: `loss`, the whole, and the losses that it consists of.

        A model without further losses has `loss` alone, which is its target loss. Raises UserError as `curve`.
        """
        whole = self.curve("loss")
        parts = [name for name, cells in self.columns.items() if name.endswith("_loss") and any(map(_is_filled, cells))]
        return {"loss": whole} | ({name: self.curve(name) for name in parts} if parts != ["target_loss"] else {})

    def filled(self, column: str) -> dict[int, float]:
        """Return the numbers of a column by line, 2 for the first; raises UserError for a cell that is no number."""
        at, values = self._numbers(column)
        return dict(zip((at + 2).tolist(), values.tolist(), strict=True))

    def _numbers(self, column: str) -> tuple[NDArray[np.intp], Floats]:
        """The rows of a column that are filled, (S,), and their numbers, (S,)."""
        if column not in self._read:
            cells = self.columns[column]
            filled = [row for row, cell in enumerate(cells) if _is_filled(cell)]
            values = np.empty(len(filled))
            for place, row in enumerate(filled):
                try:
                    values[place] = float(cells[row])  # type: ignore[arg-type]  # it is not None
                except ValueError:
                    raise self._no_number(row, column) from None
            self._read[column] = np.array(filled, np.intp), values
        return self._read[column]

    def _no_number(self, row: int, column: str) -> UserError:
        cell = self.columns[column][row]
        return UserError(f"{self.place}, line {row + 2}: {column} is {cell!r}, expected a number.")


def read_metrics(path: Path) -> Curves:
    """Return the cells of a metrics.csv; raises UserError where it cannot be read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            header = reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}. Train this run again.") from error
    return Curves(str(path), {name: [line[name] for line in lines] for name in header})


def _is_filled(cell: Cell) -> bool:
    return cell is not None and cell != ""
