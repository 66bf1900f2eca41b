"""Finished tables and figures of many runs in a tracker, and the commands that show what it holds."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from benchmark.tracking.trackers import Tracker, reason_of


class Table(Protocol):
    """A finished table, as `benchmark.report.render` makes it."""

    @property
    def csv_rows(self) -> tuple[tuple[str, ...], ...]: ...
    def markdown(self) -> str: ...
    def csv(self) -> str: ...
    def values(self) -> list[list[float | str | None]]: ...


def log_table(
    made: Table, name: str, *, tracker: Tracker, out: Path, tags: Sequence[str], say: Callable[[str], None] = print
) -> None:
    """Log a table of many runs; `say` is told what the tracker raises, which ends nothing."""
    try:
        if tracker == "wandb":
            from benchmark.tracking.wandb_runs import log_wandb_table

            files = {f"{name}.md": made.markdown(), f"{name}.csv": made.csv()}
            log_wandb_table(name, made.csv_rows[0], made.values(), files, out, tags, say)
        if tracker == "tensorboard":
            from benchmark.tracking.tensorboard_runs import log_tensorboard_table

            log_tensorboard_table(name, made.markdown(), out.joinpath("tensorboard", "tables", name, *tags))
    except Exception as error:  # whatever it is: the table is in OUT
        say(f"{name}: {tracker} did not take the table ({reason_of(error)})")


def log_figures(
    drawn: Sequence[Path],
    name: str,
    *,
    tracker: Tracker,
    out: Path,
    tags: Sequence[str],
    say: Callable[[str], None] = print,
) -> None:
    """Log the files of figures as `log_table` does a table."""
    try:
        if tracker == "wandb":
            from benchmark.tracking.wandb_runs import log_wandb_figures

            log_wandb_figures(name, drawn, out, tags, say)
        if tracker == "tensorboard":
            from benchmark.tracking.tensorboard_runs import log_tensorboard_figures

            log_tensorboard_figures(drawn, out.joinpath("tensorboard", "figures", name, *tags))
    except Exception as error:  # whatever it is: the figures are in OUT
        say(f"{name}: {tracker} did not take the figure ({reason_of(error)})")


def how_to_look(tracker: Tracker, out: Path) -> list[str]:
    """The commands that show the curves below `out`, or upload them; none where they are on a server or in no tracker.

    >>> how_to_look("tensorboard", Path("my runs"))
    ["tensorboard --logdir 'my runs/tensorboard'"]
    """
    if tracker == "tensorboard":
        return [f"tensorboard --logdir {shlex.quote(str(out / 'tensorboard'))}"]
    if tracker == "wandb" and any((out / "wandb").glob("offline-run-*")):
        place = shlex.quote(str(out / "wandb"))
        return [
            f"wandb sync {place}/offline-run-*  # uploads the learning curves, after wandb login",
            f"wandb leet {place}  # shows them in the terminal, without an account",
        ]
    return []
