"""Making training batches: index arithmetic and auxiliary negatives, no model."""

from typing import Any

from benchmark.bench.timing import Timer, summarise
from benchmark.bench.workloads import Workload, batches_of


def measure(workload: Workload, variant: str, batch_size: int, timer: Timer) -> dict[str, Any]:
    """Return milliseconds a batch and samples a second; without matrix products there is no floor."""
    data = workload.training(variant, batch_size, timer.repeats + 1)
    numbers: list[int] = []
    samples: list[int] = []

    def make() -> None:
        samples.append(sum(len(batch.label) for batch in batches_of(data, workload.window, numbers[-1])))

    seconds = timer.interleave({"make": make}, before=numbers.append)["make"]
    rates = [count / value for count, value in zip(samples[-timer.repeats :], seconds, strict=True)]
    return {
        "workload": workload.name,
        "batch": batch_size,
        "batch_ms": summarise(seconds).scaled(1e3 / workload.window).as_dict(),
        "samples_per_second": summarise(rates).as_dict(),
        "floor_ms": None,
    }
