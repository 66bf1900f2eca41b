"""One run: a model trained on a data set under a protocol for one seed, and the record that it leaves."""

import json
import logging
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from baselines.lightning_module import CTRModule, NotFinite
from benchmark.records.record import write_record
from benchmark.runs import checkpoint
from benchmark.runs.config import CHECKPOINT, LOG_EVERY, Progress, RunConfig, data_of, evaluation_interval, lock_of
from benchmark.runs.ddp import other_ranks
from benchmark.runs.device import describe, uses_gpu
from benchmark.runs.ended import finished_record, keep_bad_batch
from benchmark.runs.identity import code_sha256
from benchmark.runs.memory import PeakMemory
from benchmark.runs.result import record_of, write_predictions
from benchmark.runs.trained import WEIGHTS, save_weights
from benchmark.tracking.loggers import close_loggers, failure_told, open_loggers
from datamodules.datamodule import InteractionsDataModule
from datamodules.errors import UserError
from datamodules.files.lock import take

warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # a batch is made in microseconds
warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")  # leftovers are removed before
warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what is logged is the same in every process
warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch
warnings.filterwarnings("ignore", message="GPU available but not used.*")  # --device cpu is a choice


def train_run(
    config: RunConfig,
    on_progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train one run, write its folder, and return its record, written last; a run that has a record is left as it is.

    A run that was interrupted goes on from its last checkpoint, to the same numbers; `say` is given lines that a user
    wants to see. Two calls with equal arguments give equal numbers, to the bit, on one machine and device with one
    number of threads. Raises `Busy` where another process trains it, and `NotFinite` where the loss is no number.
    """
    config.check()
    config.folder().mkdir(parents=True, exist_ok=True)
    lock = take(lock_of(config))
    try:
        with failure_told():
            return finished_record(config) or _train(config, on_progress, say)
    finally:
        lock.release()


def _train(
    config: RunConfig, on_progress: Callable[[Progress], None] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train from the checkpoint on, or from the beginning where there is none to go on from."""
    try:
        return _train_on(config, on_progress, say)
    except checkpoint.Refused as refused:
        path = config.folder() / CHECKPOINT
        path.unlink(missing_ok=True)
        say(f"{path} {refused}; it is removed, and the run starts from the beginning")
    return _train_on(config, on_progress, say)


def _train_on(
    config: RunConfig, on_progress: Callable[[Progress], None] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    folder, memory = config.folder(), PeakMemory()
    data, settings = prepared(config)
    code = code_sha256(config.model)  # before it is trained: a file can be edited meanwhile
    remove_leftovers(folder)
    checkpoints = _checkpoints(config, data, settings, say)
    keep = KeepWeights(folder / WEIGHTS, data.protocol.selection, say)
    reports = [ReportProgress(on_progress, settings["steps"])] if on_progress else []
    loggers = open_loggers(config.tracked(settings, data.ready.sha256), checkpoints.resumed_at, say)
    try:
        with other_ranks(config, checkpoints.resumed_at):
            module, trainer = trainer_of(
                config, data, settings, [*reports, memory, keep, checkpoints], loggers, checkpoints.resumed_at
            )  # checkpoints last
            trainer.fit(module, datamodule=data)
        if module.last is None or module.last.step != settings["steps"]:
            evaluate_last(module, data, trainer)
            keep.keep(module)
    except NotFinite as error:
        kept = keep_bad_batch(data, error, folder)
        raise NotFinite(f"{error}; its batch and the one before are in {kept}", error.step) from None
    for logger in trainer.loggers:
        logger.finalize("success")
    (folder / "config.json").write_text(json.dumps(asdict(config) | {"settings": settings}, indent=1) + "\n", "utf-8")
    record = record_of(config, data, module, settings, checkpoints.seconds, code, memory.megabytes)
    write_predictions(folder / "predictions.parquet", data, module, record["selection"])
    write_record(folder / "record.json", record)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    close_loggers(trainer.loggers, record, folder)
    return record


def follow(config: RunConfig, ready: Callable[[int], None]) -> None:
    """Train a run as one of the processes of `benchmark.runs.ddp` that are not rank 0, and leave nothing.

    `ready` is told the step to go on from before the others are waited for.
    """
    data, settings = prepared(config, first=False)
    checkpoints = _checkpoints(replace(config, checkpoint_seconds=math.inf), data, settings, print)
    module, trainer = trainer_of(config, data, settings, [checkpoints], [], checkpoints.resumed_at)
    ready(checkpoints.resumed_at)
    trainer.fit(module, datamodule=data)


def prepared(config: RunConfig, first: bool = True) -> tuple[InteractionsDataModule, dict[str, Any]]:
    """The data of a run and its settings, steps included; torch is set up for it, `first` for the one that logs."""
    rank_zero_only.rank = int(not first)  # type: ignore[attr-defined]  # else the environment's, as RANK or SLURM_PROCID
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("highest")  # no TF32, even where an environment turns it on
    data = data_of(config)
    data.prepare_data()
    data.setup()
    smallest = len(data.ready.train) % config.batch_size or config.batch_size
    if smallest < config.devices:
        raise UserError(f"the smallest batch has {smallest} samples, too few for {config.devices} processes")
    return data, config.settings() | {"steps": data.steps, "steps_by_default": config.steps is None}


def _checkpoints(
    config: RunConfig, data: InteractionsDataModule, settings: dict[str, Any], say: Callable[[str], None]
) -> checkpoint.Checkpoints:
    wanted = checkpoint.identity(
        config.name,
        settings,
        data.ready.sha256,
        data.protocol.hash,
        describe(config.device, config.devices),
        evaluation_interval(data),
    )
    return checkpoint.Checkpoints(config.folder() / CHECKPOINT, wanted, say, config.checkpoint_seconds)


def trainer_of(
    config: RunConfig,
    data: InteractionsDataModule,
    settings: dict[str, Any],
    callbacks: list[pl.Callback],
    loggers: list[Logger],
    resumed_at: int = 0,
) -> tuple[CTRModule, pl.Trainer]:
    """The module of a run, and what trains it from a step on; checkpoints are the last callback."""
    steps = settings["steps"]
    data.first_step = resumed_at
    module = CTRModule(
        model=config.model,
        variant=config.variant,
        schema=data.schema.as_dict(),
        steps=steps,
        learning_rate=settings["learning_rate"],
        adam_epsilon=settings["adam_epsilon"],
        log_every=LOG_EVERY,
        resumed_at=resumed_at,
    )
    module.evaluated_later = True  # `evaluate_last`
    gpu = uses_gpu(config.device)
    ddp = DDPStrategy(process_group_backend="nccl" if gpu else "gloo", forward_sync_buffers=False)
    trainer = pl.Trainer(
        accelerator="cuda" if gpu else "cpu",
        devices=config.devices,
        strategy=ddp if config.devices > 1 else "auto",
        plugins=[LightningEnvironment()],  # a run takes no place in a cluster from its environment (SLURM_NTASKS=2)
        use_distributed_sampler=False,  # every process makes whole batches, and takes its share of each
        max_epochs=1,
        val_check_interval=min(evaluation_interval(data), steps - resumed_at),
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # the module logs by itself
        logger=loggers,
        callbacks=callbacks,
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    return module, trainer


def remove_leftovers(folder: Path) -> None:
    """Remove what a run that did not finish has left, but its checkpoint."""
    for name in ("metrics.csv", "predictions.parquet", "error.txt", "nan-batch.pt"):
        (folder / name).unlink(missing_ok=True)
    for part in folder.glob(".*.tmp"):
        part.unlink(missing_ok=True)


def evaluate_last(module: CTRModule, data: InteractionsDataModule, trainer: pl.Trainer) -> None:
    """Evaluate after the last step too, where the interval does not divide the budget."""
    device = trainer.strategy.root_device  # which Lightning has taken the weights from
    module.to(device).eval()
    with torch.inference_mode():
        module.on_validation_epoch_start()
        for loader, batches in enumerate(data.val_dataloader()):
            for number, batch in enumerate(batches):
                module.validation_step(module.transfer_batch_to_device(batch, device, loader), number, loader)
        module.on_validation_epoch_end()


class ReportProgress(pl.Callback):
    """Calls back every `LOG_EVERY` steps."""

    def __init__(self, on_progress: Callable[[Progress], None], steps: int) -> None:
        self.on_progress, self.steps = on_progress, steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step, its loss and the newest test AUC."""
        assert isinstance(pl_module, CTRModule)
        step = pl_module.step
        if step % LOG_EVERY and step != self.steps:
            return
        auc = None if pl_module.last is None else pl_module.last.auc
        self.on_progress(Progress(step, self.steps, float(outputs["loss"]), auc))


class KeepWeights(pl.Callback):
    """Writes the weights after each evaluation that is the best so far in the eyes of a selection."""

    def __init__(self, path: Path, selection: str, say: Callable[[str], None] = print) -> None:
        self.path, self.selection, self.say = path, selection, say

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights of an evaluation that has just become the reported one."""
        if isinstance(pl_module, CTRModule):
            self.keep(pl_module)

    def keep(self, module: CTRModule) -> None:
        """Write the weights if the module's last evaluation is the one to report; none, said, where that fails."""
        if module.last is not module.selected(self.selection):
            return
        try:
            save_weights(module.model, self.path)
        except UserError as error:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)  # those of an earlier evaluation are not the reported ones
            reason = getattr(error.__cause__, "strerror", None) or error.__cause__
            self.say(f"cannot write {self.path} ({reason}); the run goes on without it")
