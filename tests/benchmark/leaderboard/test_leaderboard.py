"""The committed board: its pages are what its records say, and its ranks bear out its AUC."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from benchmark.analysis.probes import FITTED, Probe, Probes, read_probes
from benchmark.cli.app import app
from benchmark.leaderboard.build import build
from benchmark.leaderboard.store import GENERATED, add_runs, check_tables, remove_gone, verify
from benchmark.records.predictions import read_scores
from benchmark.records.record import read_records
from benchmark.report.probe_tables import write_probes
from datamodules.errors import UserError

BOARD = Path(__file__).parents[3] / "leaderboards"
ONE = Path("sports", "arxiv-v1", "dien-official", "seed-0")


@pytest.mark.timeout(600)  # it grows with the board
def test_pages_are_not_stale(tmp_path: Path) -> None:
    board = tmp_path / "leaderboards"
    for name in ("records", "probes"):
        shutil.copytree(BOARD / name, board / name)
    for path in (BOARD / "table1.csv", *BOARD.glob("study*"), *BOARD.glob("figure3-*.json")):
        shutil.copyfile(path, board / path.name)
    shutil.copyfile(BOARD.parent / "README.md", tmp_path / "README.md")
    shutil.copytree(BOARD.parent / "docs", tmp_path / "docs")
    written = build(board)
    assert {"claims.md", "README.md", "table4-arxiv-v1-official.csv", "index.html"} <= {path.name for path in written}
    for page in (tmp_path / "README.md", *(tmp_path / "docs").glob("*.md")):
        committed = BOARD.parent / page.relative_to(tmp_path)
        assert page.read_text("utf-8") == committed.read_text("utf-8"), f"{committed}: run make leaderboard"
    for path in written:
        if path.suffix not in (".png", ".svg"):
            committed = BOARD / path.relative_to(board)
            assert path.read_bytes() == committed.read_bytes(), f"{committed}: run make leaderboard"
    generated = {path.name for path in written}
    assert {path.name for pattern in GENERATED for path in BOARD.glob(pattern)} <= generated, "run make leaderboard"


def test_a_board_of_ones_own_leaves_the_readme_beside_it(tmp_path: Path) -> None:
    for model in ("base-model", "dien"):
        row = Path("records", "tafeng", "arxiv-v1", f"{model}-official", "seed-0")
        shutil.copytree(BOARD / row, tmp_path / "mine" / row)
        shutil.copytree(BOARD / row, tmp_path / "leaderboards" / row)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- table 4 of leaderboards -->\nas it was\n<!-- /table 4 of leaderboards -->\n")
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    shutil.copyfile(readme, page)
    build(tmp_path / "mine")
    assert "as it was" in readme.read_text()
    build(tmp_path / "leaderboards")
    for filled in (readme, page):
        assert "| DIEN |" in filled.read_text()
        assert "as it was" not in filled.read_text()


def test_ranks_give_the_auc_of_the_record() -> None:
    records = read_records(BOARD / "records")
    assert records
    for record in records:
        scores = read_scores(record.path.parent)
        assert scores is not None
        for checkpoint, auc in zip(scores, (record.reported_auc, record.auc.last, record.auc.test), strict=True):
            if checkpoint is None:  # the best on test is the reported one
                assert record.auc.test == record.reported_auc
                continue
            label = np.repeat([0, 1], len(checkpoint))
            ranks = np.concatenate([checkpoint.negative, checkpoint.positive])
            assert roc_auc_score(label, ranks) == pytest.approx(auc, abs=1e-6)
    assert verify(BOARD) == (len(records), [])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder made of a committed record: its ranks serve as predictions."""
    folder = tmp_path / "runs" / ONE
    shutil.copytree(BOARD / "records" / ONE, folder)
    scores = read_scores(folder)
    assert scores is not None
    columns = {
        name: np.stack([c.negative, c.positive], axis=1).ravel() / 1e4
        for name, c in zip(("score", "score_last"), scores[:2], strict=True)
    }
    pd.DataFrame({"user": 0, "label": np.tile([0, 1], len(scores.last)), **columns}).to_parquet(
        folder / "predictions.parquet"
    )
    (folder / "ranks.parquet").unlink()
    return folder


