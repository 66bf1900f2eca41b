"""Speed on a device: recurrences beside cuDNN, steps and evaluations, and steps compiled or captured beside eager ones.

The figures are those of `dien-bench bench`, and so are the functions that measure them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from baselines.layers.recurrence import triton_takes
from benchmark.bench.gpu.line import Line, one_line
from benchmark.bench.kernels import GATES, HIDDEN, measure_gate
from benchmark.bench.timing import Timer, ratio, summarise
from benchmark.bench.train import Round, Step, measure
from benchmark.bench.workloads import electronics
from datamodules.batch import Batch
from datamodules.protocol import BATCH_SIZE

OF_GATE = ("ours_ms", "loop_ms", "loop_over_ours", "layer_ms", "nn_gru_ms", "nn_gru_over_layer")
OF_ROW = ("step_ms", "step_with_batch_ms", "samples_per_second", "floor_ms", "step_over_floor", "evaluation_seconds")
WARM_UP = 3  # steps before a step is captured
DIFFERENCE = 1e-2  # of the loss, between ways of taking the same steps


def timer_of(device: torch.device, quick: bool) -> Timer:
    """Return the timer of a device: a GPU's by its own events."""
    return Timer(2 if quick else 7, "cuda" if device.type == "cuda" else "wall")


def recurrences(device: torch.device, quick: bool) -> Iterator[Line]:
    """Yield a line a gate and length T; nn_gru, for the plain gate, is `torch.nn.GRU`, on a GPU cuDNN's."""
    for positions in (8,) if quick else (8, 20, 100):
        for gate in GATES:
            found = measure_gate(gate, positions, timer_of(device, quick), device)
            yield Line(f"{gate.name}, T = {positions}", "passed", figures={name: found[name] for name in OF_GATE})


def steps(device: torch.device, quick: bool) -> Iterator[Line]:
    """Yield a line of a step, an evaluation and the memory for BaseModel and DIEN at Electronics' size."""
    workload, timer, on_gpu = electronics(quick), timer_of(device, quick), device.type == "cuda"
    for model in ("base-model", "dien"):
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        found = measure(workload, model, "official", BATCH_SIZE, timer, device)
        figures = {name: found[name] for name in OF_ROW}
        samples = len(workload.samples.test)
        figures["evaluation_samples_per_second"] = samples / found["evaluation_seconds"]["median"]
        figures["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1) if on_gpu else None
        yield Line(f"{model}, official, B = {BATCH_SIZE}", "passed", figures=figures)


def graph_step(device: torch.device, quick: bool) -> Iterator[Line]:
    """Yield a line of a step of DIEN as one CUDA graph: a bound, for a graph is of one batch's lengths."""
    what = "dien, one batch, as a CUDA graph"
    if device.type != "cuda":
        yield Line(what, "skipped", "a CUDA graph needs a GPU")
        return
    yield beside_eager(what, device, quick, lambda step, batches: captured(step, batches[0]), 1, before=WARM_UP)


def compiled_step(device: torch.device, quick: bool) -> Iterator[Line]:
    """Yield a line of a step of DIEN by torch.compile; on the CPU its graphs alone, without a C++ compiler."""
    backend = "inductor" if device.type == "cuda" else "eager"

    def prepare(step: Step, batches: list[Batch]) -> Callable[[], object]:
        step.module.model.compile(backend=backend, dynamic=True)
        return lambda: step.train(batches)

    line = beside_eager(f"dien, torch.compile ({backend})", device, quick, prepare)
    from torch._dynamo.utils import counters  # takes a second to import

    graphs = int(counters["stats"]["unique_graphs"])  # between them Python goes on
    yield Line(line.what, line.status, line.reason, line.figures | {"graphs": graphs})


def beside_eager(
    what: str,
    device: torch.device,
    quick: bool,
    prepare: Callable[[Step, list[Batch]], Callable[[], object]],
    batches: int | None = None,
    before: int = 0,
) -> Line:
    """Time a window of steps of DIEN that `prepare` gives a way to take beside the eager one, from the same weights.

    `prepare` may have taken `before` steps on each batch. A way that torch does not take is skipped with what torch
    says; one whose loss is another one's fails.
    """
    workload, timer = electronics(quick), timer_of(device, quick)
    eager, other = (Step(workload.module("dien", "official").to(device)) for _ in range(2))
    data = Round(workload.training("official", BATCH_SIZE, 1), workload.window, device=device).batches[:batches]
    for _ in range(before + 1):
        eager.train(data)
    began = timer.now()
    try:
        run = prepare(other, data)
        run()
    except Exception as error:  # whatever a compiler or a driver may say
        return Line(what, "skipped", f"torch does not do it: {one_line(error)}")
    losses = [float(step.module.losses[-1]["loss"]) for step in (eager, other)]
    figures: dict[str, Any] = {"preparation_seconds": timer.now() - began, "loss_difference": losses[1] / losses[0] - 1}
    seconds = timer.interleave({"eager": lambda: eager.train(data), "other": run})
    figures |= {f"{name}_ms": summarise(values, 1e3 / len(data)) for name, values in seconds.items()}
    figures["eager_over_other"] = ratio(seconds["eager"], seconds["other"])
    if not abs(figures["loss_difference"]) <= DIFFERENCE:
        return Line(what, "failed", f"the loss is {losses[1]}, that of eager steps {losses[0]}", figures)
    return Line(what, "passed", figures=figures)


@contextmanager
def fixed_layout(batch: Batch) -> Iterator[list[object]]:
    """Give every recurrence the layout of `batch`, so that a step moves no number to the GPU.

    A graph that is captured inside needs the tensors that are yielded as long as it lives.
    """
    if not triton_takes(batch.lengths.device, HIDDEN):
        yield [batch]
        return
    from baselines.layers.recurrence import cuda

    sizes = [packing.batch_sizes for packing in (batch.histories.packing, batch.targets.packing)]
    rows = {id(each): cuda.first_rows_and_lengths(each, batch.lengths.device) for each in sizes}
    with patch.object(cuda, "first_rows_and_lengths", lambda batch_sizes, _: rows[id(batch_sizes)]):
        yield [batch, rows]


def captured(step: Step, batch: Batch) -> Callable[[], object]:
    """Return what replays one step on a batch, captured after `WARM_UP` ordinary ones on a stream of their own."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    with fixed_layout(batch) as tensors:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step.train([batch])
        torch.cuda.current_stream().wait_stream(stream)
        step.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            step.module.training_step(batch, 0).backward()  # type: ignore[no-untyped-call]
            step.optimizer.step()

    def replay() -> list[object]:
        graph.replay()
        return tensors

    return replay
