"""Batches of random samples on which models are checked."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import batch
from datamodules.batch import Batch, Fields
from datamodules.schema import Schema

SCHEMA = Schema(user={"user": 9}, behaviour={"item": 30, "category": 7})
# A log of impressions has more fields; three targets share a history.
IMPRESSIONS = Schema(
    user={"user": 9, "age": 4},
    behaviour={"item": 30, "category": 7, "shop": 5},
    target={"campaign": 6},
    context={"hour": 8},
)
LENGTHS = [5, 3, 1, 0, 4, 2]
LONGEST = 100  # behaviours: every protocol cuts histories to the newest so many


def make_batch(
    lengths: list[int], positions: int, seed: int = 0, schema: Schema = SCHEMA, targets_each: int = 1
) -> Batch:
    """Return a batch of random samples with histories of these lengths, padded to `positions`.

    The first sample has the largest numbers that there are, the last the unknown user, item and category 0.
    """
    rng = np.random.default_rng(seed)
    real = torch.from_numpy(np.arange(positions) < np.array(lengths)[:, None])
    histories, targets = len(lengths), len(lengths) * targets_each
    owner = torch.arange(histories).repeat_interleave(targets_each)

    def fields(rows: dict[str, int], mask: Tensor | None, *shape: int) -> Fields:
        found = {}
        for name, high in rows.items():
            numbers = torch.from_numpy(rng.integers(min(1, high - 1), high, shape))
            numbers[0] = high - 1
            if len(lengths) > 1:
                numbers[-1] = 0
            found[name] = numbers if mask is None else numbers * mask
        return found

    return batch.make_batch(
        user=fields(schema.user, None, histories),
        target=fields(schema.of_target, None, targets),
        context=fields(schema.context, None, targets),
        history=fields(schema.behaviour, real, histories, positions),
        history_time=torch.arange(positions).expand(histories, positions) * real,
        lengths=torch.tensor(lengths),
        negatives=fields(schema.behaviour, real[owner], targets, positions),
        history_of=owner,
        time=torch.full((targets,), positions),
        label=torch.arange(targets) % 2 * 1.0,
    )


def padded(given: Batch, by: int) -> Batch:
    """The batch with more positions of padding."""
    longer = {
        kind: {name: F.pad(numbers, (0, by)) for name, numbers in getattr(given, kind).items()}
        for kind in ("history", "negatives")
    }
    return batch.make_batch(**given.as_dict() | longer | {"history_time": F.pad(given.history_time, (0, by))})


def tensors_of(given: Batch) -> dict[str, Tensor]:
    """Every tensor that a model can read of a batch, by the name under which it reads it."""
    found: dict[str, Tensor] = {}
    for kind, value in given.as_dict().items():
        fields = {f'["{name}"]': each for name, each in value.items()} if isinstance(value, dict) else {"": value}
        found |= {kind + name: each for name, each in fields.items()}
    return found
