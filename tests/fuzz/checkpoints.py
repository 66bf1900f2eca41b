"""checkpoint.pt as what is fuzzed: its contents edited and written anew, or its pickle under right checksums."""

import copy
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch

from baselines import lightning_module
from baselines.lightning_module import CTRModule, NotFinite
from benchmark.runs import train as run
from benchmark.runs.checkpoint import NAME, conforming, load_checkpoint, restore, take
from benchmark.runs.checkpoint_form import Refused
from benchmark.runs.config import RunConfig
from datamodules.errors import printable

STEPS, EVERY = 6, 2


class Setting(NamedTuple):
    """The checkpoint that a run left at step 4 of 6, its file, and what goes on from it."""

    state: dict[str, Any]
    file: bytes
    data: Any


@cache
def interrupted() -> Setting:
    """A run, cut off; one of its tables is updated where it is read."""

    def cut_off(progress: object) -> None:
        if checkpoint.exists() and torch.load(checkpoint)["step"] == STEPS - EVERY:
            raise InterruptedError

    with TemporaryDirectory() as folder, ExitStack() as patches:
        config = RunConfig(
            "generated", "clean", "base-model", "official", 0, steps=STEPS, data_dir=folder, out=folder, device="cpu",
            checkpoint_seconds=0,
        )  # fmt: skip
        checkpoint = config.folder() / NAME
        for place, name, value in (
            (run, "EVALUATE_EVERY", EVERY), (run, "LOG_EVERY", 1), (lightning_module, "LAZY_SIZE", 3000)
        ):  # fmt: skip
            patches.enter_context(patch.object(place, name, value))
        with suppress(InterruptedError):
            run.train_run(config, cut_off)
        data = run.data_of(config)
        data.setup()
        return Setting(torch.load(checkpoint), checkpoint.read_bytes(), data)


def begun() -> tuple[CTRModule, Any]:
    """The module of that run at its beginning, and what stands for its trainer."""
    with patch.object(lightning_module, "LAZY_SIZE", 3000):
        module = CTRModule(model="base-model", variant="official", **interrupted().data.sizes, steps=STEPS, log_every=1)
        made = module.configure_optimizers()
    schedules = [SimpleNamespace(scheduler=made["lr_scheduler"]["scheduler"])]
    optimizers, data = [made["optimizer"]], interrupted().data
    return module, SimpleNamespace(loggers=[], optimizers=optimizers, lr_scheduler_configs=schedules, datamodule=data)


def train_rest(module: CTRModule, trainer: Any, step: int) -> None:
    """Do what Lightning does with the steps behind a checkpoint."""
    batches = trainer.datamodule.training_batches()
    for number in range(step, STEPS):
        trainer.optimizers[0].zero_grad()
        module.training_step(batches[number], number).backward()
        trainer.optimizers[0].step()
        trainer.lr_scheduler_configs[0].scheduler.step()
    run._evaluate_last(module, trainer.datamodule, SimpleNamespace(strategy=SimpleNamespace(root_device="cpu")))


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit."""
    match one:
        case dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case list():
            return len(one) == len(other) and all(map(same, one, other))
        case torch.Tensor():
            return torch.equal(one, other)
    return bool(one == other)


def check_checkpoint(path: Path) -> None:
    """A checkpoint is refused, or taken up as it is and trained on to the end: to an AUC, or a loss that is none."""
    wanted = interrupted().state["identity"]
    module, trainer = begun()
    try:
        found = load_checkpoint(path, wanted)
        assert found is not None
        state = conforming(found, trainer, module)
    except Refused as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert reason.startswith(("is ", "has "))
        assert len(reason) < 500
        assert printable(reason) == reason
        return
    assert state["step"] in range(EVERY, STEPS, EVERY)
    restore(copy.deepcopy(state), trainer, module)
    module.hparams["resumed_at"] = state["step"]
    for name, value in take(trainer, module).items():
        assert name.startswith("random") or same(value, state[name]), name
    torch.set_rng_state(state["random"])
    with suppress(NotFinite):
        train_rest(module, trainer, state["step"])
        assert module.last is not None
        assert 0 <= module.last.auc <= 1


ODD: list[Any] = [
    None, True, -1, 0, 1, 3, 2**70, float("nan"), float("inf"), -1e300, 0.5, 4.0, "", "\x1b[31m" * 99, b"x", [], {},
    (1,), [{}], {"step": 4}, torch.zeros(0), torch.tensor(4), torch.tensor(float("nan")), torch.zeros(3, 3),
]  # fmt: skip
BENT: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda t: t[:-1],
    lambda t: t.reshape(-1),
    lambda t: t.mT.contiguous(),
    lambda t: t.double(),
    lambda t: t.to(torch.int32),
    lambda t: t.new_zeros(1).expand(t.shape),
    lambda t: t.clone().requires_grad_(),
    lambda t: torch.nn.Parameter(t.clone()),
    lambda t: t.to_sparse(),
    lambda t: t.to("meta"),
    lambda t: torch._neg_view(t),
    lambda t: -t,
    lambda t: torch.full_like(t, float("nan")),
    lambda t: torch.full_like(t, 1e30),
    lambda t: torch.full_like(t, 7),
    lambda t: torch.full_like(t, -1),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers inside, with each of their keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def edited(state: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The state after at most 8 edits, each of four bytes: two say where, one what is done, and one with what."""
    state = copy.deepcopy(state)
    for at in range(0, min(len(data) - 3, 32), 4):
        where, how, what = int.from_bytes(data[at : at + 2]), data[at + 2], data[at + 3]
        found = list(places(state))
        if not found:
            break
        within, key = found[where % len(found)]
        other, name = found[what % len(found)]
        match how % 5, within[key]:
            case 0, _:
                del within[key]
            case 1, _:
                within[key] = copy.deepcopy(other[name])
            case 2, _ if isinstance(within, dict):
                within[ODD[what % 10]] = within[key]
            case 3, torch.Tensor() as tensor:
                with suppress(RuntimeError, IndexError, TypeError):  # not every tensor can be bent like that
                    within[key] = BENT[what % len(BENT)](tensor)
            case 3 | 4, int() | float() as number if what >= 128:
                within[key] = number + (what - 192)
            case _:
                within[key] = ODD[what % len(ODD)]
    return state


def check_checkpoint_contents(data: bytes, folder: Path) -> None:
    """Contents that were edited."""
    torch.save(edited(interrupted().state, data), folder / NAME)
    check_checkpoint(folder / NAME)


def check_checkpoint_pickle(data: bytes, folder: Path) -> None:
    """The pickle inside, under a right checksum."""
    with zipfile.ZipFile(io.BytesIO(interrupted().file)) as sound, zipfile.ZipFile(folder / NAME, "w") as file:
        for name in sound.namelist():
            file.writestr(name, data if name.endswith("/data.pkl") else sound.read(name))
    check_checkpoint(folder / NAME)


def sound_pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(interrupted().file)) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))
