"""Where the time of an optimiser step goes: look-ups, compiled kernels, Adam, and the rest, which is torch's."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from baselines import model_label
from baselines.layers import sigmoid_mlp_kernel
from baselines.layers.embedding import FieldEmbedding
from baselines.layers.recurrence import cpu
from benchmark.bench.timing import Timer, summarise
from benchmark.bench.train import Step
from benchmark.bench.workloads import STEPS, Workload, batches_of

PHASES = ("look_up", "recurrence", "mlp", "adam")  # what is watched; none happens inside another


def measure(workload: Workload, model: str, variant: str, batch_size: int, timer: Timer) -> dict[str, Any]:
    """Return a row's milliseconds a step, and those of its phases; `rest` is what no phase has.

    look_up: rows of the tables, caught up and put in order; recurrence, mlp: the kernels of both layers, forward and
    backward; adam: the optimiser. The watching itself takes some microseconds a step.
    """
    step, window = Step(workload.module(model, variant)), workload.window
    data = workload.training(variant, batch_size, timer.repeats + 1)
    step.train(batches_of(data, window, 0))
    step.advance(STEPS // 2)
    rounds: dict[str, list[float]] = {name: [] for name in ("step", *PHASES, "rest")}
    for number in range(1, timer.repeats + 1):
        batches = list(batches_of(data, window, number))
        with watched(step, timer) as spent:
            began = timer.now()
            step.train(batches)
            whole = timer.now() - began
        spent = {name: spent[name] for name in PHASES}
        for name, seconds in {"step": whole, **spent, "rest": whole - sum(spent.values())}.items():
            rounds[name].append(1e3 * seconds / window)
    line: dict[str, Any] = {"workload": workload.name, "model": model_label(model), "variant": variant}
    return line | {f"{name}_ms": summarise(values).as_dict() for name, values in rounds.items()}


@contextmanager
def watched(step: Step, timer: Timer) -> Iterator[dict[str, float]]:
    """Give the seconds that each phase takes from now on, which grow until the end."""
    spent: dict[str, float] = defaultdict(float)

    def timed(phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            began = timer.now()
            result = work(*args, **kwargs)
            spent[phase] += timer.now() - began
            return result

        return run

    optimizer = step.optimizer
    places: list[tuple[str, Any, str]] = [("adam", optimizer, "step"), ("adam", optimizer, "zero_grad")]
    for phase, kernel in (("recurrence", cpu), ("mlp", sigmoid_mlp_kernel)):
        places += [(phase, kernel, "forward"), (phase, kernel, "backward")]
    places += [("look_up", part, "forward") for part in step.module.modules() if isinstance(part, FieldEmbedding)]
    with ExitStack() as stack:
        for phase, owner, name in places:
            stack.enter_context(patch.object(owner, name, timed(phase, getattr(owner, name))))
        yield spent
