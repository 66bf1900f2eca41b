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
from benchmark.executors.time_left import makespan
from benchmark.records.record import RUNS, Record, read_records
from benchmark.runs.config import CHECKPOINT, RunConfig, lock_of
from benchmark.runs.ended import check_other_seeds, finished_record, has_failed
from datamodules.datasets import get_dataset
from datamodules.errors import UserError
from datamodules.protocol import Protocol, get_protocol
from datamodules.sources.spec import DatasetSpec, FinishedSpec

BOARD = Path(__file__).resolve().parents[2] / "leaderboards" / "results"  # of this checkout, wherever one stands
BYTES_A_WEIGHT = 4  # of weights.pt, next to which the other files of a run are small
BYTES_A_PARAMETER = 12  # of a checkpoint: the weight, and m and v of Adam
MEMORY_MARGIN = 1.25
FEW_STEPS = 500  # below which next to nothing is trained: an auxiliary loss begins to fall after about 800


@dataclass(frozen=True)
class Planned:
    """One run: what is there of it, and what it takes; None where nothing like it was measured."""

    config: RunConfig
    state: str
    waits: bool  # it would be run
    steps: int | None  # None: not known before its data set is prepared
    seconds: float | None
    at_least: bool  # the speed is that of another data set, whose tables may be smaller
    disk: int | None  # bytes, of what it leaves
    checkpoint: int | None  # bytes, while it runs

    @property
    def time(self) -> str:
        """The time that it takes, in words."""
        if self.seconds is None:
            return "not known"
        return f"{'at least ' if self.at_least else ''}{duration(self.seconds)}"


def plan(configs: Sequence[RunConfig], *, retry_failed: bool = False, fresh: bool = False) -> list[Planned]:
    """Return the runs of a sweep in their order; nothing is written. Raises what `finished_record` raises.

    fresh  what the runs left is going to be removed first
    """
    known = known_records(Path(configs[0].out)) if configs else []
    return [_planned(config, known, retry_failed, fresh) for config in configs]


def known_records(out: Path) -> list[Record]:
    """The finished runs of this folder and of the leaderboard; damaged ones are left out with their folder."""
    found: list[Record] = []
    for root in (out, BOARD):
        with suppress(UserError):
            found += [record for record in read_records(root) if record.status == "finished"]
    return found


def _planned(config: RunConfig, known: Sequence[Record], retry_failed: bool, fresh: bool) -> Planned:
    again = not fresh and retry_failed and has_failed(config)
    record, steps = None if fresh or again else finished_record(config), budget(config)
    if again:
        check_other_seeds(config)
    if record and record["status"] == "finished":
        return Planned(config, "finished", False, steps, 0.0, False, 0, 0)
    if record:
        return Planned(config, f"failed: {record.get('reason')}", False, steps, 0.0, False, 0, 0)
    state = "failed, to be run again" if again else "to be run"
    if fresh and config.folder().is_dir():
        state = "to be removed, and run from the beginning"
    elif (config.folder() / CHECKPOINT).exists():
        state = "to be continued from its checkpoint"
    if lock_of(config).exists():
        state = "being run by another command, or was when it was killed"
    like = closest(config, known)
    if like is None:
        return Planned(config, state, True, steps, None, False, None, None)
    seconds = None if steps is None else steps * step_seconds(config, like)
    disk = like.parameters * BYTES_A_WEIGHT
    if like.path.name != RUNS:  # its folder shows it
        disk = sum(path.stat().st_size for path in like.path.parent.iterdir() if path.is_file())
    other = like.dataset != config.dataset
    return Planned(config, state, True, steps, seconds, other, disk, like.parameters * BYTES_A_PARAMETER)


def closest(config: RunConfig, known: Iterable[Record]) -> Record | None:
    """The run most like `config`: of its model, and of its data set unless there is none."""

    def likeness(record: Record) -> tuple[bool, ...]:
        same = [record.dataset == config.dataset, record.protocol == config.protocol, record.variant == config.variant]
        return *same, record.settings["batch_size"] == config.batch_size

    label = model_label(config.model)
    return max((r for r in known if r.model == label and r.steps), key=likeness, default=None)


