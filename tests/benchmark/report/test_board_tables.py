"""Protocols side by side from CSV tables: cells worked by hand, marks, what is missing, and no library of numbers."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.report.board_tables import side_by_side
from datamodules.errors import UserError

ROOT = Path(__file__).parents[3]
BOARD = ROOT / "leaderboards"
COLUMNS = (
    "dataset",
    "protocol",
    "variant",
    "model",
    "seeds",
    "auc_mean",
    "auc_std",
    "p_din",
    "p_row_above",
    "probe_auc",
)


def write(board: Path, protocol: str, *lines: tuple[str, ...]) -> None:
    with (board / f"table2-{protocol}-official.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((dataset, protocol, "official", *rest) for dataset, *rest in lines)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    write(
        tmp_path,
        "clean",
        ("sports", "base-model", "5", "0.72", "0.01", "0.001", "", "0.55"),
        ("sports", "din", "5", "0.74", "0.02", "", "0.049", "0.55"),
        ("sports", "dien", "5", "0.7449", "0.03", "0.051", "0.051", "0.55"),
        ("sports", "mine", "1", "0.7", "", "", "", "0.55"),
    )
    write(
        tmp_path,
        "arxiv-v1",
        ("sports", "pnn", "0", "", "", "", "", "0.91"),
        ("sports", "din", "5", "0.87", "0.02", "", "0.01", "0.91"),
        ("sports", "dien", "5", "0.91", "0.03", "0.0001", "0.0001", "0.91"),
        ("tafeng", "dien", "2", "0.93", "0.01", "", "", ""),
    )
    return tmp_path


def test_cells_marks_and_the_lead_over_din(board: Path) -> None:
    sports, tafeng = side_by_side(board, ["clean", "arxiv-v1"], "official").sections
    assert sports.header == ("model", "clean", "arxiv-v1")
    assert sports.rows == (
        ("BaseModel", "0.7200 ± 0.0100 (5)", ""),
        ("DIN", "0.7400 ± 0.0200 (5) ≠", "0.8700 ± 0.0200 (5) ≠"),
        ("DIEN", "0.7449 ± 0.0300 (5) ≈", "0.9100 ± 0.0300 (5) ≠"),
        ("mine", "0.7000 (1) ?", ""),
        ("best rule, 0 parameters", "0.5500", "0.9100"),
    )
    assert sports.note == (
        "DIEN − DIN under clean: +0.0049, not significantly different (p = 0.051); "
        "DIEN − DIN under arxiv-v1: +0.0400, significantly different (p < 0.001)"
    )
    assert tafeng.rows == (("DIEN", "", "0.9300 ± 0.0100 (2) ?"), ("best rule, 0 parameters", "", ""))
    assert tafeng.note == ""
    (only,) = side_by_side(board, ["arxiv-v1"], "official", "tafeng").sections
    assert only.heading == "tafeng"


def test_what_is_not_there_is_refused_with_what_is(board: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'sports'"):
        side_by_side(board, ["clean"], "official", "sport")
    with pytest.raises(UserError, match=r"'cleen', did you mean 'clean'\? Known: arxiv-v1, clean$"):
        side_by_side(board, ["cleen"], "official")
    with pytest.raises(UserError, match=r"no table2-clean-paper\.csv.*table2-arxiv-v1-official, table2-clean-official"):
        side_by_side(board, ["clean"], "paper")
    (board / "table3-next-day-official.csv").write_text("dataset\n", "utf-8")
    with pytest.raises(UserError, match=r"no table2-next-day-official\.csv.*, table3-next-day-official"):
        side_by_side(board, ["next-day"], "official")  # it is there, as another table
    (board / "table2-clean-official.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="leaderboard build"):
        side_by_side(board, ["clean"], "official")
    (board / "table2-clean-official.csv").write_text("dataset,protocol,model,seeds\nsports\n", "utf-8")
    with pytest.raises(UserError, match="cut off"):
        side_by_side(board, ["clean"], "official")


def show(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["leaderboard", "show", *map(str, arguments)])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


def test_json_has_the_numbers_of_the_committed_tables() -> None:
    shown = json.loads(show("--board", BOARD, "--dataset", "sports", "--json").stdout)
    by_place = {(line["protocol"], line["model"]): line for line in shown}
    for protocol in ("clean", "arxiv-v1"):
        (path,) = BOARD.rglob(f"table2-{protocol}-official.csv")
        with path.open(encoding="utf-8", newline="") as file:
            committed = {line["model"]: line for line in csv.DictReader(file) if line["dataset"] == "sports"}
        for model, line in committed.items():
            auc = by_place[protocol, model]["auc_mean"]
            assert (auc is None) if not line["auc_mean"] else (auc == pytest.approx(float(line["auc_mean"]), abs=1e-9))
            assert by_place[protocol, model]["seeds"] == int(line["seeds"])


def test_it_is_found_from_any_folder_and_fits_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = show().stdout
    assert "DIEN − DIN under clean" in shown
    assert max(len(line) for line in shown.splitlines() if " ± 0." in line) <= 80


def test_it_waits_for_no_library_of_numbers() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "benchmark", "leaderboard", "show"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "csv" in imported
    assert imported & {"numba", "numpy", "pandas", "pyarrow", "scipy", "torch"} == set()


def test_table_3_of_the_committed_board_is_shown() -> None:
    shown = show("--table", 3, "--dataset", "market", "--board", Path(__file__).parents[3] / "leaderboards")
    assert "DIEN" in shown.stdout
    assert "next-day" in shown.stdout
