"""One file for other programs: a frozen run as an ONNX graph or a `torch.export` program, any T and any N.

Inputs are rows of embedding tables: user fields (1,), behaviour fields (T,), target fields (N,), fields of the moment
(N,), T >= 0 and N >= 1; the output is the probabilities (N,). torch.export follows `encode` and `score` for one history
and N copies of it; there the packed layout is plain arithmetic on T and N. A recurrence becomes ONNX's Scan, or loops
that are written out for histories of some lengths (`onnx_recurrence.py`).
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.layers import attention
from baselines.layers.recurrence import recurrence
from baselines.layers.recurrent import RecurrentLayer
from baselines.layers.sigmoid_mlp import Shared
from baselines.layers.two_stage import TwoStage
from benchmark.serving.onnx_recurrence import BUCKETS, DOMAIN, OPSET, with_recurrences
from benchmark.serving.onnx_scorer import run_onnx, session_of
from benchmark.serving.scorer import RunScorer
from datamodules.batch import Fields, Histories, Targets, make_batch
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically
from datamodules.packing import Packing
from datamodules.samples import digest
from datamodules.schema import Schema

PARITY = 1e-5  # largest difference to the run's own probabilities
LENGTHS, CANDIDATES = (0, 1, 2, 7, 15, 50, 100, 101), (1, 2, 50, 512)  # for which it is verified
Loop = Literal["scan", "buckets"]
FASTER: Loop = "scan"  # by make reproduce-serving


@torch.library.custom_op("dien_bench::recurrence", mutates_args=())
def padded_recurrence(x: Tensor, weight: Tensor, p: Tensor, q: Tensor, reset_after: bool) -> Tensor:
    """States (T, N, H) of `recurrence` for x (T, N, 3H), p and q (T, N, 1), all N histories of one length."""
    positions, copies, _ = x.shape
    sizes = np.full(positions, copies)
    if not positions:
        return x.new_zeros(0, copies, len(weight))
    states = recurrence(x.flatten(0, 1), weight, p.flatten(), q.flatten(), sizes, reset_after)
    return states.view(positions, copies, len(weight)).clone()


@padded_recurrence.register_fake
def _(x: Tensor, weight: Tensor, p: Tensor, q: Tensor, reset_after: bool) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[0])


@dataclass(frozen=True)
class Copies:
    """The packing of N copies of one history of T behaviours, as `Packing` with sizes that are not known yet."""

    positions: int
    copies: int
    history: Tensor  # (T N,)
    flat_index: Tensor  # (T N,)
    last: Tensor  # (N,)
    lengths: Tensor  # (N,)

    @classmethod
    def of(cls, positions: int, copies: int) -> "Copies":
        """Row t N + n is position t of copy n."""
        position, copy = each(positions, copies), torch.arange(copies)
        history = copy[None].expand(positions, copies).reshape(-1)
        index, last = history * positions + position, copy + (positions - 1) * copies
        return cls(
            positions, copies, history, index, torch.where(copy * 0 + positions > 0, last, 0), copy * 0 + positions
        )

    @property
    def counts(self) -> Tensor:
        """(N,) lengths."""
        return self.lengths

    @property
    def shape(self) -> tuple[int, int]:
        """N and T."""
        return self.copies, self.positions


def each(positions: int, copies: int) -> Tensor:
    """(T N,) the position of each row."""
    return torch.arange(positions)[:, None].expand(positions, copies).reshape(-1)


class ExportedRecurrence(nn.Module):
    """A `RecurrentLayer` on `Copies`, by the operator above."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.layer = layer

    @property
    def bias(self) -> Tensor:
        """That of the layer."""
        return self.layer.bias

    def project(self, x: Tensor) -> Tensor:
        """That of the layer."""
        return self.layer.project(x)

    def forward(self, projected: Tensor, packing: Copies, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
        """Return the states (T N, H)."""
        rows, size = projected.shape[0], self.layer.hidden_size
        p = projected.new_zeros(rows) if p is None else p
        q = projected.new_ones(rows) if q is None else q
        t, n = packing.positions, packing.copies
        x, weight = projected.reshape(t, n, 3 * size), self.layer.state_weight
        states: Tensor = padded_recurrence(x, weight, p.reshape(t, n, 1), q.reshape(t, n, 1), self.layer.reset_after)
        return states.reshape(rows, size)


class OneUser(nn.Module):
    """Probabilities (N,) of one user's candidates; takes the fields of one history, of N targets and of N moments."""

    def __init__(self, model: TwoStage) -> None:
        super().__init__()
        self.model = model
        for parent in list(model.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, RecurrentLayer):
                    setattr(parent, name, ExportedRecurrence(layer))

    def forward(self, user: Fields, history: Fields, target: Fields, context: Fields) -> Tensor:
        """See above."""
        positions, copies = next(iter(history.values())).shape[0], next(iter(target.values())).shape[0]
        nothing, zero = torch.zeros(0, dtype=torch.int64), torch.zeros(copies, dtype=torch.int64)
        one, many = (cast(Packing, Copies.of(positions, count)) for count in (1, copies))
        rows = each(positions, copies)
        histories = Histories(user, history, nothing, one)
        targets = Targets(target, context, torch.zeros(copies), nothing, zero, many, rows, zero, {}, (1,))
        return torch.sigmoid(self.model.score(self.model.encode(histories), targets))


def program_of(model: nn.Module, schema: Schema) -> torch.export.ExportedProgram:
    """Return a frozen model as a program for any T and N; raises `UserError` for one that does not split its work."""
    if not isinstance(model, TwoStage):
        raise UserError(f"{type(model).__name__} has no encode and score, expected a TwoStage model: serve it instead")
    behaviours, candidates = {0: torch.export.Dim("T")}, {0: torch.export.Dim("N")}
    shapes: tuple[dict[str, dict[int, Any]], ...] = (
        {name: {} for name in schema.user},
        {name: behaviours for name in schema.behaviour},
        {name: candidates for name in schema.of_target},
        {name: candidates for name in schema.context},
    )
    with _without_kernel(), torch.no_grad(), _quiet():
        user = OneUser(copy.deepcopy(model)).eval()
        return torch.export.export(user, example(schema, 5, 3), dynamic_shapes=shapes, strict=True)


def example(schema: Schema, behaviours: int, candidates: int, seed: int = 0) -> tuple[Fields, Fields, Fields, Fields]:
    """Return random inputs: user, history, target, context."""
    rng = np.random.default_rng([seed, behaviours, candidates])

    def draw(part: Mapping[str, int], size: int) -> Fields:
        return {name: torch.from_numpy(rng.integers(0, rows, size)) for name, rows in part.items()}

    user, history = draw(schema.user, 1), draw(schema.behaviour, behaviours)
    return user, history, draw(schema.of_target, candidates), draw(schema.context, candidates)


def write_onnx(scorer: RunScorer, path: Path, loop: Loop = FASTER) -> float:
    """Write a run as ONNX and return the largest difference to it, by onnxruntime; raises `UserError` above 1e-5."""
    model = with_recurrences(graph_of(scorer), BUCKETS if loop == "buckets" else ())
    for name, value in (metadata(scorer) | {"loop": loop}).items():
        model.metadata_props.add(key=name, value=value)
    content = model.SerializeToString()
    session = session_of(content)

    def predict(inputs: Sequence[Fields]) -> NDArray[np.float32]:
        return run_onnx(session, [{name: rows.numpy() for name, rows in fields.items()} for fields in inputs])

    difference = verified(predict, scorer)
    write_atomically(path, content)
    return difference


def graph_of(scorer: RunScorer) -> onnx.ModelProto:
    """Return a run as an ONNX graph in which a recurrence is one operator, which other programs do not know."""
    program = program_of(scorer.model, scorer.vocabulary.schema)
    with _quiet(), torch.no_grad():
        ready = program.run_decompositions(IN_ONNX)
        found = torch.onnx.export(ready, (), dynamo=True, opset_version=OPSET, verbose=False)
    assert found is not None
    return found.model_proto


def write_torch(scorer: RunScorer, path: Path) -> float:
    """Write a run as a .pt2 program; as `write_onnx`. Who loads it imports this module first, for its operator."""
    program = program_of(scorer.model, scorer.vocabulary.schema)
    module: Callable[..., Tensor] = program.module()
    difference = verified(lambda inputs: module(*inputs).detach().numpy(), scorer)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"metadata.json": json.dumps(metadata(scorer))})
    write_atomically(path, content.getvalue())
    return difference


