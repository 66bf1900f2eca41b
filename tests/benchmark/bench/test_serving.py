"""Servers measured: what a step computes, the ladder's records and table, memory under load."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from baselines import load
from baselines.layers.recurrence import reference
from benchmark import train
from benchmark.bench.serving import ladder
from benchmark.bench.serving.figure import figure_ladder
from benchmark.bench.serving.ladder import QUICK, measure_ladder
from benchmark.bench.serving.served import Served, serving
from benchmark.bench.serving.soak import growth, soak_table
from benchmark.bench.serving.steps import (
    BEFORE,
    STEPS,
    example_requests,
    largest_difference,
    scorer_of_step,
    step_of,
)
from benchmark.bench.serving.table import better_export, change, ladder_table
from benchmark.cli.app import app
from benchmark.serving.frozen import freeze
from benchmark.serving.scorer import RunScorer
from datamodules.batches import EvaluationBatches
from datamodules.errors import UserError
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import vocabulary
from tests.benchmark.serving.local_server import Fake, running

COMMITTED = Path(__file__).parents[3] / "leaderboards/serving"


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> RunScorer:
    samples = prepare_samples("generated", "clean", tmp_path_factory.mktemp("data"))
    rows = vocabulary(samples)
    torch.manual_seed(0)
    model = load("dien")(rows.schema, variant="official").eval()
    for tensor in model.parameters():
        nn.init.normal_(tensor, std=0.1)
    return RunScorer(freeze(model, [EvaluationBatches(samples, samples.train, rows=rows)[0]]), rows, {})


def test_steps_differ_in_how_they_compute_and_not_in_what(
    scorer: RunScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = example_requests(scorer.schema)
    candidates = sum(one.candidates for one in requests)
    expected, loops, plain = scorer.score(requests), [], reference.forward
    monkeypatch.setattr(reference, "forward", lambda *words: loops.append(1) or plain(*words))
    encoded = {}
    for name in ("batches", "once", "fused", "eager"):  # the last changes the model
        step = scorer_of_step(step_of(name), scorer, tmp_path / "none")
        assert largest_difference(step.score(requests), expected) < 1e-6
        encoded[name] = len(step.batch(requests).lengths), bool(loops)
    assert encoded == {
        "batches": (len(requests), False),
        "once": (len(requests), False),
        "fused": (candidates, False),
        "eager": (candidates, True),
    }
    assert [step.name for step in STEPS if step.name not in BEFORE] == ["eager"]


def test_measurements_are_kept_and_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    @contextmanager
    def serving(step: str, *_: Any) -> Iterator[Served]:
        started.append(step)
        with running(Fake()) as local:
            about = {"dataset": "d", "protocol": "p", "seed": "0", "auc_served": "0.5"}
            yield Served(local.url, None, about)  # type: ignore[arg-type]

    monkeypatch.setattr(ladder, "serving", serving)
    monkeypatch.setattr(ladder, "cores", lambda: None)
    run, steps, said = tmp_path / "run", [step_of("once"), step_of("batches")], list[str]()
    run.mkdir()
    (run / "weights.pt").write_bytes(b"1")

    def measured() -> list[dict[str, Any]]:
        return measure_ladder(QUICK, {steps[0].model: run}, tmp_path, tmp_path / "out", steps, said.append)

    cells = measured()
    assert started == ["once", "batches"]
    assert "share their cores" in said[0]
    assert [(cell["step"], cell["candidates"], cell["pinned"]) for cell in cells] == [
        ("once", 2, None),
        ("batches", 2, None),
    ]
    assert cells[0]["fixed"]["answered"] > 0
    (tmp_path / "out/records/batches-2-0.json").unlink()
    measured()
    assert started == ["once", "batches", "batches"]
    (run / "weights.pt").write_bytes(b"2")
    with pytest.raises(UserError, match="was measured with weights_sha256"):
        measured()


def cell(step: str, repeat: int, ms: float, rate: float, achieved: float = 15, late: bool = False) -> dict[str, Any]:
    """A record of the ladder."""
    counts = {"answered": 70 + repeat, "refused": 2, "failed": 1}
    fixed = {**counts, "offered": 15.0, "achieved": achieved, "p50_ms": ms, "p99_ms": 2 * ms}
    return {
        "step": step,
        "candidates": 50,
        "repeat": repeat,
        "model": {"dataset": "market", "protocol": "next-day", "seed": "0", "auc_served": "0.6500"},
        "plan": {"history": 50, "bound_ms": 50.0, "rates": [[50, 15.0]]},
        "pinned": {"server": 0, "generator": 1},
        "machine": {"processor": "P", "cores": 2, "python": "3", "torch": "2", "packages": {"aiohttp": "3"}},
        "load_average": [1.5, 1.0, 1.0],
        "closed": {"median_ms": ms},
        "fixed": fixed,
        "tests": [{**counts, "answered": 2_000, "offered": rate, "rate": rate, "p99_ms": 49.0}],
        "largest_rate": rate,
        "limited_by": "generator" if late else "server",
    }


def test_a_table_by_hand(tmp_path: Path) -> None:
    cells = [
        *(cell("eager", i, ms, rate, achieved=13) for i, (ms, rate) in enumerate(((40, 0), (44, 10), (38, 12)))),
        *(cell("fused", i, ms, rate) for i, (ms, rate) in enumerate(((20, 20), (22, 30), (18, 24)))),
        *(cell("once", i, ms, rate, late=i == 1) for i, (ms, rate) in enumerate(((10, 60), (19, 60), (9, 48)))),
    ]
    made = ladder_table(list(reversed(cells)))
    steps, said, of_paper = made.sections
    assert [row[1] for row in steps.rows] == ["40.00 [38.00, 44.00]", "20.00 [18.00, 22.00]", "10.00 [9.00, 19.00]"]
    assert steps.rows[0][2] == "40.0 [38.0, 44.0] (overloaded)"
    assert steps.rows[1][3:5] == ("40.0 [36.0, 44.0]", "24.0 [20.0, 30.0]")
    assert steps.rows[2][4] == "60.0 [48.0, 60.0] (generator)"
    assert said.rows[0][3:] == ("x 0.50 [0.47, 0.50] lower", "higher")  # no ratio to a rate of 0
    assert said.rows[1][3:] == ("x 0.50 [0.50, 0.86] inconclusive", "x 2.00 [2.00, 3.00] higher")
    assert of_paper.rows == (("the paper", "", "38.2 to 6.6", "x 0.17", "360", "108 to 32"),)
    lines = [dict(zip(made.csv_rows[0], values, strict=True)) for values in made.values()]
    assert (lines[2]["before"], lines[2]["rate_ratio"], lines[2]["rate_verdict"]) == ("fused", 2.0, "higher")
    assert "server on core 0" in made.notes[0]
    assert not any("Records of different" in note for note in made.notes)
    for other in ({"machine": {**cells[0]["machine"], "packages": {"aiohttp": "4"}}}, {"commit": "1" * 40}):
        assert "Records of different" in ladder_table([*cells[1:], cells[0] | other]).notes[1]
    assert "fixed rate: 73 to 75 with 50 candidates, which" in made.notes[-1]
    assert "largest rate 2,003." in made.notes[-1]
    assert all(path.stat().st_size > 1_000 for path in figure_ladder(cells, tmp_path / "serving"))


def test_which_export_is_better() -> None:
    higher, lower = change([4, 5, 6], [1, 2, 3]), change([1, 2, 3], [4, 5, 6])
    same, two = change([1, 6, 3], [4, 5, 2]), change([1, 2], [4, 5])
    assert (same.verdict, two.verdict) == ("inconclusive", "inconclusive")
    for time, rate, expected in (
        (lower, higher, "length buckets"),
        (lower, same, "length buckets"),
        (higher, same, "Scan"),
        (same, lower, "Scan"),
        (lower, lower, "inconclusive"),
        (same, two, "inconclusive"),
    ):
        assert better_export({"closed_ms": time, "largest_rate": rate}) == expected


@pytest.mark.parametrize(
    ("mb_an_hour", "minutes", "verdict"),
    [(0, 60, "flat"), (4, 60, "flat"), (20, 60, "grows"), (0, 5, "inconclusive"), (-20, 60, "flat")],
)
def test_memory_is_judged_by_its_slope(mb_an_hour: float, minutes: int, verdict: str) -> None:
    """1,000 MB, with noise, and 200 MB more for the largest batch, which do not count: 1 % an hour is 10 MB."""
    rng = np.random.default_rng(0)
    times = np.arange(60.0 * minutes)
    memory = 1_000 + mb_an_hour * times / 3600 - 200 * (times < 6 * minutes) + rng.normal(0, 0.5, len(times))
    found = growth(list(zip(times, memory, strict=True)))
    assert found.verdict == verdict
    assert minutes < 60 or found.low - 0.2 < mb_an_hour < found.high + 0.2


@pytest.mark.slow
def test_a_soak_of_seconds(tmp_path: Path) -> None:
    """A server in a process of its own."""
    settings = {"dataset": "generated", "protocol": "clean", "model": "base-model", "variant": "paper", "seed": 0}
    record = train({**settings, "steps": 2, "data_dir": str(tmp_path / "data"), "out": str(tmp_path)})
    words = ["soak", "--run", str(record.path.parent), "--minutes", "0.03", "--rate", "30", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["counts"]["answered"] > 10
    assert found["memory"]["verdict"] == "inconclusive"  # too short
    assert found["memory"]["median_mb"] > 50
    assert found["run"]["difference"] == 0
    assert [sum(test[kind] for test in found["tests"]) for kind in found["counts"]] == list(found["counts"].values())
    assert "| requests that failed | 0 of " in (tmp_path / "soak.md").read_text()


def test_a_folder_without_a_run_is_said_before_a_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(UserError, match=r"no .*record\.json: expected the folder of a finished run"):
        CliRunner().invoke(app, ["soak", "--run", str(tmp_path)], catch_exceptions=False)


def test_a_server_that_cannot_start_says_why_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.bench.serving.served.finished_run", lambda run: run)
    server = serving("once", tmp_path, tmp_path, None, core=10**6)
    with pytest.raises(UserError, match="ended before it listened: there is no core 1000000") as said, server:
        pass
    assert "Traceback" not in str(said.value)


def test_committed_pages_are_those_of_their_records() -> None:
    cells = [json.loads(line) for line in (COMMITTED / "records.jsonl").read_text("utf-8").splitlines()]
    made = ladder_table(cells)
    assert (COMMITTED / "serving.csv").read_text("utf-8") == made.csv()
    assert (COMMITTED / "serving.md").read_text("utf-8") == made.markdown()
    found = json.loads((COMMITTED / "soak.json").read_text("utf-8"))
    assert (COMMITTED / "soak.md").read_text("utf-8") == soak_table(found).markdown()
