"""How much attention behaviours of the target's category get, over all test users: what one figure cannot tell.

The paper's Figure 3 shows one history: faced with a target of the last behaviour's category, that behaviour "obtains a
large attention score". The number here is T a_t, attention in units of equal attention, at behaviours of the category
of the user's own next item.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.layers.prediction import explain
from benchmark.analysis.comparison import Interval, t_test, variance_of_mean
from datamodules.batches import EvaluationBatches
from datamodules.samples import Samples

Floats = NDArray[np.float64]
Verdict = Literal[
    "yes",  # the whole interval lies above equal attention, 1
    "no",  # the whole interval lies at 1 or below
    "inconclusive",  # it holds 1, or there is none, for want of a second seed or user
]


class Attention(NamedTuple):
    """T a_t of one run on its N clicked test samples with some but not all behaviours in the target's category."""

    user: NDArray[np.int64]  # (N,)
    same: Floats  # (N,) mean over the behaviours of the target's category
    other: Floats  # (N,) mean over the others
    last: Floats  # (N,) at the last behaviour, whatever its category


class Emphasis(NamedTuple):
    """Means over users, each the mean of its samples, and over runs that differ in their seed."""

    users: int
    seeds: int
    same: float
    other: float
    last: float
    interval: Interval | None  # of `same`, 95 %, over users and seeds; None below two of either

    @property
    def verdict(self) -> Verdict:
        """Whether behaviours of the target's category get more than equal attention."""
        if self.interval is None or self.interval.low <= 1 < self.interval.high:
            return "inconclusive"
        return "yes" if self.interval.low > 1 else "no"


def attention_of(model: nn.Module, samples: Samples) -> Attention:
    """Return the attention of a model with `explain` on the test users' own targets."""
    test = samples.test
    clicked = test.take(np.flatnonzero(test.label == 1))
    windows = EvaluationBatches(samples, clicked)
    parts, kept = [], []
    with torch.inference_mode():
        for batch in (each.per_target() for at in range(len(windows)) for each in windows[at].batches()):
            found = explain(model, batch)
            assert found is not None
            attention = found.attention.double() * batch.lengths[:, None]
            same = (batch.history["category"] == batch.target["category"][:, None]) & batch.mask
            mixed = same.any(1) & (same != batch.mask).any(1)
            counts = same.sum(1), batch.lengths - same.sum(1)
            both = [(attention * part).sum(1) / n for part, n in zip((same, batch.mask & ~same), counts, strict=True)]
            last = attention.gather(1, (batch.lengths[:, None] - 1).clamp(min=0))[:, 0]
            parts.append(torch.stack([*both, last], dim=1)[mixed])
            kept.append(mixed)
    mixed_samples = torch.cat(kept).numpy() if kept else np.zeros(0, np.bool_)
    columns = torch.cat(parts).numpy().T if parts else np.zeros((3, 0))
    return Attention(clicked.user[windows.order][mixed_samples].astype(np.int64), *columns)


def emphasis(runs: Sequence[Attention]) -> Emphasis:
    """Return what runs on the same samples have in common; the variance is that of users plus that of seeds."""
    by_user = np.stack([[_by_user(run.user, part) for part in run[1:]] for run in runs])  # (seeds, 3, users)
    seeds, _, users = by_user.shape
    same, other, last = by_user.mean(axis=(0, 2)).tolist() if users else (np.nan,) * 3
    interval = None
    if min(seeds, users) > 1:
        of_users, of_seeds = by_user[:, 0].mean(axis=0), by_user[:, 0].mean(axis=1)
        interval = t_test(same, [variance_of_mean(of_users), variance_of_mean(of_seeds)]).interval
    return Emphasis(users, seeds, same, other, last, interval)


def _by_user(user: NDArray[np.int64], values: Floats) -> Floats:
    """The mean of each user's values, by user."""
    _, place, counts = np.unique(user, return_inverse=True, return_counts=True)
    means: Floats = np.bincount(place, values, minlength=len(counts)) / counts
    return means
