"""Runs and tables in Weights & Biases: one W&B run a seed, grouped by row.

A run that is resumed by another process goes on in the same W&B run: its id lies in the run folder.
"""

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.tracking.trackers import AXIS, SERIES, TrackedRun, identity, outcome, reason_of, wandb_project
from benchmark.tracking.wandb_login import settle_wandb_mode

if TYPE_CHECKING:
    import wandb

TAG_LENGTH = 64  # characters that W&B takes
NAME_LENGTH = 128  # that it takes and shows
OPEN_SECONDS, CLOSE_SECONDS = 20.0, 30.0  # that a run waits for the server, at most
ID_FILE = "wandb-id.txt"
WEIGHTS, MOST_BYTES = "weights.pt", 100_000_000


class WandbRun:
    """A W&B run; where it cannot be opened online it is offline, and so are the later ones of this process."""

    def __init__(self, run: TrackedRun, resumed_at: int, say: Callable[[str], None]) -> None:
        """`say` is told the address of an online run; steps after `resumed_at` are logged again, with equal values."""
        self._run = _open(
            say,
            run.out,
            id=run_id(run.folder / ID_FILE, run.config["settings"]),
            name=run.name[:NAME_LENGTH],
            group=run.group[:NAME_LENGTH],
            job_type="train",
            tags=_tags(run.tags),
            config=run.config,
            resume="allow",
        )
        if self._run.url:
            say(f"{run.name}: {self._run.url}")
        self._run.define_metric(AXIS)
        for name, summary in SERIES.items():
            self._run.define_metric(name, step_metric=AXIS, summary=summary)

    def log(self, row: Mapping[str, float], step: int) -> None:
        """Add the values of some series at a step."""
        self._run.log({**row, AXIS: step})

    def finish(self, record: dict[str, Any], folder: Path) -> None:
        """Add the outcome, and the record and the model as artifacts, and end with exit code 0.

        Predictions stay out, since they tell of a data set's users; and a model above `MOST_BYTES`, which would not be
        uploaded in the time that a run waits.
        """
        _close(self._run, 0, lambda: self._give(record, folder))

    def fail(self, reason: str) -> None:
        """Add the reason to the summary, and end with exit code 1."""
        _close(self._run, 1, lambda: self._run.summary.update({"failure": reason}))

    def _give(self, record: dict[str, Any], folder: Path) -> None:
        import wandb

        self._run.summary.update(outcome(record))
        metadata = identity(record) | outcome(record)
        artifact = wandb.Artifact(f"record-{self._run.id}", type="record", metadata=metadata)
        for name in ("record.json", "config.json", "metrics.csv"):
            artifact.add_file(str(folder / name))
        self._run.log_artifact(artifact)
        weights = folder / WEIGHTS
        if weights.is_file() and weights.stat().st_size <= MOST_BYTES:
            model = wandb.Artifact(f"model-{self._run.id}", type="model", metadata=metadata)
            model.add_file(str(weights))
            self._run.log_artifact(model)


def log_wandb_table(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[float | str | None]],
    files: Mapping[str, str],
    out: Path,
    tags: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Log a table as a run of job type "table", with `files` (name -> text) as an artifact; once for equal files."""
    import wandb

    content = hashlib.sha256(json.dumps([name, files]).encode()).hexdigest()[:8]
    if any((out / "wandb").glob(f"*run-*-{name}-{content}")):
        return
    run = _open(
        say, out, id=f"{name}-{content}", name="/".join([name, *tags])[:NAME_LENGTH], group="tables", job_type="table",
        tags=_tags(tags), resume="allow",
    )  # fmt: skip

    def give() -> None:
        run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})
        artifact = wandb.Artifact(f"{name}-{'-'.join(tags)}"[:NAME_LENGTH], type="table")
        for file_name, text in files.items():
            with artifact.new_file(file_name, encoding="utf-8") as file:
                file.write(text)
        run.log_artifact(artifact)

    _close(run, 0, give)


def log_wandb_figures(
    name: str, drawn: Sequence[Path], out: Path, tags: Sequence[str], say: Callable[[str], None]
) -> None:
    """Log the pictures among `drawn` as a run of job type "figure", all files as an artifact; once for equal files."""
    import wandb

    content = hashlib.sha256(b"".join(path.read_bytes() for path in drawn)).hexdigest()[:8]
    if any((out / "wandb").glob(f"*run-*-{name}-{content}")):
        return
    run = _open(
        say, out, id=f"{name}-{content}", name="/".join([name, *tags])[:NAME_LENGTH], group="figures",
        job_type="figure", tags=_tags(tags), resume="allow",
    )  # fmt: skip

    def give() -> None:
        run.log({path.stem: wandb.Image(str(path)) for path in drawn if path.suffix == ".png"})
        artifact = wandb.Artifact(f"{name}-{'-'.join(tags)}"[:NAME_LENGTH], type="figure")
        for path in drawn:
            artifact.add_file(str(path))
        run.log_artifact(artifact)

    _close(run, 0, give)


def run_id(path: Path, settings: dict[str, Any]) -> str:
    """The id in the file `path`, where it was made for the same settings; else a new one, which is written there.

    Eight characters, drawn and not derived: the same run in another folder is another W&B run.
    """
    settings_hash = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    found = path.read_text("utf-8", "replace").split() if path.exists() else []
    if len(found) == 2 and found[1] == settings_hash:
        return found[0]
    new = secrets.token_hex(4)
    path.write_text(f"{new} {settings_hash}\n", "utf-8")
    return new


def _open(say: Callable[[str], None], out: Path, **settings: Any) -> "wandb.Run":
    """A new W&B run below `out`: online where `settle_wandb_mode` says so and it can be, else offline."""
    settle_wandb_mode(say)
    import wandb

    out.mkdir(parents=True, exist_ok=True)  # W&B would write to another place
    waits = wandb.Settings(init_timeout=OPEN_SECONDS, finish_timeout=CLOSE_SECONDS)

    def start() -> "wandb.Run":
        mode: Any = os.environ["WANDB_MODE"]
        return wandb.init(
            project=wandb_project(), dir=str(out), mode=mode, reinit="create_new", settings=waits, **settings
        )

    try:
        return start()
    except Exception as error:
        if os.environ["WANDB_MODE"] == "online":
            say(f"W&B: {reason_of(error)}; runs are kept offline")
            os.environ["WANDB_MODE"] = "offline"
    with suppress(Exception):
        wandb.teardown()  # its process holds the run's id, or has died over an earlier run
    return start()


def _close(run: "wandb.Run", exit_code: int, last: Callable[[], object]) -> None:
    """Do something `last` with a W&B run and end it, within CLOSE_SECONDS.

    Raises `TimeoutError` after them; what is not uploaded stays for `wandb sync`, and later runs are offline.
    """
    raised: list[Exception] = []

    def close() -> None:
        try:
            with ExitStack() as stack:
                stack.callback(run.finish, exit_code=exit_code)
                last()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=close, daemon=True)  # W&B's own time limits do not hold for artifacts
    thread.start()
    thread.join(CLOSE_SECONDS)
    if raised:
        raise raised[0]
    if thread.is_alive():
        os.environ["WANDB_MODE"] = "offline"
        raise TimeoutError(f"not all was uploaded; 'wandb sync {Path(run.dir).parent}' goes on with it")


def _tags(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tag[:TAG_LENGTH] for tag in tags if tag))
