"""Packed histories and batches of them against slow loops over padded ones."""

from typing import Any

import numpy as np
import pytest
import torch

from baselines.contract import IMPRESSIONS, LENGTHS
from baselines.contract import make_batch as random_batch
from datamodules.batch import Batch, make_batch
from datamodules.packing import Packing, pack, packing_of, spread, unpack

T = 5
ALL_LENGTHS = pytest.mark.parametrize("lengths", [[5, 3, 1, 0], [0, 2, 5, 5, 1, 2], [0, 0], [1], [5, 5]])


def rows_of(lengths: list[int]) -> list[tuple[int, int]]:
    """History and position of every packed row."""
    longest_first = sorted(range(len(lengths)), key=lambda u: -lengths[u])  # sorted() keeps the order of equals
    return [(u, t) for t in range(T) for u in longest_first if t < lengths[u]]


@ALL_LENGTHS
def test_packing(lengths: list[int]) -> None:
    packing, expected = packing_of(np.array(lengths), T), rows_of(lengths)
    assert packing.shape == (len(lengths), T)
    assert packing.first == sum(length > 0 for length in lengths)
    assert packing.batch_sizes.tolist() == [sum(t < length for length in lengths) for t in range(T)]
    assert packing.counts.tolist() == packing.lengths.tolist() == lengths
    assert packing.history.tolist() == [u for u, _ in expected]
    assert packing.flat_index.tolist() == [u * T + t for u, t in expected]
    assert packing.previous.tolist() == [expected.index((u, t - 1)) for u, t in expected if t]
    last = [expected.index((u, length - 1)) if length else len(expected) for u, length in enumerate(lengths)]
    assert packing.last.tolist() == last
    padded = torch.arange(1.0, 1 + len(lengths) * T).view(len(lengths), T)
    packed = pack(padded, packing)
    assert packed.tolist() == [padded[u, t].item() for u, t in expected]
    mask = torch.tensor([[t < length for t in range(T)] for length in lengths])
    assert torch.equal(unpack(packed, packing), padded * mask)


@ALL_LENGTHS
@pytest.mark.parametrize("positions", [None, T])
def test_spread(lengths: list[int], positions: int | None) -> None:
    history_of = np.random.default_rng(len(lengths)).integers(0, len(lengths), 7)
    copied = [lengths[u] for u in history_of]
    own, rows = spread(packing_of(np.array(lengths), T), history_of, positions)
    expected, of_copies = rows_of(lengths), rows_of(copied)
    assert rows.tolist() == [expected.index((history_of[b], t)) for b, t in of_copies]
    made = packing_of(np.array(copied), positions or max(*copied, 1))
    for name in Packing._fields:
        assert np.array_equal(getattr(own, name), getattr(made, name)), name


def batch_of_impressions() -> Batch:
    """Histories of 5, 3, 1, 0, 4 and 2 with three targets each, in no order."""
    plain = random_batch(LENGTHS, T + 1, schema=IMPRESSIONS, targets_each=3).as_dict()
    order = torch.from_numpy(np.random.default_rng(0).permutation(18))
    targets = ("target", "context", "negatives", "label", "history_of", "time")
    moved = {name: reordered(plain[name], order) for name in targets} | {"time": torch.arange(18)}
    return make_batch(**plain | moved)


def reordered(value: Any, which: torch.Tensor) -> Any:
    return {name: tensor[which] for name, tensor in value.items()} if isinstance(value, dict) else value[which]


def seen_by(batch: Batch, b: int) -> dict[str, Any]:
    """What target b has in front of it, as lists."""
    u = int(batch.history_of[b])
    of_target = ("target", "context", "negatives", "label", "time")
    of_history = ("user", "history", "history_time", "lengths", "mask")
    places = [(name, b) for name in of_target] + [(name, u) for name in of_history]
    return {
        name: {key: tensor[at].tolist() for key, tensor in value.items()} if isinstance(value, dict)
        else value[at].tolist()
        for name, at in places for value in [getattr(batch, name)]
    }  # fmt: skip


def test_make_batch_takes_what_as_dict_gives() -> None:
    owner = torch.tensor([1, 2, 1])
    real = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]])
    numbers = torch.arange(1, 13).view(3, 4)
    plain = {
        "user": {"user": torch.tensor([7, 8, 9])},
        "history": {"item": numbers * real, "category": 100 * numbers * real},
        "lengths": torch.tensor([0, 3, 2]),
        "target": {"item": torch.tensor([4, 5, 6]), "category": torch.tensor([1, 2, 3])},
        "label": torch.tensor([1.0, 0.0, 1.0]),
        "context": {"hour": torch.tensor([21, 22, 23])},
        "history_of": owner,
        "negatives": {"item": 50 * numbers * real[owner] * (torch.arange(4) > 0)},  # the first position has none
        "history_time": (1000 + numbers) * real,
        "time": torch.tensor([2001, 2002, 2003]),
    }
    batch = make_batch(**plain)
    for found in (batch.as_dict(), make_batch(**batch.as_dict()).as_dict()):
        assert found.keys() == plain.keys()
        for name, value in plain.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    own = make_batch(**{name: plain[name] for name in ("user", "history", "lengths", "target", "label")})
    assert own.history_of.tolist() == [0, 1, 2]
    assert own.time.tolist() == [0, 0, 0]
    assert own.history_time.tolist() == [[0] * 4] * 3


@pytest.mark.parametrize("which", [[4, 0, 17, 4], list(range(18)), [3], []])
def test_part(which: list[int]) -> None:
    batch = batch_of_impressions()
    part = batch.part(np.array(which, np.int64))
    assert len(part) == len(which)
    assert [seen_by(part, b) for b in range(len(which))] == [seen_by(batch, b) for b in which]
    assert len(part.lengths) == len({int(batch.history_of[b]) for b in which})  # each history once


def test_per_target() -> None:
    batch = batch_of_impressions()
    own = batch.per_target()
    assert own.history_of.tolist() == list(range(18))
    assert [seen_by(own, b) for b in range(18)] == [seen_by(batch, b) for b in range(18)]
    assert own.lengths.tolist() == [LENGTHS[u] for u in batch.history_of]
    twice = own.per_target()
    assert [seen_by(twice, b) for b in range(18)] == [seen_by(batch, b) for b in range(18)]
