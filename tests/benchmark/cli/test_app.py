"""What the command line shows of text that others wrote: the text, and neither markup nor commands to the terminal."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli import app as cli
from benchmark.records.record import finished_run
from datamodules.datasets import DATASETS
from datamodules.errors import UserError
from datamodules.sources.generated import generate_interactions

ROOT = Path(__file__).parents[3]
TEXT = "[/b] [red]no markup :smile: [link=http://localhost]x"


def test_notes_about_a_file_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = lambda data_dir: replace(generate_interactions(), notes=(TEXT,))  # noqa: E731
    monkeypatch.setitem(DATASETS, "generated", replace(DATASETS["generated"], read=read))
    result = CliRunner().invoke(cli.app, ["prepare", "generated", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"generated: {TEXT}" in result.output.replace("\n", " ").replace("  ", " ")


def test_an_error_moves_no_cursor_and_sets_no_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: object) -> None:
        raise UserError(f"{TEXT}\x1b[2J\x1b]0;title\x07\rgone\u202e\udc80\nsecond line")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert TEXT in shown
    assert r"\x1b[2J\x1b]0;title\x07\rgone\u202e\udc80" in shown
    assert shown.endswith("\nsecond line\n")
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown)


@pytest.mark.parametrize("command", ["", "run", "table", "leaderboard"])
def test_help_waits_for_no_library_of_numbers(command: str) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "benchmark", *command.split(), "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported & {"numba", "numpy", "pandas", "pyarrow", "requests", "scipy", "torch", "wandb"} == set()


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("run --datasets generated --models base-model --models din --dry-run", "--models"),
        ("run --datasets generated --datasets=tafeng --models din --dry-run", "--datasets"),
        ("probe --dataset generated --datasets tafeng", "--datasets"),
        ("leaderboard show --dataset sports --dataset beauty", "--dataset"),
        ("list models --json --json", ""),  # the same, twice
        ("leaderboard show --protocol clean --protocol arxiv-v1 --dataset sports", ""),  # takes several
    ],
)
def test_of_an_option_given_twice_no_value_is_lost(words: str, option: str) -> None:
    result = CliRunner().invoke(cli.app, words.split())
    if option:
        assert isinstance(result.exception, UserError)
        assert f"{option} is given 2 times" in str(result.exception)
    else:
        assert result.exit_code == 0, result.output


def test_no_help_loses_what_stands_in_square_brackets() -> None:
    """Typer takes them for markup and leaves them out: defaults in words are given as `show_default`."""
    sources = [path.read_text("utf-8") for path in (ROOT / "benchmark" / "cli").glob("*.py")]
    assert not [source for source in sources if "[default:" in source]
    shown = CliRunner().invoke(cli.app, ["quickstart", "--help"]).output
    assert "default: (500)" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("table 5", "dien-bench abtest"),
        ("run --datasets generated --table 5", "dien-bench abtest"),
        ("run --datasets generated --table 1", "dien-bench table 1"),
        ("run --datasets generated --models dien+tuned --dry-run", "dien-bench tune --models dien searches"),
        ("check-model models/mine.py", "expected models/mine.py:Class"),
        ("run --datasets generated --model models/mine.py", "expected models/mine.py:Class"),
    ],
)
def test_a_near_miss_is_told_the_command_that_is_meant(words: str, said: str) -> None:
    result = CliRunner().invoke(cli.app, words.split())
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)


@pytest.mark.parametrize(
    "words",
    [
        "run --datasets generated,nosuch --models din,dien --seeds 0,1 --dry-run",
        "table 4 --datasets generated,nosuch",
        "probe --datasets generated,nosuch --protocol clean",
        "prepare generated,nosuch --check",
    ],
)
def test_names_are_taken_with_commas_as_seeds_are(words: str) -> None:
    result = CliRunner().invoke(cli.app, words.split())
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("unknown data set 'nosuch'")


def test_the_folder_of_a_row_is_told_one_of_its_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Train one"):
        finished_run(tmp_path)
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "record.json").touch()
    with pytest.raises(UserError, match=r"It is a row: name one of its runs, .*seed-1"):
        finished_run(tmp_path)


def test_a_curve_that_is_missing_is_asked_for_where_it_is_missing(tmp_path: Path) -> None:
    """Under the protocol and variant of the figure, and in its folder: else the figure fails again after the run."""
    words = ["figure", "2", "--datasets", "generated", "--protocol", "clean", "--variant", "paper", "--model", "din"]
    result = CliRunner().invoke(cli.app, [*words, "--out", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    advice = f"dien-bench run --datasets generated --protocol clean --variant paper --models din --out {tmp_path}"
    assert str(result.exception).endswith(advice)
