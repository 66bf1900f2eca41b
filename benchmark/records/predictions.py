"""What a run says of its test samples, and the ranks of its scores, which give every AUC, GAUC and test.

predictions.parquet of a run folder holds user, label and probabilities in float64, a line a test sample. AUC and all
that is built on it depend on which positives score above which negatives alone, so a board keeps ranks, which are
exact; its users are numbered in the order of the test split, so that it names neither users nor items.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datamodules.errors import UserError

PREDICTIONS = "predictions.parquet"
CHECKPOINTS = {"reported": "score", "last": "score_last", "test": "score_test"}  # name -> column of PREDICTIONS
MOST_ROWS = 50_000_000  # twenty times the test samples of Books; more than that is no file of a run
OPTIONAL = "test"
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one checkpoint for N test samples of U users, who have one or more each.

    All negatives come first, then all positives; each kind in the order of users, and of a user's samples.
    """

    user: NDArray[np.int32]  # (N,) 0..U-1
    label: NDArray[np.int8]  # (N,) 0 or 1
    score: NDArray[np.float64]  # (N,) probabilities of a click; on a board ranks

    @cached_property
    def users(self) -> int:
        """U."""
        return int(self.user.max()) + 1

    @cached_property
    def negatives(self) -> int:
        """How many samples have the label 0."""
        return int(np.searchsorted(self.label, 1))

    @property
    def negative(self) -> NDArray[np.float64]:
        """Scores of the negatives."""
        return self.score[: self.negatives]

    @property
    def positive(self) -> NDArray[np.float64]:
        """Scores of the positives."""
        return self.score[self.negatives :]

    @cached_property
    def user_aucs(self) -> tuple[NDArray[np.intp], Floats, Floats]:
        """The users who have samples of both labels, (V,), the AUC of each one's samples, and their number.

        >>> Scores(np.array([0, 1, 0, 2]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])).user_aucs
        (array([0]), array([1.]), array([2.]))
        """
        unclicked, clicked = np.split(self.user, [self.negatives])
        if len(clicked) == self.users and np.array_equal(unclicked, clicked):  # a sample of each: nothing to be sorted
            won: Floats = (self.positive > self.negative) + (self.positive == self.negative) / 2
            return np.arange(self.users), won, np.full(self.users, 2.0)
        order = np.lexsort((self.score, self.user))
        user, score, label = self.user[order], self.score[order], self.label[order]
        samples = np.bincount(user)  # (U,) impressions of each user
        positives = np.bincount(user, label)
        pairs = positives * (samples - positives)
        # Mean rank of a sample among its user's, ties sharing theirs: from the first and the last place of each tie.
        begins = np.flatnonzero(np.append(True, (np.diff(user) != 0) | (np.diff(score) != 0)))
        length = np.diff(np.append(begins, len(user)))
        rank = np.repeat(begins + (length + 1) / 2, length) - np.repeat(np.cumsum(samples) - samples, samples)
        above = np.bincount(user, rank * label) - positives * (positives + 1) / 2
        both = np.flatnonzero(pairs)
        return both, above[both] / pairs[both], samples[both].astype(np.float64)

    @property
    def counts(self) -> str:
        """How many samples of how many users, for messages."""
        return f"{len(self.user):,} samples of {self.users:,} test users"

    def same_samples(self, other: "Scores") -> bool:
        """Whether both are of the same samples: as many, of the same users and labels."""
        return np.array_equal(self.user, other.user) and np.array_equal(self.label, other.label)


class RunScores(NamedTuple):
    """Scores of the checkpoint whose AUC is reported, of the last one, and of the best on test if it is another."""

    reported: Scores
    last: Scores
    test: Scores | None = None


def wins(scores: Floats, others: Floats) -> Floats:
    """Return how many of `others` (M,) each of `scores` (N,) is above, a tie counting one half, (N,); exact.

    >>> wins(np.array([2.0, 3.0]), np.array([1.0, 3.0]))
    array([1. , 1.5])
    """
    order = np.argsort(scores)  # looked up in order, which takes half the time
    ordered, looked_up = np.sort(others), scores[order]
    below, at_most = (np.searchsorted(ordered, looked_up, side) for side in ("left", "right"))
    total = np.empty(len(scores))
    total[order] = (below + at_most) / 2
    return total


