"""The quickstart's table and sentences, from runs whose scores are made up; and the command, on generated data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from benchmark.analysis.comparison import Comparison, compare, holm
from benchmark.analysis.probes import FITTED, Probe, Probes
from benchmark.analysis.summary import Difference
from benchmark.cli.app import app
from benchmark.records.record import run_folder, write_record
from benchmark.report import quickstart
from benchmark.report.probe_tables import write_probes
from benchmark.report.quickstart import quickstart_table, sentence
from tests.benchmark.boards import pairs

USERS, SEEDS = 500, (0, 1, 2)
LEVELS = {  # how far positives stand above negatives
    ("arxiv-v1", "base-model"): 1.0, ("arxiv-v1", "din"): 1.5, ("arxiv-v1", "dien"): 1.52,
    ("clean", "base-model"): 0.99, ("clean", "din"): 0.5, ("clean", "dien"): 0.5,
}  # fmt: skip


def scores_of(protocol: str, model: str, seed: int) -> Any:
    rng = np.random.default_rng([seed, *protocol.encode(), *model.encode()])
    return (rng.normal(size=(USERS, 2)) + np.array([0, LEVELS[protocol, model]])).ravel()


def add(out: Path, protocol: str, model: str, seed: int) -> float:
    """A run whose last checkpoint has these scores, and whose reported one is perfect."""
    label, score = np.tile([0, 1], USERS), scores_of(protocol, model, seed)
    last = float(roc_auc_score(label, score))
    folder = run_folder(out, "tafeng", protocol, model, "official", seed)
    record = {
        **{"schema_version": 3, "code_sha256": "cd" * 32, "sampler_version": 1, "calibration": 1.0},
        **{"dataset": "tafeng", "protocol": protocol, "protocol_hash": "ab", "model": model, "variant": "official"},
        **{"seed": seed, "selection": "test", "auc": {"last": last, "validation": None, "test": 1.0}, "logloss": 0.4},
        **dict.fromkeys(("best_step", "epochs", "steps", "parameters", "train_seconds", "evaluation_seconds"), 1),
        **dict.fromkeys(("samples_per_second", "peak_memory_mb"), 1),
        **{"device": "cpu", "versions": {}, "commit": None, "data_sha256": "ab" * 32, "status": "finished"},
        "settings": {"batch_size": 128, "learning_rate": 0.001, "steps": 900},
    }
    write_record(folder / "record.json", record)
    columns = {"user": np.repeat(np.arange(USERS), 2), "label": label.astype(np.int8), "score": label.astype(float)}
    table = pd.DataFrame({**columns, "score_last": score})
    table.to_parquet(folder / "predictions.parquet")
    return last


@pytest.fixture
def aucs(tmp_path: Path) -> dict[tuple[str, str], list[float]]:
    for protocol, auc in (("arxiv-v1", 0.8), ("clean", 0.51)):
        rules = Probe("catalogue-order", "just behind", 0, auc, auc, auc), Probe(FITTED, "all", 8, 0.9, 0.9, 0.9)
        write_probes(Probes("tafeng", protocol, "ab", "ab" * 32, USERS, rules), tmp_path)
    return {place: [add(tmp_path, *place, seed) for seed in SEEDS] for place in LEVELS}


def test_the_table_is_of_the_last_step_and_says_what_order_adds(
    aucs: dict[tuple[str, str], list[float]], tmp_path: Path
) -> None:
    made, said = quickstart_table(tmp_path, SEEDS)
    rows = {row[0]: row for row in made.sections[0].rows}
    assert list(rows) == ["DIEN", "DIN", "rule, 0 parameters", "BaseModel"]  # by AUC in catalogue order
    means = {place: np.mean(values) for place, values in aucs.items()}
    for model, label in (("base-model", "BaseModel"), ("dien", "DIEN")):
        spread = np.std(aucs["arxiv-v1", model], ddof=1)
        assert rows[label][1] == f"{means['arxiv-v1', model]:.4f} ± {spread:.4f}"
        assert rows[label][3].startswith(f"{means['arxiv-v1', model] - means['clean', model]:+.3f} ± ")
    assert rows["rule, 0 parameters"][1:] == ("0.8000", "0.5100", "+0.290")
    label = np.tile([0, 1], USERS)
    tests = []
    for model in quickstart.MODELS:
        by_time, catalogue = (
            [pairs(*scores_of(protocol, model, seed).reshape(-1, 2).T) for seed in SEEDS]
            for protocol in ("clean", "arxiv-v1")
        )
        tests.append(compare(by_time, catalogue))
    assert [p < 0.05 for p in holm([test.p for test in tests])] == [False, True, True]  # what the words below rest on
    gains = {model: means["arxiv-v1", model] - means["clean", model] for model in quickstart.MODELS}
    assert said == [
        f"Catalogue order raises the AUC of DIN ({gains['din']:+.3f}), DIEN ({gains['dien']:+.3f}), significantly "
        f"(p < 0.05, Holm-corrected); inconclusive for BaseModel ({gains['base-model']:+.3f}, not significantly "
        "different).",
        "A rule without parameters, which looks at catalogue numbers alone, reaches 0.800 in catalogue order, more "
        "than BaseModel, and 0.510 by time (0.5 is chance).",
    ]
    lines = {(line[1], line[3]): line for line in made.csv_rows[1:]}
    assert float(lines["clean", "din"][5]) == pytest.approx(means["clean", "din"], abs=1e-6)


def test_one_seed_is_not_tested(aucs: dict[tuple[str, str], list[float]], tmp_path: Path) -> None:
    made, said = quickstart_table(tmp_path, [1])
    rows = {row[0]: row for row in made.sections[0].rows}
    assert rows["DIN"][1] == f"{aucs['arxiv-v1', 'din'][1]:.4f} (one seed)"
    assert said[0].startswith("What catalogue order adds: inconclusive for BaseModel (")
    assert said[0].count("one seed is not tested") == 3


def test_a_loss_is_said_as_one_and_no_run_too() -> None:
    lower = Difference(Comparison(-0.02, 0.001, 100.0, 1e-6), 1e-6)
    assert sentence({"din": (-0.02, lower)}).startswith("Catalogue order lowers the AUC of DIN (-0.020), significantly")
    assert sentence({}) == "No run has finished."


@pytest.mark.usefixtures("trains_here")
def test_the_command_trains_and_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "DATASET", "generated")
    words = ["quickstart", "--seeds", "0", "--steps", "4", "--workers", "1", "--out", str(tmp_path / "out")]
    words += ["--data-dir", str(tmp_path / "data")]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output + str(result.exception)
    found = json.loads(result.stdout)
    records = {
        (record["protocol"], record["model"]): record["auc"]["last"]
        for path in tmp_path.rglob("record.json")
        for record in [json.loads(path.read_text("utf-8"))]
    }
    assert len(records) == 6
    assert {(row["protocol"], row["model"]): row["auc_mean"] for row in found["rows"]} == (
        {place: pytest.approx(auc, abs=1e-6) for place, auc in records.items()}
    )
    assert "inconclusive for BaseModel" in found["said"][0]
    assert "minutes on two cores" in result.stderr
    again = CliRunner().invoke(app, words)
    assert "(one seed)" in again.stdout
    assert (tmp_path / "out" / "quickstart.csv").is_file()
