"""The runs of a board: what is written is read back to the last bit, the same runs give the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.analysis.metrics import auc
from benchmark.records import results
from benchmark.records.record import read_records, run_folder
from benchmark.records.results import curves_of, read_board, reading_once, results_folder, scores_of, write_results
from datamodules.errors import UserError
from tests.benchmark.records.test_records import record_fields, store

USERS = 300
MODELS = ("dien", "dien+auxiliary_weight=0.5", "my own: $x$")


def make_run(out: Path, model: str = "dien", seed: int = 0, variant: str = "official", last: str = "other") -> Path:
    """A run folder; its last checkpoint is another than the reported one or the same, the best on test a third."""
    path = store(out, model=model, seed=seed, variant=variant)
    rng = np.random.default_rng([seed, len(model), len(variant)])
    score = rng.random(2 * USERS)
    columns = {"score": score, "score_last": score**2 if last == "same" else rng.random(2 * USERS)}
    table = pd.DataFrame({"user": rng.permutation(2 * USERS) // 2, "label": np.tile([0, 1], USERS), **columns})
    table.assign(score_test=rng.random(2 * USERS)).to_parquet(path.parent / "predictions.parquet")
    lines = ["auxiliary_loss,learning_rate,loss,step,test_auc"]
    lines += [f"{float(rng.random())!r},0.001,nan,{20 * n},{repr(0.1 * n) if n % 5 == 0 else ''}" for n in range(1, 40)]
    (path.parent / "metrics.csv").write_text("\n".join(lines) + "\n")
    return path.parent


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for model in MODELS:
        for seed, last in ((0, "other"), (10, "same"), (2, "other")):
            make_run(tmp_path / "out", model, seed, last=last)
    make_run(tmp_path / "out", "dien", 0, "paper")
    return tmp_path / "out"


def written(out: Path, board: Path) -> Path:
    write_results(results_folder(board, "sports", "arxiv-v1"), read_records(out))
    return board


def files(board: Path) -> dict[str, bytes]:
    return {str(path.relative_to(board)): path.read_bytes() for path in board.rglob("*") if path.is_file()}


def test_what_is_written_is_read_back(out: Path, tmp_path: Path) -> None:
    board = written(out, tmp_path / "board")
    expected, found = read_records(out), read_board(board)
    assert found == expected
    assert len(found) == 10
    for record, original in zip(found, expected, strict=True):
        table = pd.read_csv(original.path.parent / "metrics.csv", dtype=str, keep_default_na=False)
        for name in table:
            cells = [float(cell) if cell else None for cell in table[name]]
            assert list(map(repr, curves_of(record).columns[name])) == [
                repr(int(cell)) if name == "step" and cell else repr(cell) for cell in cells
            ]
        scores, predictions = scores_of(record), pd.read_parquet(original.path.parent / "predictions.parquet")
        assert scores is not None
        for checkpoint, name in zip(scores, ("score", "score_last", "score_test"), strict=True):
            assert checkpoint is not None
            assert auc(checkpoint) == pytest.approx(roc_auc_score(predictions.label, predictions[name]), abs=1e-12)


def test_the_same_runs_give_the_same_bytes_from_wherever_and_in_whatever_order(out: Path, tmp_path: Path) -> None:
    first = files(written(out, tmp_path / "first"))
    assert len(first) == 1 + 2 * len(MODELS)
    folder = results_folder(tmp_path / "second", "sports", "arxiv-v1")
    write_results(folder, read_records(out)[::-1])
    assert files(tmp_path / "second") == first
    write_results(folder, read_board(tmp_path / "second"), {"dien"})  # in place, from itself
    assert files(tmp_path / "second") == first


def test_scores_that_are_kept_are_those_of_the_file_and_for_a_time_only(out: Path, tmp_path: Path) -> None:
    board = written(out, tmp_path / "board")
    records = read_board(board)
    with reading_once():
        kept = [scores_of(record) for record in records]
        assert all(scores_of(record) is one for record, one in zip(records, kept, strict=True))
    for record, one in zip(records, kept, strict=True):
        found = scores_of(record)
        assert found is not one
        assert found is not None
        assert one is not None
        np.testing.assert_array_equal(found.last.score, one.last.score)


def test_a_line_a_run_in_order(out: Path, tmp_path: Path) -> None:
    lines = (written(out, tmp_path) / "results/sports/arxiv-v1/runs.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    runs = [(line["model"], line["variant"], line["seed"]) for line in found]
    assert runs == sorted(runs)
    assert runs[:4] == [
        ("dien", "official", 0),
        ("dien", "official", 2),
        ("dien", "official", 10),
        ("dien", "paper", 0),
    ]
    assert all(list(line) == sorted(line) for line in found)
    assert record_fields().items() <= found[0].items()


def test_columns_and_row_groups(out: Path, tmp_path: Path) -> None:
    folder = results_folder(written(out, tmp_path / "board"), "sports", "arxiv-v1")
    curves, ranks = (pq.ParquetFile(folder / kind / "dien.parquet") for kind in ("curves", "predictions"))
    assert {f.name: str(f.type) for f in ranks.schema_arrow} == {
        "variant": "string", "seed": "int32", "checkpoint": "string", "user": "int32", "label": "int8", "rank": "int32",
    }  # fmt: skip
    assert {f.name: str(f.type) for f in curves.schema_arrow} == {
        "variant": "string", "seed": "int32", "step": "int64", "auxiliary_loss": "double", "learning_rate": "double",
        "loss": "double", "test_auc": "double",
    }  # fmt: skip
    assert curves.num_row_groups == ranks.num_row_groups == 4
    table = ranks.read().to_pandas()
    assert set(table.checkpoint[(table.variant == "official") & (table.seed == 0)]) == {"reported", "last", "test"}
    assert set(table.checkpoint[table.seed == 10]) == {"reported", "test"}  # the last one is the reported one
    assert set(table.user) == set(range(USERS))  # places in the test split, not the users of the data set


def test_runs_that_share_a_row_group_are_told_apart(out: Path, tmp_path: Path) -> None:
    board = written(out, tmp_path / "board")
    records = read_records(board, model="dien")
    before = [(curves_of(record).columns, scores_of(record)) for record in records]
    for kind in ("curves", "predictions"):
        changed(board, kind, lambda table: table)
    for record, (columns, scores) in zip(records, before, strict=True):
        found = scores_of(record)
        assert repr(curves_of(record).columns) == repr(columns)
        assert found is not None
        assert scores is not None
        np.testing.assert_array_equal(found.reported.positive, scores.reported.positive)


def test_a_run_of_the_size_of_sports_has_less_than_twenty_five_kilobytes(tmp_path: Path) -> None:
    folder, rng = make_run(tmp_path / "out"), np.random.default_rng(0)
    score = rng.normal(size=2 * 3560) + np.tile([0, 1.9], 3560)  # AUC 0.91
    table = pd.DataFrame({"user": np.repeat(np.arange(3560), 2), "label": np.tile([0, 1], 3560), "score": score})
    table.assign(score_last=score + rng.normal(size=2 * 3560) * 0.1).to_parquet(folder / "predictions.parquet")
    (path,) = (written(tmp_path / "out", tmp_path / "board") / "results").rglob("predictions/dien.parquet")
    assert path.stat().st_size < 25_000


def test_a_step_between_two_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "out")
    (folder / "metrics.csv").write_text("step,loss,test_auc\n20.5,1,0.5\n")
    with pytest.raises(UserError, match=r"metrics\.csv has the step 20\.5, expected whole numbers"):
        written(tmp_path / "out", tmp_path / "board")
    assert not (tmp_path / "board").exists()


def changed(board: Path, kind: str, change: Callable[[pa.Table], pa.Table]) -> None:
    (path,) = (board / "results").rglob(f"{kind}/dien.parquet")
    pq.write_table(change(pq.read_table(path)), path)


def column(name: str, values: Callable[[np.ndarray], Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        return table.set_column(place, name, [pa.array(values(table[name].to_numpy()))])

    return change


RANKS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "half of the rows": (lambda table: table.slice(0, USERS), "not numbered from 0 on"),
    "a row twice": (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "checkpoints are of different samples"),
    "a label": (column("label", lambda label: label * 2), "labels are not 0 and 1"),
    "users": (column("user", lambda user: user + 1), "not numbered from 0 on"),
    "far users": (column("user", lambda user: user * 1_000_000), "not numbered from 0 on"),
    "parts of users": (column("user", lambda user: user / 2), "no whole numbers"),
    "empty cells": (column("rank", lambda rank: [None, *rank[1:].tolist()]), "empty cells"),
    "text": (column("rank", lambda rank: rank.astype(str)), "no whole numbers"),
    "checkpoint": (
        lambda table: table.filter(pa.compute.field("checkpoint") != "reported"),
        "no ranks of the reported",
    ),
    "a column": (lambda table: table.drop_columns(["user"]), "lacks the column 'user'"),
    "no seed": (lambda table: table.drop_columns(["seed"]), "cannot be read"),
}


@pytest.mark.parametrize("what", RANKS)
def test_ranks_that_are_none(tmp_path: Path, what: str) -> None:
    make_run(tmp_path / "out")
    board = written(tmp_path / "out", tmp_path / "board")
    change, message = RANKS[what]
    if what == "text":
        changed(board, "predictions", column("rank", lambda rank: ["x"] * len(rank)))
    else:
        changed(board, "predictions", change)
    (record,) = read_board(board)
    with pytest.raises(UserError, match=rf"predictions.dien\.parquet.*({message})"):
        scores_of(record)


def test_curves_that_are_none(tmp_path: Path) -> None:
    make_run(tmp_path / "out")
    board = written(tmp_path / "out", tmp_path / "board")
    (record,) = read_board(board)
    changed(board, "curves", column("step", lambda step: step * 0 + 20))
    with pytest.raises(UserError, match=r"curves.dien\.parquet \(official, seed 0\), line 3: step 20 follows 20"):
        curves_of(record).curve("loss")
    changed(board, "curves", column("loss", lambda loss: ["x"] * len(loss)))
    with pytest.raises(UserError, match="its column 'loss' has no numbers"):
        curves_of(record)
    changed(board, "curves", lambda table: table.slice(0, 0))
    with pytest.raises(UserError, match=r"curves.dien\.parquet has no curves of .*dien-official, seed-0"):
        curves_of(record)


@pytest.mark.parametrize("kind", ["curves", "predictions"])
def test_a_damaged_file_is_named(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "out")
    board = written(tmp_path / "out", tmp_path / "board")
    (record,), read = read_board(board), {"curves": curves_of, "predictions": scores_of}[kind]
    read(record)
    monkeypatch.setattr(results, "MOST_ROWS", 30)
    with pytest.raises(UserError, match=rf"{kind}.dien\.parquet.* rows, expected at most 30"):
        read(record)
    (path,) = board.rglob(f"{kind}/dien.parquet")
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=rf"{kind}.dien\.parquet cannot be read"):
        read(record)


def test_a_line_lies_where_its_fields_put_it(tmp_path: Path) -> None:
    make_run(tmp_path / "out")
    board = written(tmp_path / "out", tmp_path / "board")
    folder = results_folder(board, "sports", "arxiv-v1")
    folder.rename(folder.with_name("clean"))
    with pytest.raises(
        UserError, match=r"runs\.jsonl, line 1: the field 'protocol' says 'arxiv-v1', but its folder says"
    ):
        read_board(board)
    assert read_records(board / "results", protocol="arxiv-v1") == []  # what is filtered out is not opened


def test_records_are_filtered_as_in_a_folder_of_runs(out: Path, tmp_path: Path) -> None:
    board = written(out, tmp_path / "board")
    assert [r.seed for r in read_records(board, model="dien", variant="official")] == [0, 2, 10]
    assert [r.variant for r in read_records(board, model="dien", variant="paper")] == ["paper"]
    assert read_records(board, dataset="beauty") == []
    both = read_records(tmp_path)
    assert len(both) == 20
    assert {r.path.name for r in both} == {"record.json", "runs.jsonl"}
    folder = run_folder(out, "sports", "arxiv-v1", "dien", "official", 0)
    assert next(r.place for r in both) == str(results_folder(board, "sports", "arxiv-v1")) + ", dien-official, seed-0"
    assert str(folder) in {r.place for r in both}