def scores_of_samples(user: NDArray[Any], label: NDArray[Any], score: NDArray[np.float64]) -> Scores:
    """Return scores (N,) of samples in the order of a test split; users are numbered as they come in it.

    Raises ValueError where a label is neither 0 nor 1, and where one of the two is not there.

    >>> scores_of_samples(np.array([7, 7, 4]), np.array([1, 0, 1]), np.array([0.9, 0.2, 0.4]))
    Scores(user=array([0, 0, 1], dtype=int32), label=array([0, 1, 1], dtype=int8), score=array([0.2, 0.9, 0.4]))
    """
    order, user, label = _sorted(user, label)
    return Scores(user, label, score[order].astype(np.float64))


def read_scores(folder: Path) -> RunScores | None:
    """Return the scores of the run in `folder` from its predictions; None where it has none.

    Raises UserError where the file is damaged or does not hold users, labels and scores of samples.
    """
    path = folder / PREDICTIONS
    if not path.exists():
        return None
    try:
        columns = _numbers(path)
        kept = [column for name, column in CHECKPOINTS.items() if name != OPTIONAL or column in columns]
        order, user, label = _sorted(columns["user"], columns["label"])
        return RunScores(*(Scores(user, label, columns[column][order]) for column in kept))
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        raise UserError(
            f"{path} does not hold the scores of a run: {error}. Restore it, or train the run again."
        ) from error


def rank_samples(scores: Scores) -> NDArray[np.int32]:
    """Return the ranks of samples from 1, (N,), in the order of their scores.

    Ties share a rank, and so do neighbours of one label with none of the other between them: no positive changes its
    place among the negatives, so that AUC, GAUC and every test stay what they are to the last bit.

    >>> user, label = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    >>> rank_samples(Scores(user, label, np.array([0.1, 0.2, 0.9, 0.3, 0.9, 0.95])))
    array([1, 1, 3, 2, 3, 4], dtype=int32)
    """
    dense = np.unique(scores.score, return_inverse=True)[1]
    kinds = np.zeros(dense.max() + 1, np.int8)  # of each distinct score: 1 negatives, 2 positives, 3 both
    kinds[dense[: scores.negatives]] |= 1
    kinds[dense[scores.negatives :]] |= 2
    begins = np.append(True, (kinds[1:] != kinds[:-1]) | (kinds[1:] == 3))
    ranks: NDArray[np.int32] = np.cumsum(begins, dtype=np.int32)[dense]
    return ranks


def _sorted(user: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int8]]:
    """Return the order (N,) in which `Scores` have samples, and their users and labels in it."""
    if (label == 0).sum() + (label == 1).sum() < len(label) or label.min() == label.max():
        raise ValueError("its labels are not 0 and 1, both of them")
    number = pa.array(user).dictionary_encode().indices.to_numpy()
    order = np.lexsort((number, label))
    return order, number[order], label[order].astype(np.int8)


def _numbers(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns (R,) of a Parquet file; raises ValueError unless it has rows and each cell has a number.

    What the file says of itself is checked before its cells are read: a few bytes can stand for gigabytes.
    """
    with pq.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        if not 0 < rows <= MOST_ROWS:
            raise ValueError(f"it has {rows:,} rows, expected 1 to {MOST_ROWS:,}")
        if other := [f.name for f in schema if not pa.types.is_integer(f.type) and not pa.types.is_floating(f.type)]:
            raise ValueError(f"its column {other[0]!r} has no numbers")
        table = file.read()
    if len(set(schema.names)) < len(schema) or any(column.null_count for column in table.columns):
        raise ValueError("it has empty cells or two columns of one name")
    columns = {name: table[name].to_numpy().astype(np.float64) for name in schema.names}
    if any(np.isnan(values).any() for values in columns.values()):
        raise ValueError("it has cells without a number")
    return columns
