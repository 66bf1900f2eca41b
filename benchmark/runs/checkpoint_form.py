"""The form of checkpoint.pt: what stands where in the one that a run writes at a step, down to shapes and ranges.

A checkpoint is gone on from only where it has this form, and what is gone on from is a copy in this form. Numbers that
could be right are taken as they are: whoever can write the file can change a weight.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.lazy_adam_kernel import NEVER
from datamodules.errors import printable

State = dict[str, Any]


class Refused(Exception):
    """A checkpoint that a run does not go on from; the message says why, and begins with a verb."""


class Within(NamedTuple):
    """Stands in a form for a finite float of this range."""

    low: float = -math.inf
    high: float = math.inf


class Run(NamedTuple):
    """What the form depends on besides the state at the beginning."""

    log_every: int  # steps
    evaluate_every: int  # steps
    tests: int  # samples
    validates: bool
    parameters: dict[str, Tensor]  # as they are at the beginning, in the optimiser's order
    rate: float  # of the step of the checkpoint


def filled(form: Any, found: Any, where: str = "contents") -> Any:
    """Return `form` with the numbers of `found`: in the place of each `Within`, range and tensor, which is copied.

    Raises `Refused` where `found` has another structure, type, shape or constant, or a number out of its range.

    >>> filled({"auc": Within(0, 1), "step": range(100, 301, 100)}, {"auc": 0.75, "step": 200})
    {'auc': 0.75, 'step': 200}
    >>> filled([Within(0, 1)], [1.5], "auc")
    Traceback (most recent call last):
    benchmark.runs.checkpoint_form.Refused: has 1.5 for auc[0], expected a float within 0 and 1
    """
    match form:
        case Tensor():
            return _copied(form, found, where)
        case dict():
            _expect(isinstance(found, dict) and found.keys() == form.keys(), form, found, where)
            return {key: filled(form[key], found[key], f"{where}.{key}") for key in form}
        case list():
            _expect(isinstance(found, list) and len(found) == len(form), form, found, where)
            return [filled(form[at], found[at], f"{where}[{at}]") for at in range(len(form))]
        case Within():
            right = type(found) is float and math.isfinite(found) and form.low <= found <= form.high
        case range():
            right = type(found) is int and found in form
        case _:
            right = type(found) is type(form) and found == form
    _expect(right, form, found, where)
    return found


def _copied(form: Tensor, found: Any, where: str) -> Tensor:
    same = type(found) is Tensor and (found.dtype, found.shape) == (form.dtype, form.shape)
    _expect(same, form, found, where)
    copy = torch.empty_like(form, device="cpu").copy_(found.detach())
    if form.isfinite().all() and not copy.isfinite().all():  # a mask may well be infinite from the beginning
        raise Refused(f"has a number in {where} that is not finite")
    return copy


def _expect(right: bool, form: Any, found: Any, where: str) -> None:
    if not right:
        raise Refused(f"has {_shown(found)} for {printable(where):.100}, expected {_shown(form)}")


def _shown(value: Any) -> str:
    match value:
        case Tensor():
            return f"a tensor of {value.dtype} {tuple(value.shape)}"
        case dict():
            return f"a dict of {printable(', '.join(map(str, value))):.100}"
        case list():
            return f"a list of {len(value)}"
        case Within():
            return f"a float within {value.low:g} and {value.high:g}"
        case range():
            return f"one of {', '.join(map(str, value[:3]))}{' ...' if len(value) > 3 else ''}"
    return printable(f"{value!r:.100}")


def in_form(found: State, fresh: State, run: Run) -> State:
    """Return the state `found` as a copy in the form of its step; `fresh` is the state of the run at its beginning.

    Raises `Refused` where it is not of that form. Its "step" must be a step at which the run evaluates.
    """
    state: State = filled(_form(found, fresh, run), found)
    step = state["step"]
    for at, (name, parameter) in enumerate(run.parameters.items()):
        adam = state["optimizer"]["adam"]["state"].get(at)
        if adam is None:
            if parameter.requires_grad and not torch.equal(state["tensors"][name], parameter.detach().cpu()):
                raise Refused(f"has a changed {name}, but nothing of what Adam did to it")
            continue
        _require(float(adam["step"]) in range(step + 1), f"Adam's steps of {name}", adam["step"])
        squares = adam["exp_avg_sq"]
        _require(bool((squares >= 0).all()), f"Adam's squares of {name}", squares[squares < 0][:1])
    for at, history in enumerate(state["optimizer"]["histories"]):
        current = history["current"]
        current = current[current != NEVER]
        outside = current[(current < 0) | (current > history["steps"])]
        _require(not len(outside), f"the steps to which rows of table {at} are current", outside[:1])
    for name, evaluation in state["evaluations"].items():
        if evaluation is not None:
            outside = evaluation["scores"][(evaluation["scores"] < 0) | (evaluation["scores"] > 1)]
            _require(not len(outside), f"scores of {name}", outside[:1])
    torch.Generator().set_state(state["random"])  # raises where it is none
    return state


def _require(right: bool, what: str, found: Tensor) -> None:
    if not right:
        raise Refused(f"has {found.item()} among {what}, which is out of range")


def _form(found: State, fresh: State, run: Run) -> State:
    """The form of a state at the step of `found`, which also says what a form leaves open: how far each table is."""
    step = found["step"]
    optimizer = found["optimizer"]
    parameters = list(run.parameters.values())
    losses = [name for name in found["counts"]["rows"][0] if name == "loss" or name.endswith("_loss")]  # a model's own
    begun = [at for at in range(len(parameters)) if at in optimizer["adam"]["state"]]  # those with gradients so far
    histories = zip(fresh["optimizer"]["histories"], optimizer["histories"], strict=True)
    return fresh | {
        "identity": found["identity"],
        "step": step,
        "seconds": Within(0),
        "optimizer": {
            "adam": {
                "state": {at: _adam_form(parameters[at]) for at in begun},
                "param_groups": [group | {"lr": run.rate} for group in fresh["optimizer"]["adam"]["param_groups"]],
            },
            "histories": [_history_form(each, kept, step) for each, kept in histories],
        },
        "schedule": fresh["schedule"] | {"last_epoch": step, "_step_count": step + 1, "_last_lr": [run.rate]},
        "evaluations": {
            "last": _evaluation_form(range(step, step + 1), run),
            "best_test": _evaluation_form(range(run.evaluate_every, step + 1, run.evaluate_every), run),
            "best_validation": _evaluation_form(range(run.evaluate_every, step + 1, run.evaluate_every), run)
            if run.validates
            else None,
        },
        "counts": {
            "losses": [dict.fromkeys(losses, torch.zeros(()))] * (step % run.log_every),
            "pending": {},
            "rows": _row_forms(step, losses, run),
            "evaluation_seconds": Within(0, found["seconds"]),
            "best_validation_auc": Within(0, 1) if run.validates else None,
        },
    }


def _adam_form(parameter: Tensor) -> State:
    return {"step": torch.zeros(()), "exp_avg": parameter.detach(), "exp_avg_sq": parameter.detach()}


def _history_form(fresh: State, found: State, step: int) -> State:
    """The form of what `LazyAdam` knows of a table."""
    steps = filled(range(step + 1), found["steps"], "steps of a table")
    longer = {name: torch.zeros(steps + 1, dtype=fresh[name].dtype) for name in ("rate", "root")}
    moments = torch.zeros((steps, *fresh["moments"].shape[1:]), dtype=fresh["moments"].dtype)
    settled = bool(found["settled"])
    return fresh | longer | {"first": range(step - steps + 1), "steps": steps, "settled": settled, "moments": moments}


def _evaluation_form(steps: range, run: Run) -> State:
    scores = torch.zeros(run.tests, dtype=torch.float64)
    return {"step": steps, "auc": Within(0, 1), "logloss": Within(0), "scores": scores}


def _row_forms(step: int, losses: list[str], run: Run) -> list[State]:
    """One for each row of metrics.csv: a log, an evaluation, or both."""
    test = {"test_auc": Within(0, 1), "test_logloss": Within(0)}
    held_out = test | ({"validation_auc": Within(0, 1), "validation_logloss": Within(0)} if run.validates else {})
    return [
        (dict.fromkeys([*losses, "learning_rate"], Within()) if at % run.log_every == 0 else {})
        | (held_out if at % run.evaluate_every == 0 else {})
        | {"step": at}
        for at in range(1, step + 1)
        if at % run.log_every == 0 or at % run.evaluate_every == 0
    ]
