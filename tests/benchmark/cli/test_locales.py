"""Commands in processes whose locale knows nothing but ASCII or Latin-1: their files are the same, and none stops."""

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.leaderboard.build import build
from tests.benchmark.boards import export_row, make_board

ROOT = Path(__file__).parents[3]
ROWS = ("augru-official", "dien-official")
README = "# Zürich ≈ 47° N\n<!-- table 4 of board -->\n<!-- /table 4 of board -->\nnaïve −\n"
MODEL = """
from baselines.base_model import BaseModel

class Talking(BaseModel):
    def forward(self, batch):
        print("Δ − ≈")
        return super().forward(batch)

class Failing(BaseModel):
    def forward(self, batch):
        raise RuntimeError("Δ − \\udc80")
"""


def command(*arguments: object, encoding: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[bytes]":
    """Run `dien-bench` where files and the terminal have another encoding than UTF-8 unless they are told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
    environment |= {"LANG": "en_US.ISO-8859-1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    if encoding != "ascii":  # a terminal in Latin-1; without it all is ASCII
        environment["PYTHONIOENCODING"] = encoding
    words = [sys.executable, "-m", "benchmark", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True)


def test_the_surroundings_are_not_utf_8() -> None:
    program = "import locale, sys; print(locale.getencoding(), sys.stdout.encoding)"
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, encoding="ascii")
    assert [codecs.lookup(name).name for name in done.stdout.split()] == ["ascii", "iso8859-1"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_board_is_built_to_the_same_bytes(tmp_path: Path) -> None:
    for row in ROWS:
        export_row(f"tafeng/arxiv-v1/{row}", tmp_path / "runs" / "tafeng" / "arxiv-v1" / row)
    for place in ("expected", "found"):
        make_board(tmp_path / "runs", tmp_path / place / "board")
        (tmp_path / place / "README.md").write_text(README, "utf-8")
    build(tmp_path / "expected" / "board")
    done = command("leaderboard", "build", "--board", tmp_path / "found" / "board", encoding="latin-1")
    assert done.returncode == 0, done.stderr
    for suffix in ("md", "csv", "html"):
        expected = sorted((tmp_path / "expected").rglob(f"*.{suffix}"))
        assert expected
        for path in expected:
            assert (tmp_path / "found" / path.relative_to(tmp_path / "expected")).read_bytes() == path.read_bytes()
    assert (tmp_path / "found" / "README.md").read_text("utf-8").startswith("# Zürich ≈ 47° N\n")


@pytest.mark.parametrize(("encoding", "sign"), [("latin-1", b"\xb1"), ("ascii", b"+-"), ("utf-8", "±".encode())])
def test_a_table_shows_what_its_terminal_can(tmp_path: Path, encoding: str, sign: bytes) -> None:
    for row in ROWS:
        export_row(f"tafeng/arxiv-v1/{row}", tmp_path / "tafeng" / "arxiv-v1" / row)
    done = command("table", 4, "--datasets", "tafeng", "--out", tmp_path, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert b" " + sign + b" 0." in done.stdout
    minus = "−" if encoding == "utf-8" else "-"
    assert f"best {minus} last" in done.stdout.decode(encoding)
    assert "best − last" in (tmp_path / "table4.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.timeout(300)  # a process that starts a process, each of which imports torch
def test_a_run_that_fails_in_any_words_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODEL, "utf-8")
    models = f"{tmp_path / 'own.py'}:Failing {tmp_path / 'own.py'}:Talking"
    arguments = ["run", "--datasets", "generated", "--models", models, "--seeds", 0, "--steps", 4, "--workers", 1]
    arguments += ["--logger", "csv", "--out", tmp_path / "runs", "--data-dir", tmp_path / "data"]
    done = command(*arguments, encoding="latin-1")
    assert (done.returncode, done.stderr.count(b"Traceback")) == (1, 0), done.stderr
    assert b"1 of 2 runs finished, 1 failed" in done.stdout + done.stderr
    (error,) = tmp_path.rglob("error.txt")
    assert "RuntimeError: Δ − \\udc80" in error.read_text("utf-8")
    assert len(list(tmp_path.rglob("predictions.parquet"))) == 1
