"""A click log of Electronics' size, made up: `python -m benchmark.bench.click_log clicks.parquet`.

The behaviours that `bench train` is timed on (`workloads.py`). `dien-bench import` makes a data set of it, on which
whole runs are timed; AUC on it means nothing, for the items are drawn by chance.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.bench.workloads import electronics_interactions

BEGINNING, DAY = 1_300_000_000, 86_400  # unix seconds


def write_click_log(path: Path, quick: bool = False) -> None:
    """Write the log as Parquet, a user's behaviours a day apart; `quick`: a hundredth of it."""
    made = electronics_interactions(quick)
    place = np.arange(len(made.user)) - np.searchsorted(made.user, made.user)  # in the user's own history, from 0
    columns = {"user": made.user, "item": made.item, "category": made.category, "time": BEGINNING + DAY * place}
    pq.write_table(pa.table(columns), path)


if __name__ == "__main__":
    write_click_log(Path(sys.argv[1]))
