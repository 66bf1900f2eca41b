"""Learning curves: what a run logged at its steps, as in metrics.csv of its folder."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        steps, values = self.filled("step", column), self.filled(column, column)
        before = -1.0
        for line, step in steps.items():
            if not before < step <= MOST_STEPS:
                raise UserError(
                    f"{self.place}, line {line}: step {step:g} follows {before:g}; expected more, up to {MOST_STEPS:g}."
                )
            before = step
        if not values:
            raise UserError(f"{self.place} has no value in its column {column}. Train this run for more steps.")
        array = np.asarray(list(values.values()))
        return Curve(np.asarray(list(steps.values())), np.where(np.abs(array) <= DIVERGED, array, np.nan))

    def losses(self) -> dict[str, Curve]:
        """Return the losses by column: `loss`, the whole, and the losses that it consists of.

        A model without further losses has `loss` alone, which is its target loss. Raises UserError as `curve`.
        """
        whole = self.curve("loss")
        parts = [name for name, cells in self.columns.items() if name.endswith("_loss") and any(map(_is_filled, cells))]
        return {"loss": whole} | ({name: self.curve(name) for name in parts} if parts != ["target_loss"] else {})

    def filled(self, column: str, beside: str) -> dict[int, float]:
        """Return the numbers of a column by line, 2 for the first, where the column `beside` has a cell that is filled.

        Raises UserError for a cell that is no number.
        """
        cells = enumerate(zip(self.columns[column], self.columns[beside], strict=True), start=2)
        return {line: self._number(line, column, cell) for line, (cell, other) in cells if _is_filled(other)}

    def _number(self, line: int, column: str, cell: Cell) -> float:
        try:
            return float(cell or "") if isinstance(cell, str | None) else cell
        except ValueError:
            raise UserError(f"{self.place}, line {line}: {column} is {cell!r}, expected a number.") from None


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
