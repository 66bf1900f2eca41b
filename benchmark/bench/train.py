"""One optimiser step of every row, and what evaluating as often as the released code does costs beside it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from baselines import model_label
from baselines.lightning_module import CTRModule
from benchmark.bench.floor import Shape, operations, row_products, runner
from benchmark.bench.timing import Timer, ratio, summarise
from benchmark.bench.workloads import STEPS, Workload, batches_of
from benchmark.runs.train import EVALUATE_EVERY
from datamodules.batch import Batch
from datamodules.batches import TrainingBatches


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
    """The batches of one measurement and their floor; `begin` changes to those of another."""

    def __init__(self, data: TrainingBatches, window: int, row: str, variant: str) -> None:
        self.data, self.window, self.row, self.variant = data, window, row, variant
        self.operations: list[int] = []  # of every measurement begun
        self.samples: list[int] = []
        self.begin(0)

    def begin(self, number: int) -> None:
        """Make the batches of measurement `number`."""
        self.number = number
        self.batches = list(self.fresh())
        self.samples.append(sum(len(batch.label) for batch in self.batches))
        found = [row_products(self.row, self.variant, Shape.of(batch.lengths)) for batch in self.batches]
        products = [product for of_batch in found if of_batch for product in of_batch]
        self.operations.append(operations(products))
        self.run_products = runner(products)

    def fresh(self) -> Iterator[Batch]:
        """Make the batches once more, one after the other."""
        return batches_of(self.data, self.window, self.number)


def measure(workload: Workload, model: str, variant: str, batch_size: int, timer: Timer) -> dict[str, Any]:
    """Return a row's milliseconds a step, with batches made beforehand and on the way, and its evaluation's seconds.

    Steps are those of the middle of a run.
    A measurement is a window of batches (short and long ones), divided by their number. The evaluation makes its
    batches on the way too, as in a run; its share of the time is that of an evaluation every 100 steps.
    """
    row, window = model_label(model), workload.window
    step, test = Step(workload.module(model, variant)), workload.evaluation(batch_size)
    now = Round(workload.training(variant, batch_size, timer.repeats + 1), window, row, variant)
    step.train(now.batches)
    step.advance(STEPS // 2)
    sides: dict[str, Callable[[], object]] = {
        "step": lambda: step.train(now.batches),
        "step_with_batch": lambda: step.train(now.fresh()),
        "evaluation": lambda: step.evaluate(test[number] for number in range(len(test))),
    }
    if now.operations[0]:
        sides["floor"] = lambda: now.run_products()
    seconds = timer.interleave(sides, now.begin)
    counted, samples = now.operations[-timer.repeats :], now.samples[-timer.repeats :]
    trained = [EVALUATE_EVERY / window * value for value in seconds["step_with_batch"]]
    whole = [a + b for a, b in zip(seconds["evaluation"], trained, strict=True)]
    rates = [count / value for count, value in zip(samples, seconds["step_with_batch"], strict=True)]
    line: dict[str, Any] = {"workload": workload.name, "model": row, "variant": variant, "batch": batch_size}
    for name in ("step", "step_with_batch"):
        line[f"{name}_ms"] = summarise(seconds[name]).scaled(1e3 / window).as_dict()
    line["samples_per_second"] = summarise(rates).as_dict()
    line["evaluation_seconds"] = summarise(seconds["evaluation"]).as_dict()
    line["evaluation_share"] = ratio(seconds["evaluation"], whole).as_dict()
    line |= dict.fromkeys(("operations_a_step", "matrix_gflops", "floor_ms", "step_over_floor"))
    if "floor" in seconds:
        speeds = [count / value / 1e9 for count, value in zip(counted, seconds["floor"], strict=True)]
        line["operations_a_step"] = round(sum(counted) / len(counted) / window)
        line["matrix_gflops"] = round(summarise(speeds).median, 2)
        line["floor_ms"] = summarise(seconds["floor"]).scaled(1e3 / window).as_dict()
        line["step_over_floor"] = ratio(seconds["step"], seconds["floor"]).as_dict()
    return line
