"""What a run says of its test users, kept small: ranks of its scores, which give every AUC and every test.

predictions.parquet of a run folder holds probabilities in float64. AUC and all that is built on it depend on their
order alone, so a committed record holds ranks.parquet: a line a test user, in the order of the protocol's test
split, with the dense ranks (ties share one) of the user's negative and positive. It is exact, some 25 kB for 3,560
users, and names neither users nor items. The checkpoint best on test stands in it where it is not the reported one.
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

PREDICTIONS, RANKS = "predictions.parquet", "ranks.parquet"
CHECKPOINTS = {"reported": "score", "last": "score_last", "test": "score_test"}  # name -> column of PREDICTIONS
MOST_ROWS = 50_000_000  # twenty times the test samples of Books; more than that is no file of a run
OPTIONAL = "test"  # left out of the ranks where it is the reported one


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
    """Return the scores of the run in `folder` from its ranks or predictions; None where it has neither.

    Raises UserError where the file is damaged or does not hold one negative and one positive a user.
    """
    path = folder / (RANKS if (folder / RANKS).exists() else PREDICTIONS)
    if not path.exists():
        return None
    try:
        columns = _numbers(path)
        if path.name == RANKS:
            found = [name for name in CHECKPOINTS if name != OPTIONAL or f"negative_{name}" in columns]
            return RunScores(*(Scores(columns[f"negative_{name}"], columns[f"positive_{name}"]) for name in found))
        kept = [column for name, column in CHECKPOINTS.items() if name != OPTIONAL or column in columns]
        return RunScores(*(pair_scores(columns["label"], columns[column]) for column in kept))
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        raise UserError(
            f"{path} does not hold the scores of a run: {error}. Restore it, or train the run again."
        ) from error


def write_ranks(scores: RunScores, path: Path) -> None:
    """Write ranks.parquet: `read_scores` of it gives the same AUC to the last bit."""
    columns: dict[str, NDArray[np.int32]] = {}
    for name, checkpoint in zip(CHECKPOINTS, scores, strict=True):
        if checkpoint is None or (name == OPTIONAL and _same(checkpoint, scores.reported)):
            continue
        ranks = rankdata(np.concatenate([checkpoint.negative, checkpoint.positive]), method="dense")
        negative, positive = np.split(ranks.astype(np.int32), 2)
        columns |= {f"negative_{name}": negative, f"positive_{name}": positive}
    # Ranks are a permutation, so that bytes split by place are all that a compressor can use.
    pq.write_table(
        pa.table(columns), path, compression="zstd", use_dictionary=False, column_encoding="BYTE_STREAM_SPLIT"
    )


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


def _same(a: Scores, b: Scores) -> bool:
    return np.array_equal(a.negative, b.negative) and np.array_equal(a.positive, b.positive)
