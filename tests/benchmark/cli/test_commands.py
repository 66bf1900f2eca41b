"""What commands print: JSON for programs, plain text in a pipe, colours in a terminal alone, names for the shell."""

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.executors.terminal import Line, rows_of_sweep, sweep_view
from benchmark.report.tables import Place, table_of_runs
from benchmark.runs.config import Progress
from datamodules.datasets import DATASETS
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.market import MarketSize, make_market
from tests.benchmark.boards import export_row, make_board

ROOT = Path(__file__).parents[3]
COMMANDS = (
    "prepare", "import", "new-model", "check-model", "run", "quickstart", "table", "figure", "probe", "leaderboard",
    "bench", "list", "wandb-workspace",
)  # fmt: skip


def invoke(*arguments: object, **env: str) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env, prog_name="dien-bench")
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_is_one(command: str) -> None:
    text = " ".join(invoke(command, "--help").stdout.split())
    (example,) = re.findall(r"Example: (dien-bench .*?)(?= ╭| Arguments| Options|$)", text)
    assert example.split()[1] == command
    for option in re.findall(r"--[\w-]+", example):
        assert option in text.replace(example, "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of the leaderboard, in a folder of runs."""
    out = tmp_path_factory.mktemp("runs")
    for row in ("augru-official", "dien-official"):
        export_row(f"tafeng/arxiv-v1/{row}", out / "tafeng" / "arxiv-v1" / row)
    return out


def test_a_table_as_json_holds_the_figures_of_the_records(runs: Path) -> None:
    arguments = ("table", 4, "--datasets", "tafeng", "--models", "base-model dien", "--out", runs)
    result = invoke(*arguments, "--json")
    made = json.loads(result.stdout)
    aucs = [
        json.loads(path.read_text())["auc"]["test"] for path in runs.glob("tafeng/arxiv-v1/dien-official/*/record.json")
    ]
    rows = {row["model"]: row for row in made["rows"]}
    assert rows["dien"]["auc_mean"] == pytest.approx(fmean(aucs), abs=1e-6)
    assert rows["dien"]["auc_std"] == pytest.approx(stdev(aucs), abs=1e-6)
    assert (rows["dien"]["seeds"], rows["base-model"]["seeds"]) == (len(aucs), 0)
    assert rows["base-model"]["auc_mean"] is None
    assert [Path(path).name for path in made["files"]] == (
        ["table4.md", "table4.csv", "table4-arxiv-v1.md", "table4-arxiv-v1.csv"]
    )
    assert str(runs / "table4.md") in result.stderr  # words are there, elsewhere
    quiet = invoke(*arguments, "--quiet").stdout
    assert "Table 4" in quiet
    assert str(runs) not in quiet
    assert "next: dien-bench figure auc --datasets tafeng" in invoke(*arguments).stdout


def test_a_narrow_terminal_gets_whole_cells(runs: Path) -> None:
    arguments = ("table", 4, "--datasets", "tafeng", "--models", "augru dien", "--out", runs, "--quiet")
    narrow = table_of_runs("4", Place("arxiv-v1", "official"), ["tafeng"], ["augru", "dien"], runs, print).shown
    stream = StringIO()
    Console(width=60, file=stream).print(narrow)
    shown = stream.getvalue()
    assert max(map(len, shown.splitlines())) <= 60
    assert re.search(r"^ *DIEN +0\.\d{4} ± 0\.\d{4} \(5\)", shown, re.MULTILINE)
    assert "Too narrow for:" in shown
    wide = invoke(*arguments).stdout  # no terminal: nothing is left out
    assert "Too narrow" not in wide
    assert len(max(wide.splitlines(), key=len)) > 80


def test_verify_as_json(runs: Path, tmp_path: Path) -> None:
    make_board(runs, tmp_path)
    found = json.loads(invoke("leaderboard", "verify", "--board", tmp_path, "--json").stdout)
    assert found == {"agreeing": len(list(runs.rglob("record.json"))), "without_predictions": []}


def test_prepare_and_probe_as_json(tmp_path: Path) -> None:
    (made,) = json.loads(invoke("prepare", "generated", "--protocol", "clean", "--data-dir", tmp_path, "--json").stdout)
    assert made["counts"]["users"] == 300
    assert sum(made["samples"].values()) == 2 * 300
    assert made["unknown_to_training"]["user"] == 1  # users are held out
    arguments = ("probe", "--dataset", "generated", "--protocol", "clean", "--data-dir", tmp_path, "--out", tmp_path)
    (probes,) = json.loads(invoke(*arguments, "--json").stdout)
    written = json.loads((tmp_path / "probes-generated-clean.json").read_text())
    assert {name: probes[name] for name in written} == written


@pytest.mark.usefixtures("trains_here")
def test_a_sweep_as_json_holds_its_records(tmp_path: Path) -> None:
    arguments = ["run", "--datasets", "generated", "--models", "base-model", "--seeds", "4", "--steps", "20"]
    arguments += [
        "--workers",
        "1",
        "--no-wandb",
        "--json",
        "--out",
        str(tmp_path),
        "--data-dir",
        str(tmp_path / "data"),
    ]
    for kept in (0, 1):
        done = invoke(*arguments)
        found = json.loads(done.stdout)
        (path,) = tmp_path.glob("generated/arxiv-v1/base-model-official/seed-4/record.json")
        assert found["records"] == [json.loads(path.read_text())]
        assert (found["kept"], found["failed"]) == (kept, {})
        assert "next: dien-bench table 4" in done.stderr


@pytest.fixture
def small_market(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set `market` with fewer users and goods."""
    read = lambda *_: make_market(MarketSize(users=100, goods=200, categories=10))  # noqa: E731
    monkeypatch.setitem(IMPRESSIONS, "market", replace(IMPRESSIONS["market"], read=read))


@pytest.mark.usefixtures("trains_here", "small_market")
@pytest.mark.parametrize("searched", [False, True])
def test_what_was_trained_on_impressions_is_shown_in_the_table_of_impressions(searched: bool, tmp_path: Path) -> None:
    place = ["--protocol", "next-day", "--steps", "4", "--out", tmp_path, "--data-dir", tmp_path / "data"]
    words = ["run", "--datasets", "market", "--seeds", "0", "--no-wandb", "--workers", "1"]
    if searched:
        words = ["tune", "--dataset", "market", "--seeds", "", "--trials", "1", "--space", "learning_rate"]
    shown = invoke(*words, "--models", "base-model", *place).output
    assert "next: dien-bench table 3 --datasets market" in shown


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_and_no_color_is_heeded(no_color: str, coloured: bool) -> None:
    master, terminal = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "benchmark", "table", "9"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert done.returncode == 2
    assert "unknown table '9'" in shown
    assert ("\x1b[31m" in shown) == coloured


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("run --protocol aa", ["aaai-2019"]),
        ("run --datasets spo", ["sports"]),
        ('run --datasets "sports tafe', ["sports tafeng"]),
        ('run --models "base-model gru', ["base-model gru-attention"]),
        ("figure --model aug", ["augru"]),
        ("prepare gen", ["generated"]),
        ("prepare --protocol cl", ["clean"]),
        ("probe --dataset bea", [name for name in DATASETS if name.startswith("bea")]),
        ("run --variant pa", ["paper"]),
        ("run --logger t", ["tensorboard"]),
        ("lead", ["leaderboard"]),
    ],
)
def test_the_shell_completes_names(typed: str, expected: list[str]) -> None:
    words = f"dien-bench {typed}"
    number = len(words.partition('"')[0].split()) - (0 if '"' in words else 1)
    done = CliRunner().invoke(
        app,
        [],
        prog_name="dien-bench",
        env={"_DIEN_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)},
    )
    assert done.stdout.splitlines() == expected


def drawn(width: int, height: int) -> list[str]:
    waiting = [f"sports/clean/{row}-official/seed-{seed}" for row in ("din", "dien") for seed in range(5)]
    earlier = {f"sports/clean/pnn-official/seed-{seed}": {"auc": {"test": 0.8}, "selection": "test"} for seed in (0, 1)}
    rows = rows_of_sweep(waiting, earlier)
    running = [Line(waiting[0], Progress(100, 8100, 0.6931, 0.7512), 75.0), Line(waiting[1], None, None)]
    console = Console(width=width, height=height, color_system=None, record=True, file=StringIO())
    console.print(sweep_view(running, rows, ConsoleDimensions(width, height), 2 / 12, "2 of 12 runs finished"))
    return console.export_text().splitlines()


def test_a_sweep_fits_its_terminal() -> None:
    wide = drawn(110, 30)
    assert re.split(r" {2,}", wide[1].strip()) == (
        ["sports/clean/din-official", "0", "100/8100", "0.6931", "0.7512", "1 min 15 s"]
    )
    assert ["sports/clean/pnn-official", "2 of 2", "0.8000"] in [re.split(r" {2,}", line.strip()) for line in wide]
    narrow = drawn(50, 30)
    assert re.split(r" {2,}", narrow[1].strip()) == ["sports din", "0", "100/8100", "0.7512", "1 min 15 s"]
    assert max(map(len, narrow)) <= 50
    low = drawn(110, 8)
    assert len(low) < 8
    assert "2 of 12 runs finished" in low[-1]
    assert any("pnn" in line for line in low)
    assert not any("dien" in line for line in low)
