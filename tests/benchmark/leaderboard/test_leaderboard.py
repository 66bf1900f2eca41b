"""The committed board: its pages are what its records say, and its ranks bear out its AUC."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import rankdata
from typer.testing import CliRunner

from benchmark.analysis.probes import CATALOGUE_RULE, FITTED, Probe, Probes, read_probes
from benchmark.cli.app import app
from benchmark.leaderboard.build import build
from benchmark.leaderboard.store import GALLERY, GENERATED, STAGED, add_runs, check_tables, remove_gone, verify
from benchmark.records import frames
from benchmark.records.record import read_records
from benchmark.records.results import curves_of, read_board, reading_once, scores_of
from benchmark.report.probe_tables import write_probes
from datamodules.errors import UserError
from tests.benchmark.boards import BOARD, committed, export, make_board

ONE = Path("sports", "arxiv-v1", "dien-official", "seed-0")


@pytest.mark.slow
@pytest.mark.timeout(600)  # it grows with the board
def test_pages_are_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text byte for byte; figures by name: the bytes of an SVG are matplotlib's, and half the time of a build."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"<svg/>"))
    board = tmp_path / "leaderboards"
    for name in ("results", "probes"):
        shutil.copytree(BOARD / name, board / name)
    (board / GALLERY).mkdir()
    for path in (BOARD / "table1.csv", *BOARD.glob("study*.md"), *(BOARD / GALLERY).glob("figure3-*.json")):
        shutil.copyfile(path, board / path.relative_to(BOARD))
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
    found = (path for folder in (BOARD, BOARD / GALLERY) for pattern in GENERATED for path in folder.glob(pattern))
    assert {path.name for path in found} <= generated, "run make leaderboard"


def test_a_board_of_ones_own_leaves_the_readme_beside_it(tmp_path: Path) -> None:
    for model in ("base-model", "dien"):
        row = Path("tafeng", "arxiv-v1", f"{model}-official", "seed-0")
        export(row, tmp_path / "runs" / row)
    for name in ("mine", "leaderboards"):
        make_board(tmp_path / "runs", tmp_path / name)
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


def by_rank_sum(label: Any, score: Any) -> float:
    """The AUC as Mann and Whitney's U over the number of pairs; scikit-learn takes ten times as long."""
    positives = int(label.sum())
    above: float = rankdata(score)[label == 1].sum() - positives * (positives + 1) / 2
    return above / (positives * (len(label) - positives))