def step_seconds(config: RunConfig, like: Record) -> float:
    """Seconds a step of a run, from one like it: training as it was, evaluations by their numbers of users."""
    here, there = (_held_out_users(Path(config.data_dir), *of) for of in (
        (config.dataset, config.protocol), (like.dataset, like.protocol)
    ))  # fmt: skip
    larger = here / there if here and there else 1.0
    return (like.train_seconds + (larger - 1) * like.evaluation_seconds) / like.steps


def expected_step_seconds(configs: Sequence[RunConfig]) -> dict[str, float]:
    """Seconds a step of runs, by their names, for those like which one was measured."""
    known = known_records(Path(configs[0].out)) if configs else []
    likes = {config: closest(config, known) for config in configs}
    return {config.name: step_seconds(config, like) for config, like in likes.items() if like}


def budget(config: RunConfig) -> int | None:
    """The steps of a run: as asked for, the data set's own, or passes over samples whose number is known."""
    spec, protocol = get_dataset(config.dataset, Path(config.data_dir)), get_protocol(config.protocol)
    if config.steps or spec.steps:
        return config.steps or spec.steps
    if isinstance(spec, FinishedSpec):
        return spec.passes * -(-spec.expected["training rows"] // config.batch_size)
    users, interactions = spec.counts.get("users"), spec.counts.get("interactions")
    if users is None or not (isinstance(protocol, Protocol) and isinstance(spec, DatasetSpec)):
        return None
    targets = protocol.targets(users, interactions if spec.order_within_time else None)
    return targets and spec.passes * -(-2 * targets // config.batch_size)  # a positive and a negative each


def _held_out_users(data_dir: Path, dataset: str, protocol: str) -> float | None:
    """The users that an evaluation of a data set takes, None where their number is not known."""
    with suppress(UserError):  # a record may be of a data set that is not here
        users, held_out = get_dataset(dataset, data_dir).counts.get("users"), get_protocol(protocol)
        if isinstance(held_out, Protocol):
            return users and users * (held_out.test_users + held_out.validation_users or 1)
    return None


def bytes_per_run(configs: Sequence[RunConfig], default: float) -> float:
    """Memory of a run: the most that one like these took and a margin, `default` where none is known."""
    known = known_records(Path(configs[0].out)) if configs else []
    likes = [like for config in configs if (like := closest(config, known)) and like.dataset == config.dataset]
    return max((like.peak_memory_mb for like in likes), default=0) * 1e6 * MEMORY_MARGIN or default


def describe_plan(planned: Sequence[Planned], workers: int) -> tuple[Table, str]:
    """Return the runs as a table, and the sum of what they take in one line."""
    table = Table("run", "state", "time")
    for run in planned:
        table.add_row(run.config.name, run.state, run.time if run.waits else "")
    rest = [run for run in planned if run.waits]
    text = f"{len(planned) - len(rest)} of {len(planned)} runs are there, {len(rest)} are to be run"
    if not rest:
        return table, text
    text += f" by {workers} worker{'s' * (workers > 1)}"
    known = [run.seconds for run in rest if run.seconds is not None]
    unknown = len(rest) - len(known)
    if known:
        about = "at least" if unknown or any(run.at_least for run in rest) else "about"
        disk = sum(run.disk or 0 for run in rest) + sum(sorted(run.checkpoint or 0 for run in rest)[-workers:])
        text += f": {about} {duration(makespan(known, workers))} and {disk / 1e6:,.0f} MB of disk in the output folder"
    if unknown:
        text += f"; {unknown} of them of a kind that was never measured" + ("" if known else ", time not known")
    return table, text


def short_budgets(configs: Sequence[RunConfig]) -> list[str]:
    """A line for each data set whose default number of steps trains next to nothing."""
    found = {}
    for config in configs:
        spec, steps = get_dataset(config.dataset, Path(config.data_dir)), budget(config)
        if not (config.steps or spec.steps) and steps is not None and steps < FEW_STEPS:
            found[config.dataset] = spec.passes, steps
    return [
        f"{name}: {passes} passes over its samples are {steps} steps, in which next to nothing is trained: "
        "give more with --steps (Electronics takes 8,100)"
        for name, (passes, steps) in found.items()
    ]


def needs_data(configs: Sequence[RunConfig]) -> list[str]:
    """The data sets of a sweep that are not prepared yet."""
    names = dict.fromkeys(config.dataset for config in configs)
    return [name for name in names if not (Path(configs[0].data_dir) / name / "manifest.json").exists()]
