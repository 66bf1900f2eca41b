"""Where the time of an optimiser step goes: look-ups, layers with compiled kernels, Adam, and the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from baselines import model_label
from baselines.layers.attention import MLPAttention
from baselines.layers.auxiliary import MLPAuxiliaryLoss
from baselines.layers.embedding import FieldEmbedding
from baselines.layers.recurrent import RecurrentLayer
from benchmark.bench.timing import Timer, summarise
from benchmark.bench.train import Round, Step
from benchmark.bench.workloads import Workload
from datamodules.sources.amazon import ELECTRONICS_STEPS

# what is timed; none happens inside another
LAYERS: dict[str, tuple[type[nn.Module], ...]] = {
    "look_up": (FieldEmbedding,),
    "recurrence": (RecurrentLayer,),
    "mlp": (MLPAttention, MLPAuxiliaryLoss),
}
PHASES = (*LAYERS, "adam")


def measure(workload: Workload, model: str, variant: str, batch_size: int, timer: Timer) -> dict[str, Any]:
    """Return a row's milliseconds a step, and those of its phases; `rest` is what no phase has.

    look_up: rows of the tables, caught up and put in order, forward; recurrence, mlp: recurrent layers, and attention
    and auxiliary loss where they are MLPs, forward and backward; adam: the optimiser's step. The hooks that time them
    take some microseconds a step.
    """
    step, window = Step(workload.module(model, variant)), workload.window
    now = Round(workload.training(variant, batch_size, timer.repeats + 1), window)
    step.train(now.batches)
    step.advance(ELECTRONICS_STEPS // 2)
    rounds: dict[str, list[float]] = {name: [] for name in ("step", *PHASES, "rest")}
    for number in range(1, timer.repeats + 1):
        now.begin(number)
        with timed(step, timer) as spent:
            began = timer.now()
            step.train(now.batches)
            whole = timer.now() - began
        phases = {name: spent[name] for name in PHASES}
        for name, seconds in {"step": whole, **phases, "rest": whole - sum(phases.values())}.items():
            rounds[name].append(seconds)
    line: dict[str, Any] = {"workload": workload.name, "model": model_label(model), "variant": variant}
    return line | {f"{name}_ms": summarise(values, 1e3 / window) for name, values in rounds.items()}


@contextmanager
def timed(step: Step, timer: Timer) -> Iterator[dict[str, float]]:
    """Give the seconds that each phase takes from now on, which grow until the end."""
    spent: dict[str, float] = defaultdict(float)

    def clock(phase: str) -> tuple[Callable[..., None], Callable[..., None]]:
        began: list[float] = []
        return (
            lambda *_: began.append(timer.now()),
            lambda *_: spent.update({phase: spent[phase] + timer.now() - began.pop()}),
        )

    start, stop = clock("adam")
    hooks = [step.optimizer.register_step_pre_hook(start), step.optimizer.register_step_post_hook(stop)]
    for phase, layers in LAYERS.items():
        for layer in (part for part in step.module.modules() if isinstance(part, layers)):
            start, stop = clock(phase)
            hooks += [layer.register_forward_pre_hook(start), layer.register_forward_hook(stop)]
            if phase != "look_up":
                hooks.append(layer.register_forward_pre_hook(_own_inputs, prepend=True))
                hooks.append(layer.register_forward_hook(_backward(start, stop)))
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def _own_inputs(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Views of a layer's inputs, whose gradients are ready as soon as the layer's backward pass ends."""

    def view(part: Any) -> Any:
        return part.view_as(part) if isinstance(part, Tensor) and part.requires_grad else part

    return tuple(type(each)(*map(view, each)) if isinstance(each, tuple) else view(each) for each in inputs)


def _backward(start: Callable[..., None], stop: Callable[..., None]) -> Callable[..., None]:
    """A forward hook that has `start` and `stop` called around a layer's backward pass.

    Torch's own backward hooks do not see tensors inside of tuples, such as the auxiliary loss's pairs.
    """

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        parts = (part for each in inputs for part in (each if isinstance(each, tuple) else (each,)))
        assert output.grad_fn is not None
        output.grad_fn.register_prehook(start)
        register_multi_grad_hook([part for part in parts if isinstance(part, Tensor) and part.requires_grad], stop)

    return hook
