"""What a sweep would do, before it does it: its runs, what is there already, and how long the rest takes.

Speed is that of finished runs: in the output folder, else on the leaderboard, of the same row, else of the same model
under another protocol, variant or data set, the closest first. Where nothing was measured, nothing is claimed.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from baselines import model_label
from benchmark.executors.terminal import duration
from benchmark.records.record import Record, read_records
from benchmark.runs import checkpoint
from benchmark.runs.config import RunConfig, lock_of
from benchmark.runs.train import finished_record
from datamodules.datasets import get_dataset
from datamodules.errors import UserError

BOARD = Path("leaderboards/records")
BYTES_A_PARAMETER = 12  # of a checkpoint: the weight, and m and v of Adam
MEMORY_MARGIN = 1.25


@dataclass(frozen=True)
class Planned:
    """One run: what is there of it, and what it takes; None where nothing like it was measured."""

    config: RunConfig
    state: str
    waits: bool  # it would be run
    seconds: float | None
    disk: int | None  # bytes, of what it leaves
    checkpoint: int | None  # bytes, while it runs


def plan(configs: Sequence[RunConfig], *, retry_failed: bool = False) -> list[Planned]:
    """Return the runs of a sweep in their order; nothing is written. Raises what `finished_record` raises."""
    known = known_records(Path(configs[0].out)) if configs else []
    return [_planned(config, known, retry_failed) for config in configs]


def known_records(out: Path) -> list[Record]:
    """The finished runs of this folder and of the leaderboard; damaged ones are left out with their folder."""
    found: list[Record] = []
    for root in (out, BOARD):
        with suppress(UserError):
            found += [record for record in read_records(root) if record.status == "finished"]
    return found


def _planned(config: RunConfig, known: Sequence[Record], retry_failed: bool) -> Planned:
    record = finished_record(config)
    if record and record["status"] == "finished":
        return Planned(config, "finished", False, 0.0, 0, 0)
    if record and not retry_failed:
        return Planned(config, f"failed: {record.get('reason')}", False, 0.0, 0, 0)
    like = closest(config, known)
    seconds = None if like is None else like.train_seconds * _steps(config, like) / like.steps
    disk = None if like is None else sum(path.stat().st_size for path in like.path.parent.iterdir() if path.is_file())
    state = "failed, to be run again" if record else "to be run"
    if (config.folder() / checkpoint.NAME).exists():
        state = "to be gone on with from its checkpoint"
    if lock_of(config).exists():
        state = "being run by another command, or was when it was killed"
    return Planned(config, state, True, seconds, disk, None if like is None else like.parameters * BYTES_A_PARAMETER)


def closest(config: RunConfig, known: Iterable[Record]) -> Record | None:
    """The run most like `config`: of its model, and of its data set unless there is none."""

    def likeness(record: Record) -> tuple[bool, ...]:
        same = [record.dataset == config.dataset, record.protocol == config.protocol, record.variant == config.variant]
        return *same, record.settings["batch_size"] == config.batch_size

    label = model_label(config.model)
    return max((r for r in known if r.model == label and r.steps), key=likeness, default=None)


def _steps(config: RunConfig, like: Record) -> int:
    """The budget: as asked for, the data set's own, or that of a run on the same data."""
    return config.steps or get_dataset(config.dataset, Path(config.data_dir)).steps or like.steps


def bytes_per_run(configs: Sequence[RunConfig], default: float) -> float:
    """Memory of a run: the most that one like these took and a margin, `default` where none is known."""
    known = known_records(Path(configs[0].out)) if configs else []
    likes = [like for config in configs if (like := closest(config, known)) and like.dataset == config.dataset]
    return max((like.peak_memory_mb for like in likes), default=0) * 1e6 * MEMORY_MARGIN or default


def describe_plan(planned: Sequence[Planned], workers: int) -> tuple[Table, str]:
    """Return the runs as a table, and what they come to in one line."""
    table = Table("run", "state", "time")
    for run in planned:
        time = "" if not run.waits else "not known" if run.seconds is None else duration(run.seconds)
        table.add_row(run.config.name, run.state, time)
    rest = [run for run in planned if run.waits]
    seconds = [run.seconds for run in rest]
    text = f"{len(planned) - len(rest)} of {len(planned)} runs are there, {len(rest)} are to be run"
    if not rest:
        return table, text
    text += f" by {workers} worker{'s' * (workers > 1)}"
    unknown = seconds.count(None)
    known = [value for value in seconds if value is not None]
    if known:
        longest = max(sum(known) / workers, max(known))
        disk = sum(run.disk or 0 for run in rest) + sum(sorted(run.checkpoint or 0 for run in rest)[-workers:])
        text += f": about {duration(longest)} and {disk / 1e6:,.0f} MB of disk in the output folder"
    if unknown:
        text += f"; {unknown} of them of a kind that was never measured" + ("" if known else ", time not known")
    return table, text


def needs_data(configs: Sequence[RunConfig]) -> list[str]:
    """The data sets of a sweep that are not prepared yet."""
    names = dict.fromkeys(config.dataset for config in configs)
    return [name for name in names if not (Path(configs[0].data_dir) / name / "manifest.json").exists()]
