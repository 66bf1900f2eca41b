"""Where curves go besides metrics.csv: Weights & Biases, or TensorBoard; one run of theirs a seed.

W&B is offline where no key is configured, and never asks for one; `wandb sync` uploads later. A run that is resumed
by another process goes on in the same W&B run: its id lies in the run folder.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from benchmark.tracking.trackers import AXIS, SERIES, TrackedRun, Tracker, has_wandb_key

TAG_LENGTH = 64  # characters that W&B takes
ID_FILE = "wandb-id.txt"


def open_loggers(run: TrackedRun, resumed_at: int = 0) -> list[Logger]:
    """Return the loggers of a run, metrics.csv first; `resumed_at` is the step that it goes on from, 0 for a new run.

    Steps after `resumed_at` that an earlier process logged are logged again, with the same values.
    """
    loggers: list[Logger] = [CSVLogger(str(run.folder), name="", version="")]
    if run.tracker == "wandb":
        loggers.append(_wandb_logger(run))
    if run.tracker == "tensorboard":
        loggers.append(_tensorboard_logger(run, resumed_at))
    return loggers


def close_loggers(loggers: Sequence[Logger], record: dict[str, Any], folder: Path) -> None:
    """Give a finished run's outcome to its loggers, and close them; `folder` holds what the run has written."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            run.summary.update(outcome(record))
            run.log_artifact(_record_artifact(run.id, record, folder))
            run.finish()
        if isinstance(logger, TensorBoardLogger):
            _log_tensorboard_outcome(logger, record)


def _log_tensorboard_outcome(logger: TensorBoardLogger, record: dict[str, Any]) -> None:
    """Write the outcome to a file of its own: names of files end in a second, and curves may be of the same."""
    place = Path(logger.log_dir)
    last = TensorBoardLogger(
        str(place.parent), name="", version=place.name, default_hp_metric=False, filename_suffix=".outcome"
    )
    shown = {f"outcome/{name}": value for name, value in outcome(record).items() if value is not None}
    last.log_hyperparams(_identity(record) | record["settings"], shown)
    last.experiment.add_text("record", f"```\n{json.dumps(record, indent=1)}\n```")
    last.finalize("success")
    last.experiment.close()


def outcome(record: dict[str, Any]) -> dict[str, float | None]:
    """The figures of a record that runs are compared by; an AUC is in [0, 1], None for a selection without one."""
    return {
        "auc": record["auc"][record["selection"]],
        **{f"auc_{selection}": auc for selection, auc in record["auc"].items()},
        **{
            name: record[name] for name in ("logloss", "best_step", "parameters", "samples_per_second", "train_seconds")
        },
    }


def run_id(path: Path, settings: dict[str, Any]) -> str:
    """The id in the file `path`, where it was made for the same settings; else a new one, which is written there.

    Eight characters, drawn and not derived: the same run in another folder is another W&B run.
    """
    settings_hash = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    found = path.read_text("utf-8").split() if path.exists() else []
    if len(found) == 2 and found[1] == settings_hash:
        return found[0]
    new = secrets.token_hex(4)
    path.write_text(f"{new} {settings_hash}\n", "utf-8")
    return new


class Table(Protocol):
    """A finished table, as `benchmark.report.render` makes it."""

    @property
    def csv_rows(self) -> tuple[tuple[str, ...], ...]: ...
    def markdown(self) -> str: ...
    def csv(self) -> str: ...
    def values(self) -> list[list[float | str | None]]: ...


def log_table(made: Table, name: str, *, tracker: Tracker, out: Path, tags: Sequence[str]) -> None:
    """Log a table of many runs, as a run of its own of job type "table"; once for the same content and folder."""
    if tracker == "wandb":
        _log_wandb_table(made, name, out, tags)
    if tracker == "tensorboard":
        logger = TensorBoardLogger(str(out / "tensorboard"), name="tables", version="/".join([name, *tags]))
        logger.experiment.add_text(name, made.markdown())
        logger.experiment.close()


def _log_wandb_table(made: Table, name: str, out: Path, tags: Sequence[str]) -> None:
    import wandb

    identity = f"{name}-{hashlib.sha256(made.csv().encode()).hexdigest()[:8]}"
    if any((out / "wandb").glob(f"*run-*-{identity}")):
        return
    run = wandb.init(
        **_wandb_settings(out), dir=str(out), id=identity, name="/".join([name, *tags]), group="tables",
        job_type="table", tags=[tag[:TAG_LENGTH] for tag in tags],
    )  # fmt: skip
    run.log({name: wandb.Table(columns=list(made.csv_rows[0]), data=list[Any](made.values()))})
    artifact = wandb.Artifact(f"{name}-{'-'.join(tags)}", type="table")
    for suffix, text in (("md", made.markdown()), ("csv", made.csv())):
        with artifact.new_file(f"{name}.{suffix}", encoding="utf-8") as file:
            file.write(text)
    run.log_artifact(artifact)
    run.finish()


def _wandb_logger(run: TrackedRun) -> WandbLogger:
    """One W&B run a seed, grouped by row."""
    import wandb

    if wandb.run is not None:  # of a run that failed in this process: Lightning would go on in it
        wandb.finish(exit_code=1)
    logger = WandbLogger(
        **_wandb_settings(run.out),
        save_dir=str(run.out),
        id=run_id(run.folder / ID_FILE, run.config["settings"]),
        name=run.name,
        group=run.group,
        job_type="train",
        tags=[tag[:TAG_LENGTH] for tag in run.tags],
        config=run.config,
    )
    for name, summary in SERIES.items():
        logger.experiment.define_metric(name, step_metric=AXIS, summary=summary)
    return logger


def _wandb_settings(out: Path) -> dict[str, Any]:
    """What all W&B runs share. Without a key and a WANDB_MODE they are offline, so that nothing asks for one."""
    os.environ.setdefault("WANDB_SILENT", "true")
    out.mkdir(parents=True, exist_ok=True)  # W&B would write to another place
    return {
        "project": os.environ.get("WANDB_PROJECT", "dien-bench"),
        "mode": os.environ.get("WANDB_MODE") or (None if has_wandb_key() else "offline"),
        "resume": "allow",
        "reinit": "finish_previous",
    }


def _record_artifact(run: str, record: dict[str, Any], folder: Path) -> Any:
    """The record and its curves; predictions stay out, since they tell of a data set's users."""
    import wandb

    artifact = wandb.Artifact(f"record-{run}", type="record", metadata=_identity(record) | outcome(record))
    for name in ("record.json", "config.json", "metrics.csv"):
        artifact.add_file(str(folder / name))
    return artifact


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("dataset", "protocol", "model", "variant", "seed", "commit", "device")}


def _tensorboard_logger(run: TrackedRun, resumed_at: int) -> TensorBoardLogger:
    """Event files in OUT/tensorboard, laid out as the runs are."""
    place = run.out / "tensorboard" / run.name
    if not resumed_at:
        for leftover in place.glob("events.out.tfevents.*"):
            leftover.unlink()
    return TensorBoardLogger(
        str(place.parent),
        name="",
        version=place.name,
        default_hp_metric=False,
        purge_step=resumed_at + 1 if resumed_at else None,  # readers drop earlier points from there on
    )
