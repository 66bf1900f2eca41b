"""checkpoint.pt of a run that is under way: an interrupted run continues from it, and its numbers stay the same bits.

It is taken at evaluations, which bring every row of large tables up to date, and holds everything that later numbers
depend on: parameters and buffers, Adam, the schedule of the learning rate, the states of the random numbers of torch,
NumPy and Python, evaluations so far and rows of metrics.csv. Batches follow from (seed, step) alone. The file is
removed once the record is written.
"""

import random
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

from baselines.lightning_module import CTRModule, Evaluation
from benchmark.runs.identity import code_sha256, version
from datamodules.errors import printable
from datamodules.files.atomic import replacing

State = dict[str, Any]
SHARE = 0.01  # of the time that writing may take: where one takes long, there are fewer
FORMAT = 4
EVALUATIONS = ("last", "best_test", "best_validation")
COUNTS = ("losses", "pending", "rows", "evaluation_seconds", "best_validation_auc")


class Refused(Exception):
    """A checkpoint that a run does not continue from; the message says why, and begins with a verb."""


def identity(
    run: str, settings: State, data_sha256: str, protocol_hash: str, device: str, evaluate_every: int
) -> State:
    """What a checkpoint must agree in with the run that goes on from it, in the order of the messages."""
    return {
        "format": FORMAT,
        "run": run,
        **settings,
        "evaluate_every": evaluate_every,
        "protocol_hash": protocol_hash,
        "data_sha256": data_sha256,
        "device": device,
        **{f"{name} version": version(name) for name in ("torch", "pytorch-lightning", "numpy", "numba")},
        "code of the models": code_sha256(str(settings["model"])),
    }


def load_checkpoint(path: Path, wanted: State) -> State | None:
    """Return the checkpoint at `path`, None where there is none; raises `Refused` unless it is of the run `wanted`."""
    if not path.exists():
        return None
    with _damage_refused():
        with zipfile.ZipFile(path) as file:  # torch.load does not look at checksums
            if damaged := file.testzip():
                raise zipfile.BadZipFile(damaged)
        state: State = torch.load(path, map_location="cpu", weights_only=True)
        found = state["identity"]
        for key in wanted:
            if found.get(key) != wanted[key]:
                raise Refused(f"is of other {key}: {printable(str(found.get(key))):.100}, now {wanted[key]}")
        return state


@contextmanager
def _damage_refused() -> Iterator[None]:
    """Turn every other exception into `Refused`: torch.load raises nearly anything for a damaged file."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"is damaged ({type(error).__name__})") from error


def restore(state: State, trainer: pl.Trainer, module: CTRModule) -> None:
    """Put a checkpoint into a module that is about to train, on its device, and into its optimiser and schedule."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):  # which has written nothing yet
            logger.experiment.metrics = list(state["counts"]["rows"])
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state["tensors"][name])
    trainer.optimizers[0].load_state_dict(state["optimizer"])
    trainer.lr_scheduler_configs[0].scheduler.load_state_dict(state["schedule"])
    for name in EVALUATIONS:
        setattr(module, name, _evaluation(state["evaluations"][name]))
    for name in COUNTS:
        setattr(module, name, state["counts"][name])


def take(trainer: pl.Trainer, module: CTRModule) -> State:
    """The state after an evaluation, sharing memory with what goes on training."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return {
        "step": module.step,
        "tensors": {name: tensor.detach() for name, tensor in tensors.items()},
        "optimizer": trainer.optimizers[0].state_dict(),
        "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        "evaluations": {name: _plain(getattr(module, name)) for name in EVALUATIONS},
        "counts": {name: getattr(module, name) for name in COUNTS},
        "random": random_state(),
    }


def random_state() -> State:
    """The states of all global sources of random numbers."""
    name, keys, *numbers = np.random.get_state()  # noqa: NPY002 (models may use it)
    return {
        "torch": torch.get_rng_state(),
        "gpu": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *numbers],
        "python": random.getstate(),
    }


def set_random_state(state: State) -> None:
    """Continue with the random numbers behind a `random_state`."""
    torch.set_rng_state(state["torch"])
    if state["gpu"]:
        torch.cuda.set_rng_state_all(state["gpu"])
    name, keys, *numbers = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *numbers))  # noqa: NPY002
    random.setstate(state["python"])


def _plain(evaluation: Evaluation | None) -> State | None:
    return None if evaluation is None else evaluation._asdict() | {"scores": torch.from_numpy(evaluation.scores)}


def _evaluation(plain: State | None) -> Evaluation | None:
    return None if plain is None else Evaluation(**plain | {"scores": plain["scores"].numpy()})


class Checkpoints(pl.Callback):
    """Continues from a checkpoint, where there is one, and writes one after an evaluation every `every` seconds.

    It must be the last callback: what others do to the weights at an evaluation belongs into the checkpoint. Raises
    `Refused` for a checkpoint that the run cannot continue from: when it is made, or when the training starts.
    """

    def __init__(self, path: Path, wanted: State, say: Callable[[str], None], every: float) -> None:
        self.path, self.wanted, self.say, self.every = path, wanted, say, every
        self.resumed = load_checkpoint(path, wanted)
        self.resumed_at: int = self.resumed["step"] if self.resumed else 0
        self.earlier: tuple[float, float] = self.resumed["seconds"] if self.resumed else (0.0, 0.0)
        self.began, self.due = (0.0, 0.0), 0.0

    @property
    def seconds(self) -> tuple[float, float]:
        """Time by the wall clock and the processor's that the run has taken, in all processes that got it this far."""
        wall, processor = (
            before + now - began for before, now, began in zip(self.earlier, _clocks(), self.began, strict=True)
        )
        return wall, processor

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began = _clocks()
        self.due = self.began[0] + self.every

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue from the checkpoint."""
        if self.resumed and isinstance(pl_module, CTRModule):
            with _damage_refused():
                restore(self.resumed, trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the random state last: making loaders has drawn from it."""
        if self.resumed:
            set_random_state(self.resumed["random"])
            self.resumed = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a checkpoint if one is due; where it cannot be written, say so and train on."""
        begins = time.monotonic()
        if not isinstance(pl_module, CTRModule) or begins < self.due or trainer.is_last_batch:
            return
        try:
            state = take(trainer, pl_module) | {"identity": self.wanted, "seconds": self.seconds}
            with replacing(self.path) as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
            self.say(f"cannot write {self.path} ({str(error).partition(chr(10))[0]}); the run goes on without it")
        ends = time.monotonic()
        self.due = ends + max(self.every, (ends - begins) / SHARE if self.every else 0)


def _clocks() -> tuple[float, float]:
    """The wall clock, and the time of all threads of this process; each counts from a moment of its own."""
    return time.monotonic(), time.process_time()