def test_a_run_comes_with_its_ranks_and_without_its_predictions(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    assert add_runs(tmp_path / "runs", board) == (1, 0)
    target = board / "records" / ONE
    assert sorted(path.name for path in target.iterdir()) == ["metrics.csv", "ranks.parquet", "record.json"]
    assert (target / "ranks.parquet").read_bytes() == (BOARD / "records" / ONE / "ranks.parquet").read_bytes()
    assert add_runs(tmp_path / "runs", board) == (0, 1)
    (target / "ranks.parquet").unlink()
    assert verify(board) == (0, [target])
    assert add_runs(tmp_path / "runs", board) == (0, 1)
    assert verify(board) == (1, [])


def test_predictions_on_the_board_become_ranks(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    shutil.copytree(tmp_path / "runs", board / "records")
    assert add_runs(board / "records", board) == (0, 1)
    assert sorted(path.name for path in (board / "records" / ONE).iterdir()) == [
        "metrics.csv",
        "ranks.parquet",
        "record.json",
    ]


def test_a_run_that_claims_too_much_is_refused(run: Path, tmp_path: Path) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    predictions.assign(score=1 - predictions.score).to_parquet(run / "predictions.parquet")
    with pytest.raises(UserError, match="claimed"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    (run / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks predictions.parquet"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    assert not (tmp_path / "board" / "records").exists()


def change(folder: Path, seed: int, **fields: object) -> Path:
    """Copy a run folder to that of another seed, some fields of its record changed."""
    target = folder.with_name(f"seed-{seed}")
    if target != folder:
        shutil.copytree(folder, target)
    record = json.loads((target / "record.json").read_text()) | {"seed": seed, **fields}
    (target / "record.json").write_text(json.dumps(record))
    return target


def test_a_row_counts_with_all_of_its_seeds(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    change(run, 3)
    with pytest.raises(UserError, match="has the seeds 0, 3 and lacks 1, 2, expected all from 0 on"):
        add_runs(tmp_path / "runs", board)
    assert not (board / "records").exists()
    shutil.move(run.with_name("seed-3"), run.with_name("seed-1"))
    change(run.with_name("seed-1"), 1)
    assert add_runs(tmp_path / "runs", board) == (2, 0)
    shutil.rmtree(run)  # the board has seeds 0 and 1: a folder with the next one alone completes them
    change(run.with_name("seed-1"), 2)
    assert add_runs(tmp_path / "runs", board) == (1, 1)


def test_other_samples_under_the_same_name_are_refused(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    change(run, 1, data_sha256="0" * 64)
    with pytest.raises(UserError, match=r"seed-1 was run on samples 00000000.*sports is not the same data"):
        add_runs(tmp_path / "runs", board)
    change(run, 0, data_sha256="0" * 64)
    shutil.copytree(BOARD / "records" / ONE, board / "records" / ONE.with_name("seed-9"))
    change(board / "records" / ONE.with_name("seed-9"), 9)
    with pytest.raises(UserError, match="not the same data"):
        add_runs(tmp_path / "runs", board)
    assert len(list(board.rglob("record.json"))) == 1


def test_the_seeds_of_a_row_share_their_settings(run: Path, tmp_path: Path) -> None:
    settings = json.loads((run / "record.json").read_text())["settings"]
    change(run, 1, settings=settings | {"learning_rate": 0.5})
    with pytest.raises(UserError, match=r"seed-1 was run with learning_rate = 0.5, but .*seed-0 with 0.001"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    change(run.with_name("seed-1"), 1, settings=settings | {"steps_by_default": False})
    assert add_runs(tmp_path / "runs", tmp_path / "board") == (2, 0)


def other_row(run: Path, model: str, **fields: object) -> Path:
    """Copy a run folder to that of another model."""
    target = Path(str(run).replace("dien-official", f"{model}-official"))
    shutil.copytree(run, target)
    record = json.loads((target / "record.json").read_text()) | {"model": model, **fields}
    (target / "record.json").write_text(json.dumps(record))
    return target


def test_what_add_takes_build_builds(run: Path, tmp_path: Path) -> None:
    board, settings = tmp_path / "board", json.loads((run / "record.json").read_text())["settings"]
    added = other_row(run, "din", settings=settings | {"steps": 80})
    with pytest.raises(UserError, match=r"cannot stand in one table: steps is \d+ in .* and \d+ in"):
        add_runs(tmp_path / "runs", board)
    assert not (board / "records").exists()
    shutil.rmtree(added)
    add_runs(tmp_path / "runs", board)  # beside a row that is there already, likewise
    other_row(run, "din", settings=settings | {"steps": 80})
    shutil.rmtree(run)
    with pytest.raises(UserError, match="cannot stand in one table"):
        add_runs(tmp_path / "runs", board)
    assert verify(board) == (1, [])
    assert [path.name for path in board.iterdir()] == ["records"]
    build(board)


def test_the_committed_rows_stand_in_tables() -> None:
    check_tables(read_records(BOARD / "records"), [])


def test_another_selection_than_the_protocols_is_refused(run: Path, tmp_path: Path) -> None:
    change(run, 0, selection="last")
    with pytest.raises(UserError, match="reports the selection last, expected test"):
        add_runs(tmp_path / "runs", tmp_path / "board")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.csv", None, "lacks metrics.csv"),
        ("metrics.csv", "step,loss\n20,0.5\n", "lacks the column test_auc"),
        ("metrics.csv", "step,loss,test_auc\n20,x,0.5\n", "expected a number"),
    ],
)
def test_curves_that_build_would_refuse(
    run: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    with pytest.raises(UserError, match=message):
        add_runs(tmp_path / "runs", tmp_path / "board")


def test_predictions_of_other_users_are_refused(run: Path, tmp_path: Path) -> None:
    change(run, 1)
    both = pd.read_parquet(run / "predictions.parquet")
    pd.concat([both, both]).to_parquet(run.with_name("seed-1") / "predictions.parquet")  # of the same AUC
    with pytest.raises(UserError, match=r"has predictions for \d+ test users, other runs of sports for \d+, exp"):
        add_runs(tmp_path / "runs", tmp_path / "board")


def test_a_row_with_a_failed_seed_enters_and_says_so(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    none = {"last": None, "validation": None, "test": None}
    failed = {"status": "failed", "auc": none, "logloss": None, "best_step": None, "reason": "the loss is nan"}
    seed = change(run, 1, **failed)
    for name in ("metrics.csv", "predictions.parquet"):
        (seed / name).unlink()
    other_row(run, "base-model")
    assert add_runs(tmp_path / "runs", board) == (3, 0)
    assert [path.name for path in (board / "records" / ONE).with_name("seed-1").iterdir()] == ["record.json"]
    assert verify(board) == (2, [])
    build(board)
    shown = (board / "table4-arxiv-v1-official.md").read_text("utf-8")
    assert "(1 of 2, 1 failed)" in shown
    assert "Failed: DIEN, seed 1: the loss is nan." in shown
    assert add_runs(tmp_path / "runs", board) == (0, 3)


def probes_of(run: Path, auc: float) -> Probes:
    record = json.loads((run / "record.json").read_text())
    probes = (Probe(FITTED, "fitted", 8, auc, 0.5, 0.9), Probe("popularity", "popular", 0, auc, 0.5, 0.9))
    return Probes("sports", "arxiv-v1", record["protocol_hash"], record["data_sha256"], 3560, probes)


def test_probes_come_along_unless_the_board_has_some(run: Path, tmp_path: Path) -> None:
    board, name = tmp_path / "board", "probes-sports-arxiv-v1.json"
    write_probes(replace(probes_of(run, 0.6), data_sha256="0" * 64), tmp_path / "runs")
    add_runs(tmp_path / "runs", board)
    assert not (board / "probes").exists()  # of other samples
    write_probes(probes_of(run, 0.7), tmp_path / "runs")
    add_runs(tmp_path / "runs", board)
    assert read_probes([board / "probes"], "sports", "arxiv-v1") == probes_of(run, 0.7)
    assert {path.name for path in (board / "probes").iterdir()} == {name, "probes-sports-arxiv-v1.md"}
    write_probes(probes_of(run, 0.8), tmp_path / "runs")
    add_runs(tmp_path / "runs", board)
    assert read_probes([board / "probes"], "sports", "arxiv-v1") == probes_of(run, 0.7)
    (tmp_path / "runs" / name).write_text("{")
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        add_runs(tmp_path / "runs", board)


def test_files_of_rows_that_are_gone_go_too(tmp_path: Path) -> None:
    board = tmp_path / "board"
    for protocol in ("arxiv-v1", "clean"):
        for model in ("base-model", "dien"):
            row = Path("records", "sports", protocol, f"{model}-official", "seed-0")
            shutil.copytree(BOARD / row, board / row)
    (board / "mine.md").write_text("my own")
    invoke = ["leaderboard", "build", "--board", str(board), "--json"]
    before = set(json.loads(CliRunner().invoke(app, invoke).stdout)["files"])
    shutil.rmtree(board / "records" / "sports" / "clean")
    made = json.loads(CliRunner().invoke(app, invoke).stdout)
    assert set(made["removed"]) == before - set(made["files"])
    assert made["removed"]
    assert all("clean" in Path(path).name and not Path(path).exists() for path in made["removed"])
    assert (board / "mine.md").exists()
    assert all(Path(path).exists() for path in made["files"])
    assert remove_gone(board, map(Path, made["files"])) == []


def test_another_protocol_of_the_same_name_is_refused(run: Path, tmp_path: Path) -> None:
    change(run, 0, protocol_hash="00000000")
    with pytest.raises(UserError, match="was run under arxiv-v1 of hash 00000000, here is hash"):
        add_runs(tmp_path / "runs", tmp_path / "board")


def test_the_commands(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    said = CliRunner().invoke(app, ["leaderboard", "add", str(tmp_path / "runs"), "--board", str(board)])
    assert (said.exit_code, said.output.startswith("1 runs added, 0 were there already")) == (0, True)
    (board / "records" / ONE / "ranks.parquet").unlink()
    said = CliRunner().invoke(app, ["leaderboard", "verify", "--board", str(board)])
    assert "no predictions, its AUC cannot be recomputed" in said.output.replace("\n", " ")
    assert "0 runs give the AUC of their records, 1 have no predictions" in said.output


def test_a_record_that_claims_too_much_does_not_verify(tmp_path: Path) -> None:
    shutil.copytree(BOARD / "records" / ONE, tmp_path / "records" / ONE)
    path = tmp_path / "records" / ONE / "record.json"
    record = json.loads(path.read_text())
    record["auc"]["last"] += 2e-6
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="the predictions of the last checkpoint give AUC"):
        verify(tmp_path)


def copied(tmp_path: Path) -> Path:
    """A board of one run."""
    shutil.copytree(BOARD / "records" / ONE, tmp_path / "records" / ONE)
    return tmp_path / "records" / ONE


@pytest.mark.parametrize("name", ["last", "test"])
def test_each_claimed_auc_is_verified(tmp_path: Path, name: str) -> None:
    path = copied(tmp_path) / "record.json"
    record = json.loads(path.read_text())
    assert verify(tmp_path) == (1, [])
    record["auc"][name] += 2e-6
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="checkpoint give AUC"):
        verify(tmp_path)


def test_the_best_on_test_is_verified_where_another_checkpoint_is_reported(tmp_path: Path) -> None:
    path = copied(tmp_path) / "record.json"
    record = json.loads(path.read_text()) | {"selection": "validation"}
    record["auc"] |= {"validation": record["auc"]["test"], "test": record["auc"]["test"] + 2e-6}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="the best on test checkpoint give AUC"):
        verify(tmp_path)


def test_ranks_of_nobody_bear_nothing_out(tmp_path: Path) -> None:
    path = copied(tmp_path) / "ranks.parquet"
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    with pytest.raises(UserError, match="it has 0 rows"):
        verify(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"])
def test_a_damaged_record_on_the_board(tmp_path: Path, content: bytes) -> None:
    path = copied(tmp_path) / "record.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record\.json .*Delete that run's folder"):
        build(tmp_path)