@pytest.mark.slow
def test_ranks_give_the_auc_of_the_record() -> None:
    records = read_board(BOARD)
    assert records
    with reading_once():
        for record in records:
            scores = scores_of(record)
            assert scores is not None
            found = {id(one): by_rank_sum(one.label, one.score) for one in {*scores} - {None}}
            for checkpoint, auc in zip(scores, (record.reported_auc, record.auc.last, record.auc.test), strict=True):
                if checkpoint is None:  # the best on test is the reported one
                    assert record.auc.test == record.reported_auc
                else:
                    assert found[id(checkpoint)] == pytest.approx(auc, abs=1e-6)
        assert verify(BOARD) == (len(records), [])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder made of a committed record: its ranks serve as predictions."""
    return export(ONE, tmp_path / "runs" / ONE)


def places(board: Path) -> list[str]:
    """The runs on a board."""
    return [f"{r.dataset}/{r.protocol}/{r.model}-{r.variant}/seed-{r.seed}" for r in read_board(board)]


def test_a_run_comes_with_its_ranks_and_without_its_predictions(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    assert add_runs(tmp_path / "runs", board) == (1, 0)
    folder = board / "results" / ONE.parents[1]
    files = [folder / name for name in ("curves/dien.parquet", "predictions/dien.parquet", "runs.jsonl")]
    assert sorted(path for path in board.rglob("*") if path.is_file()) == files
    (record,), expected = read_board(board), committed()[ONE]
    assert [record] == read_records(tmp_path / "runs")
    assert curves_of(record).columns == curves_of(expected).columns
    for found, wanted in zip(scores_of(record) or (), scores_of(expected) or (), strict=True):
        assert (found is None) is (wanted is None)
        for name in ("negative", "positive"):
            np.testing.assert_array_equal(getattr(found, name, None), getattr(wanted, name, None))
    assert add_runs(tmp_path / "runs", board) == (0, 1)
    files[1].unlink()
    assert verify(board) == (0, [record.place])
    assert add_runs(tmp_path / "runs", board) == (0, 1)
    assert verify(board) == (1, [])


def test_a_folder_that_is_no_board_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"leaderbords.results holds no record, expected a board"):
        verify(tmp_path / "leaderbords")


def test_another_run_in_the_place_of_one_is_refused(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    add_runs(tmp_path / "runs", board)
    before = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    change(run, 0, train_seconds=1.5)
    with pytest.raises(UserError, match=r"arxiv-v1, dien-official, seed-0: the board holds another run than .*seed-0"):
        add_runs(tmp_path / "runs", board)
    assert before == {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}


def test_replace_lets_all_seeds_of_a_row_give_way_and_no_other_row(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    change(run, 1)
    other_row(run, "base-model")
    add_runs(tmp_path / "runs", board)
    shutil.rmtree(run.with_name("seed-1"))
    shutil.rmtree(run.parent.with_name("base-model-official"))
    change(run, 0, train_seconds=1.5)
    assert add_runs(tmp_path / "runs", board, replace=True) == (1, 0)
    seconds = {place: record.train_seconds for place, record in zip(places(board), read_board(board), strict=True)}
    assert sorted(seconds) == [str(ONE).replace("dien", "base-model"), str(ONE)]
    assert seconds[str(ONE)] == 1.5
    assert verify(board) == (2, [])


def test_the_runs_of_a_board_enter_another_one(run: Path, tmp_path: Path) -> None:
    other_row(run, "base-model")
    add_runs(tmp_path / "runs", tmp_path / "first")
    assert add_runs(tmp_path / "first", tmp_path / "second") == (2, 0)
    first, second = (
        {path.relative_to(board): path.read_bytes() for path in (board / "results").rglob("*.*")}
        for board in (tmp_path / "first", tmp_path / "second")
    )
    assert first == second


def test_the_order_in_which_runs_come_does_not_matter(run: Path, tmp_path: Path) -> None:
    other_row(run, "base-model")
    change(run, 1)
    add_runs(tmp_path / "runs", tmp_path / "at once")
    shutil.move(run.with_name("seed-1"), tmp_path / "later" / ONE.with_name("seed-1"))
    for runs in (tmp_path / "runs", tmp_path / "later"):
        add_runs(runs, tmp_path / "one by one")
    one, other = (
        {path.relative_to(board): path.read_bytes() for path in (board / "results").rglob("*.*")}
        for board in (tmp_path / "at once", tmp_path / "one by one")
    )
    assert one == other


def test_a_run_that_claims_too_much_is_refused(run: Path, tmp_path: Path) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    predictions.assign(score=1 - predictions.score).to_parquet(run / "predictions.parquet")
    with pytest.raises(UserError, match="claimed"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    (run / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks predictions.parquet"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    assert not (tmp_path / "board" / "results").exists()


def change(folder: Path, seed: int, **fields: object) -> Path:
    """Copy a run folder to that of another seed, some fields of its record changed."""
    target = folder.with_name(f"seed-{seed}")
    if target != folder:
        shutil.copytree(folder, target)
    record = json.loads((target / "record.json").read_text()) | {"seed": seed, **fields}
    (target / "record.json").write_text(json.dumps(record))
    return target


def test_an_auc_best_on_validation_users_that_there_are_none_of_is_refused(run: Path, tmp_path: Path) -> None:
    auc = json.loads((run / "record.json").read_text())["auc"]
    change(run, 0, auc=auc | {"validation": 0.99})
    with pytest.raises(UserError, match=r"curves give as AUC best on validation users none, claimed is 0\.99"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    with pytest.raises(UserError, match=r"claimed is 0\.99"):
        verify(make_board(tmp_path / "runs", tmp_path / "board"))


def test_curves_of_another_run_are_refused(run: Path, tmp_path: Path) -> None:
    other = export(ONE.with_name("seed-1"), tmp_path / "other")
    shutil.copyfile(other / "metrics.csv", run / "metrics.csv")
    with pytest.raises(UserError, match=r"seed-0: its curves give as AUC of the last step 0\.\d+, claimed is 0\.\d+"):
        add_runs(tmp_path / "runs", tmp_path / "board")


@pytest.mark.parametrize("fields", [{"best_step": 100}, {"best_step": 101}, {"steps": 8000}])
def test_steps_that_the_curves_do_not_bear_out_are_refused(run: Path, tmp_path: Path, fields: dict[str, int]) -> None:
    change(run, 0, **fields)
    with pytest.raises(UserError, match="its curves give as"):
        add_runs(tmp_path / "runs", tmp_path / "board")


def test_a_row_counts_with_all_of_its_seeds(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    change(run, 3)
    with pytest.raises(UserError, match="has the seeds 0, 3 and lacks 1, 2, expected all from 0 on"):
        add_runs(tmp_path / "runs", board)
    assert not (board / "results").exists()
    shutil.move(run.with_name("seed-3"), run.with_name("seed-1"))
    change(run.with_name("seed-1"), 1)
    assert add_runs(tmp_path / "runs", board) == (2, 0)
    shutil.rmtree(run)  # the board has seeds 0 and 1: a folder with the next one alone completes them
    change(run.with_name("seed-1"), 2)
    assert add_runs(tmp_path / "runs", board) == (1, 1)


@pytest.mark.parametrize(
    ("seed", "change_to", "says"),
    [
        (0, None, "has the seeds 1 and lacks 0"),
        (1, {"data_sha256": "0" * 64}, "is not the same data"),
        (1, {"settings": {"batch_size": 64}}, "was run with batch_size = 64"),
        (0, {"protocol_hash": "0" * 64}, "was run under arxiv-v1 of hash 0000"),
    ],
)
def test_a_board_that_was_edited_is_not_verified(
    run: Path, tmp_path: Path, seed: int, change_to: dict[str, Any] | None, says: str
) -> None:
    """As `add` would refuse the runs: a pull request brings the board itself."""
    export(ONE.with_name("seed-1"), tmp_path / "runs" / ONE.with_name("seed-1"))
    add_runs(tmp_path / "runs", tmp_path / "board")
    path = tmp_path / "board" / "results" / ONE.parents[1] / "runs.jsonl"
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if change_to is None:
        records = [record for record in records if record["seed"] != seed]
    else:
        of_run = next(record for record in records if record["seed"] == seed)
        of_run |= {key: of_run[key] | new if isinstance(new, dict) else new for key, new in change_to.items()}
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    with pytest.raises(UserError, match=says):
        verify(tmp_path / "board")


def test_other_samples_under_the_same_name_are_refused(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    change(run, 1, data_sha256="0" * 64)
    with pytest.raises(UserError, match=r"seed-1 was run on samples 00000000.*sports is not the same data"):
        add_runs(tmp_path / "runs", board)
    change(run, 0, data_sha256="0" * 64)
    change(export(ONE, tmp_path / "others" / ONE.with_name("seed-9")), 9)
    make_board(tmp_path / "others", board)
    with pytest.raises(UserError, match="not the same data"):
        add_runs(tmp_path / "runs", board)
    assert places(board) == [str(ONE.with_name("seed-9"))]


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
    assert not (board / "results").exists()
    shutil.rmtree(added)
    add_runs(tmp_path / "runs", board)  # beside a row that is there already, likewise
    other_row(run, "din", settings=settings | {"steps": 80})
    shutil.rmtree(run)
    with pytest.raises(UserError, match="cannot stand in one table"):
        add_runs(tmp_path / "runs", board)
    assert verify(board) == (1, [])
    assert [path.name for path in board.iterdir()] == ["results"]
    build(board)


def test_the_committed_rows_stand_in_tables() -> None:
    check_tables(read_board(BOARD), [])


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
    with pytest.raises(
        UserError, match=r"predictions for [\d,]+ samples of [\d,]+ test users, other runs of sports for [\d,]+"
    ):
        add_runs(tmp_path / "runs", tmp_path / "board")


def test_ranks_that_come_later_are_of_the_samples_of_the_board(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    other_row(run, "din")
    add_runs(tmp_path / "runs", board)
    (board / "results" / ONE.parents[1] / "predictions" / "dien.parquet").unlink()
    both = pd.read_parquet(run / "predictions.parquet")
    pd.concat([both, both.assign(user=both.user + len(both))]).to_parquet(
        run / "predictions.parquet"
    )  # of the same AUC
    with pytest.raises(UserError, match=r"predictions for [\d,]+ samples of [\d,]+ test users, other runs of sports"):
        add_runs(tmp_path / "runs", board)


def test_what_a_killed_command_was_staging_counts_for_nothing(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    add_runs(tmp_path / "runs", board)
    shutil.copytree(board / "results", board / STAGED / "results")
    assert len(read_records(board)) == len(frames.records(board)) == 1


def test_a_row_with_a_failed_seed_enters_and_says_so(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    none = {"last": None, "validation": None, "test": None}
    failed = {"status": "failed", "auc": none, "logloss": None, "best_step": None, "reason": "the loss is nan"}
    seed = change(run, 1, **failed)
    for name in ("metrics.csv", "predictions.parquet"):
        (seed / name).unlink()
    other_row(run, "base-model")
    assert add_runs(tmp_path / "runs", board) == (3, 0)
    assert str(ONE.with_name("seed-1")) in places(board)
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


def test_probes_of_other_samples_than_the_runs_are_on_no_page(run: Path, tmp_path: Path) -> None:
    board, name = tmp_path / "board", "probes-sports-arxiv-v1.json"
    other_row(run, "base-model")
    add_runs(tmp_path / "runs", board)
    for page in ("study.md", "study-details.md"):
        shutil.copyfile(BOARD / page, board / page)
    pages = [Path("README.md"), Path("study.md"), Path("study-details.md"), Path("site", "index.html")]
    shown = {}
    for samples in (committed()[ONE].data_sha256, "0" * 64):
        probes = json.loads((BOARD / "probes" / name).read_text("utf-8")) | {"data_sha256": samples}
        rule = next(probe for probe in probes["probes"] if probe["name"] == CATALOGUE_RULE)
        rule |= {"auc": 0.987, "low": 0.98, "high": 0.99}
        (board / "probes").mkdir(exist_ok=True)
        (board / "probes" / name).write_text(json.dumps(probes), encoding="utf-8")
        build(board)
        shown[samples] = [page for page in pages if "0.987" in (board / page).read_text("utf-8")]
    assert [*shown.values()] == [pages, []]
    shutil.move(board / "probes" / name, board / "probes" / "probes-sports-clean.json")
    with pytest.raises(UserError, match=r"probes-sports-clean\.json cannot be read \(it is of sports under arxiv-v1\)"):
        build(board)


def test_files_of_rows_that_are_gone_go_too(tmp_path: Path) -> None:
    board = tmp_path / "board"
    for protocol in ("arxiv-v1", "clean"):
        for model in ("base-model", "dien"):
            row = Path("sports", protocol, f"{model}-official", "seed-0")
            export(row, tmp_path / "runs" / row)
    make_board(tmp_path / "runs", board)
    (board / "mine.md").write_text("my own")
    invoke = ["leaderboard", "build", "--board", str(board), "--json"]
    before = set(json.loads(CliRunner().invoke(app, invoke).stdout)["files"])
    shutil.rmtree(board / "results" / "sports" / "clean")
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
    (board / "results" / ONE.parents[1] / "predictions" / "dien.parquet").unlink()
    said = CliRunner().invoke(app, ["leaderboard", "verify", "--board", str(board)])
    assert "no predictions, its metrics cannot be recomputed" in said.output.replace("\n", " ")
    assert "0 runs give the metrics of their records, 1 have no predictions" in said.output


def claiming(tmp_path: Path, **claims: object) -> Path:
    """A board of one run whose record claims another AUC than its ranks give."""
    folder = export(ONE, tmp_path / "runs" / ONE)
    auc = json.loads((folder / "record.json").read_text())["auc"]
    fields = {name: value for name, value in claims.items() if name not in auc}
    change(folder, 0, auc=auc | {name: value for name, value in claims.items() if name in auc}, **fields)
    return make_board(tmp_path / "runs", tmp_path / "board")


@pytest.mark.parametrize("name", ["last", "test"])
def test_each_claimed_auc_is_verified(tmp_path: Path, name: str) -> None:
    auc = getattr(committed()[ONE].auc, name)
    assert verify(claiming(tmp_path / "as it is")) == (1, [])
    checkpoint = "last" if name == "last" else "reported"
    with pytest.raises(UserError, match=f"the predictions of the {checkpoint} checkpoint give AUC"):
        verify(claiming(tmp_path / "too much", **{name: auc + 2e-6}))


def test_the_best_on_test_is_verified_where_another_checkpoint_is_reported(tmp_path: Path) -> None:
    auc = committed()[ONE].auc.test
    assert auc is not None
    with pytest.raises(UserError, match="the best on test checkpoint give AUC"):
        verify(claiming(tmp_path, selection="validation", validation=auc, test=auc + 2e-6))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"])
def test_a_damaged_record_on_the_board(tmp_path: Path, content: bytes) -> None:
    (path,) = claiming(tmp_path).rglob("runs.jsonl")
    sound = path.read_bytes()
    path.write_bytes(sound + content + b"\n")
    with pytest.raises(UserError, match=r"runs\.jsonl.*Delete that run, its folder or its line"):
        build(tmp_path / "board")
    path.write_bytes(sound + sound)
    with pytest.raises(UserError, match=r"runs\.jsonl, line 2 is a second line of dien-official, seed 0"):
        build(tmp_path / "board")
