"""Committed runs as run folders, and boards made of run folders."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.metrics import METRICS
from benchmark.records.predictions import Scores
from benchmark.records.record import Record, line_of, read_records
from benchmark.records.results import curves_of, read_board, results_folder, scores_of, write_results
from benchmark.report.render import Table
from benchmark.report.results import results_of
from benchmark.report.tables import table_of

TO_SCORES = 1e4  # by which ranks are divided to serve as scores
BOARD = Path(__file__).parents[2] / "leaderboards"


@cache
def committed() -> dict[Path, Record]:
    """The records of the committed board by the folders that their runs had."""
    return {Path(r.dataset, r.protocol, f"{r.model}-{r.variant}", f"seed-{r.seed}"): r for r in read_board(BOARD)}


def export(place: Path | str, folder: Path) -> Path:
    """Write a committed run to a run folder: `place` as "sports/clean/dien-official/seed-0"; ranks serve as scores.

    Metrics that depend on the values of scores are those of the ranks.
    """
    record = committed()[Path(place)]
    folder.mkdir(parents=True)
    columns = curves_of(record).columns
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))
    scores = scores_of(record)
    assert scores is not None
    found = {
        name: np.stack([checkpoint.negative, checkpoint.positive], axis=1).ravel() / TO_SCORES
        for name, checkpoint in zip(("score", "score_last", "score_test"), scores, strict=True)
        if checkpoint is not None
    }
    users = scores.reported.users
    served = replace(scores.reported, score=scores.reported.score / TO_SCORES)
    record = replace(record, **{name: metric.of(served) for name, metric in METRICS.items() if not metric.by_order})
    (folder / "record.json").write_text(line_of(record), encoding="utf-8")
    table = pd.DataFrame({"user": np.repeat(np.arange(users), 2), "label": np.tile([0, 1], users), **found})
    table.to_parquet(folder / "predictions.parquet")
    return folder


def pairs(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> Scores:
    """Scores (U,) (U,) of users with one negative and one positive each."""
    users = np.arange(len(negative), dtype=np.int32)
    label = np.repeat(np.array([0, 1], np.int8), len(users))
    return Scores(np.tile(users, 2), label, np.concatenate([negative, positive]))


def export_row(place: Path | str, folder: Path) -> Path:
    """Write all seeds of a committed row, `place` as "sports/clean/dien-official", below a folder."""
    for run in committed():
        if run.parent == Path(place):
            export(run, folder / run.name)
    return folder


def change(folder: Path, **fields: object) -> Path:
    """Change fields of the record in a run folder; the folder's name stays."""
    record = json.loads((folder / "record.json").read_text("utf-8")) | fields
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def make_board(runs: Path, board: Path) -> Path:
    """Make a board of the runs in a folder, whatever they claim."""
    for place, records in groupby(read_records(runs), lambda record: (record.dataset, record.protocol)):
        write_results(results_folder(board, *place), list(records))
    return board


def table(
    records: Sequence[Record], number: str, datasets: Sequence[str], *place: Any, short: bool = False, **more: Any
) -> Table:
    """The table of records: arguments as of `results_of`, and `short` as of `table_of`."""
    results = results_of(records, number, datasets, *place, **more)
    return table_of(results, number, *place[:2], short=short)
