"""How a sweep looks in a terminal: what runs now, what each row has come to, and a bar for the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import ConsoleDimensions, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benchmark.runs.config import Progress

NARROW = 80  # columns below which names lose their protocol and variant, and runs their loss
BAR_WIDTH = 30


class Line(NamedTuple):
    """A run that is under way; no progress while it starts."""

    name: str  # <data set>/<protocol>/<row>/seed-<n>
    progress: Progress | None
    seconds_left: float | None


@dataclass
class Row:
    """Seeds of one row that a sweep is to have, and the AUC of those that are finished (None where one is unknown)."""

    seeds: int = 0
    aucs: list[float | None] = field(default_factory=list)

    def add(self, auc: float | None) -> None:
        """Note a finished seed."""
        self.aucs.append(auc)

    @property
    def mean(self) -> float | None:
        """The mean AUC of the finished seeds."""
        known = [auc for auc in self.aucs if auc is not None]
        return fmean(known) if known else None


def rows_of_sweep(waiting: Iterable[str], earlier: Mapping[str, dict[str, Any]]) -> dict[str, Row]:
    """Return the rows, <data set>/<protocol>/<row>, of the runs to come and of the records of earlier ones."""
    rows: dict[str, Row] = {}
    for name in [*earlier, *waiting]:
        row = rows.setdefault(name.rpartition("/")[0], Row())
        row.seeds += 1
        if name in earlier:
            row.add(reported_auc(earlier[name]))
    return rows


def reported_auc(record: Mapping[str, Any]) -> float | None:
    """The AUC of the selection that a record reports, None where it has none."""
    auc: float | None = (record.get("auc") or {}).get(record.get("selection"))
    return auc


def sweep_view(
    running: Sequence[Line], rows: Mapping[str, Row], size: ConsoleDimensions, done: float, summary: str
) -> Group:
    """Return what a terminal of `size` shows; `done` is the finished share of the runs, in [0, 1].

    Rows are left out, those that have not begun first, where the terminal is too low for them.
    """
    parts: list[Table | Text] = [_running(running, size.width)] if running else []
    room = size.height - len(running) - 5  # two headings, an empty line, the bar, the cursor's line
    shown = [name for name, row in rows.items() if len(rows) <= room or row.aucs]
    if shown[-room:] and room > 0:
        parts += [Text(), _finished({name: rows[name] for name in shown[-room:]}, size.width)]
    overall = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=1, completed=done, width=BAR_WIDTH)
    overall.add_row(bar, Text(summary)) if size.width >= BAR_WIDTH + 40 else overall.add_row(Text(summary))
    return Group(*parts, overall)


def _running(running: Sequence[Line], width: int) -> Table:
    wide = width >= NARROW
    grid = _grid(width, "running", "seed", "step", *(["loss"] if wide else []), "AUC", "left")
    for line in running:
        row, _, seed = line.name.rpartition("/seed-")
        left = "" if line.seconds_left is None else duration(line.seconds_left)
        if line.progress is None:
            cells = ["starting", *([""] if wide else []), "", left]
        else:
            p = line.progress
            auc = "" if p.auc is None else f"{p.auc:.4f}"
            cells = [f"{p.step}/{p.steps}", *([f"{p.loss:.4f}"] if wide else []), auc, left]
        grid.add_row(*map(Text, [_short(row, width), seed, *cells]))
    return grid


def _finished(rows: Mapping[str, Row], width: int) -> Table:
    grid = _grid(width, "row", "seeds", "mean AUC")
    for name, row in rows.items():
        seeds = f"{len(row.aucs)} of {row.seeds}"
        style = "green" if len(row.aucs) == row.seeds else ""
        mean = "" if row.mean is None else f"{row.mean:.4f}"
        grid.add_row(Text(_short(name, width)), Text(seeds, style), Text(mean))
    return grid


def _grid(width: int, name: str, *others: str) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column(name, no_wrap=True, overflow="ellipsis")
    for other in others:
        grid.add_column(other, justify="right", no_wrap=True)
    return grid


def _short(name: str, width: int) -> str:
    """The name of a row; without the protocol and the variant, which runs of a sweep share, where there is no room."""
    dataset, _, rest = name.partition("/")
    row = rest.partition("/")[2].rpartition("-")[0]
    return name if width >= NARROW or not row else f"{dataset} {row}"


def duration(seconds: float) -> str:
    """Return seconds in the two largest units that fit.

    >>> duration(8.2), duration(200), duration(7500)
    ('8 s', '3 min 20 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