def verified(predict: Callable[[Sequence[Fields]], NDArray[np.float32]], scorer: RunScorer) -> float:
    """Return the largest difference to the run's own probabilities over `LENGTHS` and `CANDIDATES`."""
    model: Any = scorer.model
    schema = scorer.vocabulary.schema
    largest = 0.0
    for behaviours, candidates in product(LENGTHS, CANDIDATES):
        inputs = example(schema, behaviours, candidates, seed=1)
        user, history, target, context = inputs
        batch = make_batch(
            user=user,
            history={name: nn.functional.pad(rows, (0, behaviours == 0))[None] for name, rows in history.items()},
            lengths=torch.tensor([behaviours]),
            target=target,
            context=context,
            label=torch.zeros(candidates),
            history_of=torch.zeros(candidates, dtype=torch.int64),
        )
        with torch.inference_mode():
            expected = torch.sigmoid(model.score(model.encode(batch.histories), batch.targets)).numpy()
        largest = max(largest, float(np.abs(predict(inputs) - expected).max()))
    if not largest <= PARITY:
        raise UserError(
            f"the exported model differs from the run by {largest:.1e}, expected {PARITY:g}: nothing written"
        )
    return largest


def metadata(scorer: RunScorer) -> dict[str, str]:
    """Which run it is, the sizes of its tables, and the sha256 of the rows that its vocabulary gives to numbers."""
    of = scorer.vocabulary
    rows = {
        f"{kind}.{name}": found
        for kind in ("items", "users", "target", "context")
        for name, found in getattr(of, kind).items()
    }
    return {**scorer.about, "schema": json.dumps(of.schema.as_dict()), "vocabulary_sha256": digest(rows.items())}


