"""What a run says of its test users, and the ranks of its scores, which give every AUC and every test.

predictions.parquet of a run folder holds probabilities in float64. AUC and all that is built on it depend on which
positives score above which negatives alone, so a board keeps ranks, which are exact and name neither users nor items.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import rankdata

from datamodules.errors import UserError

PREDICTIONS = "predictions.parquet"
CHECKPOINTS = {"reported": "score", "last": "score_last", "test": "score_test"}  # name -> column of PREDICTIONS
MOST_ROWS = 50_000_000  # twenty times the test samples of Books; more than that is no file of a run
OPTIONAL = "test"


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one checkpoint for U test users, each with one negative and one positive; only order counts."""

    negative: NDArray[np.float64]  # (U,)
    positive: NDArray[np.float64]  # (U,)

    def __len__(self) -> int:
        return len(self.positive)


class RunScores(NamedTuple):
    """Scores of the checkpoint whose AUC is reported, of the last one, and of the best on test if it is another."""

    reported: Scores
    last: Scores
    test: Scores | None = None


def pair_scores(label: NDArray[Any], score: NDArray[np.float64]) -> Scores:
    """Return scores (N,) of samples in the order of a test split as scores of its N / 2 users.

    Raises ValueError where the labels are not 0, 1, 0, 1, ..., as every protocol makes them.
    """
    if len(label) % 2 or np.any(label[::2] != 0) or np.any(label[1::2] != 1):
        raise ValueError("labels are not one negative and one positive a user, side by side")
    return Scores(score[::2].astype(np.float64), score[1::2].astype(np.float64))


def read_scores(folder: Path) -> RunScores | None:
    """Return the scores of the run in `folder` from its predictions; None where it has none.

    Raises UserError where the file is damaged or does not hold one negative and one positive a user.
    """
    path = folder / PREDICTIONS
    if not path.exists():
        return None
    try:
        columns = _numbers(path)
        kept = [column for name, column in CHECKPOINTS.items() if name != OPTIONAL or column in columns]
        return RunScores(*(pair_scores(columns["label"], columns[column]) for column in kept))
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        raise UserError(
            f"{path} does not hold the scores of a run: {error}. Restore it, or train the run again."
        ) from error


def rank_samples(scores: Scores) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ranks from 1 of the negatives and the positives, (U,) (U,), in the order of their scores.

    Ties share a rank, and so do neighbours of one label with none of the other between them: no positive changes its
    place among the negatives, so that every AUC and test stays what it is to the last bit.

    >>> rank_samples(Scores(negative=np.array([0.1, 0.2, 0.9]), positive=np.array([0.3, 0.9, 0.95])))
    (array([1, 1, 3], dtype=int32), array([2, 3, 4], dtype=int32))
    """
    users = len(scores)
    dense = rankdata(np.concatenate([scores.negative, scores.positive]), method="dense") - 1
    kinds = np.zeros(dense.max() + 1, np.int8)  # of each distinct score: 1 negatives, 2 positives, 3 both
    np.bitwise_or.at(kinds, dense[:users], 1)
    np.bitwise_or.at(kinds, dense[users:], 2)
    begins = np.append(True, (kinds[1:] != kinds[:-1]) | (kinds[1:] == 3))
    ranks = np.cumsum(begins, dtype=np.int32)[dense]
    return ranks[:users], ranks[users:]


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
