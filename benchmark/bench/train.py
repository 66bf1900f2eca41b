"""One optimiser step of every row, making its batches, and what evaluating as often as the released code does costs."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from baselines import model_label
from baselines.lightning_module import CTRModule
from benchmark.bench.floor import CPU, operations, products_of, runner
from benchmark.bench.timing import Timer, ratio, summarise
from benchmark.bench.workloads import Workload, batches_of
from benchmark.runs.config import EVALUATE_EVERY
from datamodules.batch import Batch
from datamodules.batches import TrainingBatches
from datamodules.sources.amazon import ELECTRONICS_STEPS


class Step:
    """Steps of one row as a run takes them: loss, gradients, fused Adam, the learning rate's schedule."""

    def __init__(self, module: CTRModule) -> None:
        self.module = module
        configured = module.configure_optimizers()
        self.optimizer, self.schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]

    def train(self, batches: Iterable[Batch]) -> None:
        """Take one step a batch."""
        self.module.train()
        for number, batch in enumerate(batches):
            self.optimizer.zero_grad()
            self.module.training_step(batch, number).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.schedule.step()

    def advance(self, steps: int) -> None:
        """Make the optimiser, which has taken a step, take its next as the one after `steps`, all rows having moved.

        In a run's first some hundred steps catching rows up is dear, and rows that were never read cost nothing.
        """
        state = self.optimizer.state_dict()
        for of_parameter in state["state"].values():
            of_parameter["step"].fill_(steps)
            of_parameter["exp_avg"].fill_(1e-4)
            of_parameter["exp_avg_sq"].fill_(1e-6)
        self.optimizer.load_state_dict(state)

    def evaluate(self, batches: Iterable[Batch]) -> None:
        """Score all samples and compute AUC and log loss."""
        self.module.eval()
        with torch.inference_mode():
            self.module.on_validation_epoch_start()
            for number, batch in enumerate(batches):
                self.module.validation_step(batch, number)
            self.module.on_validation_epoch_end()


class Round:
    """The batches of one measurement and, given a module to count on, their floor; `begin` changes to another's.

    Batches and floor lie on a device; the module to count on lies on the CPU.
    """

    def __init__(
        self, data: TrainingBatches, window: int, counted: CTRModule | None = None, device: torch.device = CPU
    ) -> None:
        self.data, self.window, self.counted, self.device = data, window, counted, device
        self.operations: list[int] = []  # of every measurement begun
        self.samples: list[int] = []
        self.begin(0)

    def begin(self, number: int) -> None:
        """Make the batches of measurement `number`."""
        self.number = number
        made = list(batches_of(self.data, self.window, number))
        self.batches = [batch.to(self.device, non_blocking=True) for batch in made]
        self.samples.append(sum(len(batch) for batch in made))
        if self.counted is not None:
            products = [product for batch in made for product in products_of(self.counted, batch)]
            self.operations.append(operations(products))
            self.run_products = runner(products, self.device)

    def fresh(self) -> Iterator[Batch]:
        """Make the batches once more, one after the other."""
        return (batch.to(self.device, non_blocking=True) for batch in batches_of(self.data, self.window, self.number))


def measure(
    workload: Workload, model: str, variant: str, batch_size: int, timer: Timer, device: torch.device = CPU
) -> dict[str, Any]:
    """Return a row's milliseconds a step, with batches made beforehand and on the way, and its evaluation's seconds.

    Steps are those of the middle of a run.
    A measurement is a window of batches (short and long ones), divided by their number. The evaluation's
    batches are made once, as in a run; its share of the time is that of an evaluation as often as in a run.
    """
    window, test = workload.window, workload.evaluation(batch_size)
    step = Step(workload.module(model, variant).to(device))
    data = workload.training(variant, batch_size, timer.repeats + 1)
    now = Round(data, window, workload.module(model, variant), device)
    step.train(now.batches)
    step.advance(ELECTRONICS_STEPS // 2)
    sides: dict[str, Callable[[], object]] = {
        "step": lambda: step.train(now.batches),
        "step_with_batch": lambda: step.train(now.fresh()),
        "evaluation": lambda: step.evaluate(test[number].to(device, non_blocking=True) for number in range(len(test))),
        "floor": lambda: now.run_products(),
    }
    seconds = timer.interleave(sides, now.begin)
    counted, samples = now.operations[-timer.repeats :], now.samples[-timer.repeats :]
    trained = [EVALUATE_EVERY / window * value for value in seconds["step_with_batch"]]
    whole = [a + b for a, b in zip(seconds["evaluation"], trained, strict=True)]
    return {
        "workload": workload.name,
        "model": model_label(model),
        "variant": variant,
        "batch": batch_size,
        "step_ms": summarise(seconds["step"], 1e3 / window),
        "step_with_batch_ms": summarise(seconds["step_with_batch"], 1e3 / window),
        "samples_per_second": ratio(samples, seconds["step_with_batch"]),
        "evaluation_seconds": summarise(seconds["evaluation"]),
        "evaluation_share": ratio(seconds["evaluation"], whole),
        "operations_a_step": round(sum(counted) / len(counted) / window),
        "matrix_gflops": round(ratio(counted, seconds["floor"])["median"] / 1e9, 2),
        "floor_ms": summarise(seconds["floor"], 1e3 / window),
        "step_over_floor": ratio(seconds["step"], seconds["floor"]),
    }


def measure_batches(workload: Workload, variant: str, batch_size: int, timer: Timer) -> dict[str, Any]:
    """Return milliseconds to make a batch, and samples a second; without matrix products there is no floor."""
    now = Round(workload.training(variant, batch_size, timer.repeats + 1), workload.window)
    seconds = timer.interleave({"make": lambda: list(now.fresh())}, before=now.begin)["make"]
    return {
        "workload": workload.name,
        "batch": batch_size,
        "batch_ms": summarise(seconds, 1e3 / workload.window),
        "samples_per_second": ratio(now.samples[-timer.repeats :], seconds),
        "floor_ms": None,
    }