def _as_node(x: Tensor, weight: Tensor, p: Tensor, q: Tensor, reset_after: bool) -> Tensor:
    kind = "RecurrenceAfter" if reset_after else "RecurrenceBefore"
    shape = (x.shape[0], x.shape[1], weight.shape[0])
    return torch.onnx.ops.symbolic(f"{DOMAIN}::{kind}", (x, weight, p, q), dtype=x.dtype, shape=shape, version=1)


def _sum_of_copies(total: Tensor, dim: int, history: Tensor, rows: Tensor) -> Tensor:
    """`index_add` over the histories of `Copies`, whose numbers 0..N-1 stand T times behind one another.

    ONNX has ScatterND for it, whose sums onnxruntime 1.32 adds up in parallel threads that overwrite each other.
    """
    assert dim == 0
    copies = total.shape[0]
    return total + rows.reshape(history.shape[0] // copies, copies, *rows.shape[1:]).sum(0)


IN_ONNX: dict[Any, Callable[..., Tensor]] = {
    torch.ops.dien_bench.recurrence.default: _as_node,
    torch.ops.aten.index_add.default: _sum_of_copies,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """What torch and onnxscript say of themselves is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


@contextmanager
def _without_kernel() -> Iterator[None]:
    """The MLP of the attention by torch's operations, which torch.export can follow, as it is on a GPU."""
    uses: Any = attention
    compiled = uses.sigmoid_mlp
    uses.sigmoid_mlp = plain_mlp
    try:
        yield
    finally:
        uses.sigmoid_mlp = compiled


def plain_mlp(
    x: Tensor, shared: Shared, first: Tensor, second: nn.Linear, last: Tensor, further: Shared | None = None
) -> Tensor:
    """`sigmoid_mlp` by torch's operations."""
    hidden = nn.functional.linear(x, first)
    for values, owner in (shared, *([further] if further else [])):
        hidden = hidden + values.index_select(0, owner)
    return torch.sigmoid(second(torch.sigmoid(hidden))) @ last
