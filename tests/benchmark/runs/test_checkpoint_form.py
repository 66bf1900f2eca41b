"""A checkpoint whose contents are not what its run writes is refused, and the message says what is there."""

import copy
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.runs.checkpoint import conforming, load_checkpoint
from benchmark.runs.checkpoint_form import Refused
from tests.fuzz.checkpoints import begun, interrupted, same

NAN = float("nan")
USERS = "model.embedding.user.weight"  # table 0, of 301 rows of 18
ADAM = ("optimizer", "adam", "state")
TABLE = ("optimizer", "histories", 0)

Change = Callable[[Any], Any]


def altered(path: tuple[Any, ...], change: Change | None) -> dict[str, Any]:
    """The sound state of step 4 of 6 with the value at `path` changed, or without it."""
    state = copy.deepcopy(interrupted().state)
    within = reduce(lambda value, key: value[key], path[:-1], state)
    if change is None:
        del within[path[-1]]
    else:
        within[path[-1]] = change(within[path[-1]])
    return state


def to(value: Any) -> Change:
    return lambda _: value


def with_one(value: float, at: int = -1) -> Change:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[at] = value
        return changed

    return change


def conformed(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The state that a run goes on from which finds `state` in its checkpoint."""
    torch.save(state, folder / "checkpoint.pt")
    module, trainer = begun()
    found = load_checkpoint(folder / "checkpoint.pt", interrupted().state["identity"])
    assert found is not None
    return conforming(found, trainer, module)


def test_a_sound_one_is_taken_as_it_is(tmp_path: Path) -> None:
    assert same(conformed(interrupted().state, tmp_path), interrupted().state)


def test_tensors_that_share_memory_are_parted(tmp_path: Path) -> None:
    state = altered((*ADAM, 5, "exp_avg"), torch.zeros_like)
    state["optimizer"]["adam"]["state"][5]["exp_avg_sq"] = state["optimizer"]["adam"]["state"][5]["exp_avg"]
    adam = conformed(state, tmp_path)["optimizer"]["adam"]["state"][5]
    assert adam["exp_avg"].data_ptr() != adam["exp_avg_sq"].data_ptr()


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (("step",), to(-2), "has -2 for step, expected one of 2, 4"),
        (("step",), to(8), "has 8 for step, expected one of 2, 4"),  # of 6
        (("step",), to(3), "has 3 for step"),  # no evaluation
        (("step",), to(True), "has True for step"),
        (("step",), to(NAN), "has nan for step"),
        (("step",), to("\x1b[31m" * 99), r"has '\x1b[31m\x1b"),
        (("step",), to(2), "has 4 for steps of a table, expected one of 0, 1, 2"),
        (("step",), None, "is damaged (KeyError)"),
        (("seconds",), to(-1.0), "has -1.0 for seconds, expected a float within 0 and inf"),
        (("seconds",), to(0.0), "for contents.counts.evaluation_seconds, expected a float within 0 and 0"),
        (("identity",), to([]), "is damaged (AttributeError)"),
        (("identity", "run"), to("\x1b[31m"), r"is of other run: \x1b[31m, now generated/clean"),
        (("tensors", USERS), lambda t: t[:-1], "has a tensor of torch.float32 (300, 18) for contents.tensors"),
        (("tensors", USERS), lambda t: t.double(), "expected a tensor of torch.float32 (301, 18)"),
        (("tensors", USERS), lambda t: t.to_sparse(), "is damaged (RuntimeError)"),
        (("tensors", USERS), lambda t: t.to("meta"), "is damaged (NotImplementedError)"),
        (("tensors", USERS), with_one(NAN), f"has a number in contents.tensors.{USERS} that is not finite"),
        (("tensors", USERS), None, "for contents.tensors, expected a dict of"),
        (("tensors",), to(None), "has None for contents.tensors"),
        ((*ADAM, 5), None, "has a changed model.top.layers.1.weight, but nothing of what Adam did to it"),
        ((*ADAM, 5, "exp_avg_sq"), with_one(-1), "has -1.0 among Adam's squares of model.top.layers.1.weight"),
        ((*ADAM, 5, "step"), to(torch.tensor(5.0)), "has 5.0 among Adam's steps"),
        (("optimizer", "adam", "param_groups", 0, "lr"), to(1e9), "param_groups[0].lr, expected 0.00025"),
        (("optimizer", "histories"), lambda all: all[:1], "is damaged (ValueError)"),
        ((*TABLE, "current"), with_one(5), "has 5 among the steps to which rows of table 0 are current"),
        ((*TABLE, "steps"), to(2**40), "has 1099511627776 for steps of a table, expected one of 0, 1, 2 ..."),
        ((*TABLE, "steps"), to(3), "has a tensor of torch.float32 (4, 5)"),
        (("schedule", "last_epoch"), to(0), "has 0 for contents.schedule.last_epoch, expected 4"),
        (("evaluations", "last"), to(None), "has None for contents.evaluations.last"),
        (("evaluations", "last", "step"), to(2), "has 2 for contents.evaluations.last.step, expected one of 4"),
        (("evaluations", "best_test", "auc"), to(1.5), "best_test.auc, expected a float within 0 and 1"),
        (("evaluations", "best_test", "scores"), with_one(2), "has 2.0 among scores of best_test"),
        (("evaluations", "best_test", "scores"), lambda t: t[1:], "contents.evaluations.best_test.scores"),
        (("evaluations", "best_validation"), to(None), "has None for contents.evaluations.best_validation"),
        (("counts", "losses"), to([{}]), "has a list of 1 for contents.counts.losses, expected a list of 0"),
        (("counts", "rows"), lambda rows: rows[:-1], "has a list of 3 for contents.counts.rows, expected a list of 4"),
        (("counts", "rows", 0, "loss"), to("=1+1"), "has '=1+1' for contents.counts.rows[0].loss, expected a float"),
        (("counts", "rows", 0, "step"), to(2), "has 2 for contents.counts.rows[0].step, expected 1"),
        (("random",), lambda t: t[:-1], "for contents.random"),
        (("random",), lambda t: torch.full_like(t, 255), "is damaged (RuntimeError)"),
    ],
)
def test_what_a_run_does_not_write_is_refused(
    tmp_path: Path, path: tuple[Any, ...], change: Change | None, message: str
) -> None:
    with pytest.raises(Refused) as refused:
        conformed(altered(path, change), tmp_path)
    assert message in str(refused.value)
