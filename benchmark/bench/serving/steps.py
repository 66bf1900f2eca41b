"""The steps of the ladder, each one change to the step before: what is served, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from baselines.layers.recurrence import recurrence, reference
from baselines.layers.recurrent import RecurrentLayer
from benchmark.serving.batcher import Batching, Probabilities
from benchmark.serving.export import Loop, write_onnx
from benchmark.serving.load import random_bodies
from benchmark.serving.onnx_scorer import OnnxScorer
from benchmark.serving.request import PARTS, Limits, Request, RequestSchema, parse
from benchmark.serving.scorer import RunScorer
from datamodules.batch import Batch
from datamodules.errors import unknown_name
from datamodules.packing import Packing

BOOSTER, LIGHT = "dien+hidden_size=108", "dien-rocket"
ALONE, TOGETHER = Batching(window=0.0, requests=1), Batching()


@dataclass(frozen=True)
class Step:
    """One line of the ladder."""

    name: str
    label: str
    model: str = BOOSTER
    recurrence: Literal["torch", "fused", "onnx"] = "fused"
    encode: Literal["once", "each candidate"] = "once"  # how often a request's history is encoded
    batching: Batching = TOGETHER
    loop: Loop | None = None  # of the exported file


STEPS = (
    Step("eager", "plain loop, 108 units, one request at a time", BOOSTER, "torch", "each candidate", ALONE),
    Step("fused", "fused recurrence", BOOSTER, "fused", "each candidate", ALONE),
    Step("once", "histories encoded once", batching=ALONE),
    Step("batches", "requests batched"),
    Step("light", "light net of 32 units", LIGHT),
    Step("scan", "exported to ONNX, Scan", LIGHT, "onnx", loop="scan"),
    Step("buckets", "exported to ONNX, length buckets", LIGHT, "onnx", loop="buckets"),
)
BEFORE = {"fused": "eager", "once": "fused", "batches": "once", "light": "batches", "scan": "light", "buckets": "light"}


def step_of(name: str) -> Step:
    """Return the step of a name; raises `UserError` for an unknown one."""
    found = {step.name: step for step in STEPS}
    if name not in found:
        raise unknown_name("step", name, found)
    return found[name]


class PlainLayer(RecurrentLayer):
    """A layer whose recurrence is a loop of torch's operations."""

    def forward(self, projected: Tensor, packing: Packing, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
        """As `RecurrentLayer.forward`."""
        p = projected.new_zeros(len(projected)) if p is None else p
        q = projected.new_ones(len(projected)) if q is None else q
        return recurrence(projected, self.state_weight, p, q, packing.batch_sizes, self.reset_after, backend=reference)


class EachCandidate(RunScorer):
    """Encodes the history of a request anew for each of its candidates."""

    def batch(self, requests: Sequence[Request]) -> Batch:
        """One batch in which each candidate has a history of its own."""
        return super().batch(requests).per_target()


def scorer_of_step(step: Step, served: RunScorer, onnx: Path) -> RunScorer:
    """Return the scorer of a step, whose model is that of `served`; `onnx` is the exported file, written if missing.

    The model may be changed: take its own scorer of a run for each step.
    """
    if step.loop is not None:
        if not onnx.exists():
            write_onnx(served, onnx, step.loop)
        return OnnxScorer(served, onnx)
    if step.recurrence == "torch":
        for layer in served.model.modules():
            if isinstance(layer, RecurrentLayer):
                layer.__class__ = PlainLayer
    kind = RunScorer if step.encode == "once" else EachCandidate
    return kind(served.model, served.vocabulary, served.about)


def example_requests(schema: RequestSchema) -> list[Request]:
    """Return requests of several lengths of histories and numbers of candidates, always the same."""
    fields = {part: dict(getattr(schema, part)) for part in PARTS}
    sizes = ((0, 1), (1, 3), (7, 50), (50, 20), (100, 2))
    return [parse(random_bodies(fields, t, n, count=1, seed=t)[0], schema, Limits()) for t, n in sizes]


def largest_difference(found: Sequence[Probabilities], expected: Sequence[Probabilities]) -> float:
    """Return the largest difference of the probabilities of requests."""
    return float(np.abs(np.concatenate(found) - np.concatenate(expected)).max())
