"""`dien-bench serve` and `load-test` as a user runs them: one after the other, ended by SIGTERM."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from benchmark import load_run, train
from benchmark.cli.app import app
from benchmark.runs.trained import Run
from benchmark.serving.load import Load, Measured, summarise
from datamodules.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("root")
    settings = {"dataset": "generated", "protocol": "clean", "model": "base-model", "variant": "paper", "seed": 0}
    record = train({**settings, "steps": 5, "data_dir": str(root / "data"), "out": str(root / "runs")})
    return load_run(record.path.parent)


def dien_bench(*words: str) -> str:
    """What a command prints, run in this process."""
    return CliRunner().invoke(app, words, catch_exceptions=False).stdout


@pytest.mark.slow
def test_a_run_is_served_loaded_and_stopped(run: Run) -> None:
    folder = str(run.record.path.parent)
    serve = [sys.executable, "-m", "benchmark", "serve", "--run", folder, "--port", "0"]
    server = subprocess.Popen(serve, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        about, listening = server.stdout.readline(), server.stdout.readline()
        auc = f"{run.record.reported_auc:.4f}"
        assert f"auc_recorded {auc}, auc_served {auc}" in about  # the paper's variant needs no freezing
        url = listening.split()[-1]
        split, samples = run.data.ready.test, run.data.ready
        history = samples.items[split.begin[0] : split.end[0]].tolist()
        body = {
            "history": {"item": history},
            "target": {"item": split.item[:2].tolist()},
            "user": {"user": int(split.user[0])},
        }
        found = requests.post(f"{url}/predict", json=body, timeout=30).json()["probabilities"]
        assert found == pytest.approx(run.predict("test")[:2].tolist(), abs=1e-5)
        figures = json.loads(dien_bench("load-test", "--url", url, "--rate", "20", "--seconds", "1", "--json"))
        assert figures["answered"] > 0
        assert figures["refused"] == figures["failed"] == 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0


@pytest.mark.parametrize(("p99_ms", "largest"), [(400, 0), (600, 2)])
def test_every_test_of_a_rate_has_requests_and_each_try_arrivals_of_its_own(
    p99_ms: float, largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of half a second: `--rate 2 --seconds 1` sent it nothing in the lowest test, and said that it fails."""
    loads: list[Load] = []

    async def fields_of(url: str) -> dict[str, dict[str, int]]:
        return {"history": {"item": 9}, "target": {"item": 9}, "user": {}}

    async def over_http(load: Load, url: str, bodies: list[bytes]) -> Measured:
        loads.append(load)
        due = load.arrivals()
        due = due[due >= load.warmup]
        return summarise(due, due, due + 0.5, np.full(len(due), "answered"), load)

    monkeypatch.setattr("benchmark.serving.load.fields_of", fields_of)
    monkeypatch.setattr("benchmark.serving.load.over_http", over_http)
    options = ["--rate", "2", "--seconds", "1", "--p99", str(p99_ms), "--json"]
    found = json.loads(dien_bench("load-test", *options))
    assert found["largest_rate"] == largest
    assert all(test["answered"] >= 25 for test in found["tests"])
    assert len({load.seed for load in loads}) == len(loads)
    assert [load.rate for load in loads] == ([2] if largest else [2, 2, 0.25, 0.25, 2 / 64, 2 / 64])


def test_mistakes_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected the folder of a finished run"):
        dien_bench("serve", "--run", str(tmp_path))
    with pytest.raises(UserError, match=r"--max-wait must be longer than --window, which is 20 milliseconds, got 0.02"):
        dien_bench("serve", "--run", str(tmp_path), "--window", "20", "--max-wait", "0.02")
    with pytest.raises(UserError, match="no server of dien-bench serve"):
        dien_bench("load-test", "--url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dataset", "sports"), r"a market whose truth is known \(market, .*, got 'sports'"),
        (("--models", "din dien"), "the arms 'din dien' have no control: name base-model among them"),
        (("--models", "base-model dein"), "unknown model 'dein', did you mean 'din' or 'dien'"),
        (("--seeds", "0 one"), "seeds must be whole numbers or ranges"),
    ],
)
def test_an_ab_test_says_what_is_wrong_before_it_trains(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        dien_bench("abtest", *words, "--out", str(tmp_path / "runs"), "--data-dir", str(tmp_path / "data"))
    assert not list(tmp_path.iterdir())
