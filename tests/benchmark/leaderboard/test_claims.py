"""Verdicts of the claims page: the rule at its edges, and a page from made-up runs."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import metrics
from benchmark.analysis.comparison import Interval
from benchmark.leaderboard.claims import NOT_REPRODUCED, NOT_RUN, ON_SUBSETS, REPRODUCED, claims_page, judge_gain
from benchmark.records import paper
from benchmark.records.predictions import pair_scores
from benchmark.records.record import Record, parse_record, run_folder
from datamodules.errors import UserError


@pytest.mark.parametrize(
    ("printed", "ours", "interval", "agrees"),
    [
        (0.050, 0.030, (0.020, 0.040), True),  # sign, not zero, at least half
        (0.050, 0.024, (0.020, 0.028), False),  # less than half
        (0.050, 0.200, (0.190, 0.210), True),  # much more is not less
        (0.010, 0.004, (-0.001, 0.009), False),  # not told from zero
        (0.010, 0.006, (-0.001, 0.013), True),  # not told from zero, nor from the printed gain
        (0.010, 0.006, (-0.010, 0.022), False),  # the same, but too wide to say anything
        (0.010, -0.010, (-0.015, -0.005), False),  # the opposite
        (-0.019, -0.012, (-0.016, -0.008), True),  # a printed loss is a claim as well
        (-0.019, 0.001, (-0.003, 0.005), False),
    ],
)
def test_gains_on_other_subsets(printed: float, ours: float, interval: tuple[float, float], agrees: bool) -> None:
    assert judge_gain(printed, ours, Interval(*interval)).agrees is agrees


def make_run(root: Path, dataset: str, model: str, seed: int, distance: float, protocol: str = "arxiv-v1") -> Record:
    """A run on 2,000 users, which are equally hard for every model."""
    shared = np.random.default_rng(0).normal(size=(2000, 2))
    own = np.random.default_rng([seed, *model.encode()]).normal(size=(2000, 2)) * 0.1
    score, label = (shared + own + [0, distance]).ravel(), np.tile([0, 1], 2000).astype(np.int8)
    value = metrics.auc(pair_scores(label, score))
    path = run_folder(root, dataset, protocol, model, "official", seed) / "record.json"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"label": label, "score": score, "score_last": score}).to_parquet(path.parent / "predictions.parquet")
    fields = {
        "dataset": dataset, "protocol": protocol, "protocol_hash": "ab", "model": model, "variant": "official",
        "seed": seed, "selection": "test", "auc": {"last": value, "validation": None, "test": value}, "logloss": 0.4,
        "best_step": 1, "epochs": 1.0, "steps": 1, "parameters": 1, "train_seconds": 1.0, "evaluation_seconds": 1.0,
        "samples_per_second": 1.0, "peak_memory_mb": 1, "device": "cpu", "versions": {}, "commit": None,
        "data_sha256": "ab" * 32, "settings": {"batch_size": 1, "steps": 1, "learning_rate": 0.1}, "status": "finished",
    }  # fmt: skip
    return parse_record(fields, path)


def verdicts(page: str, heading: str) -> dict[str, tuple[str, str]]:
    """Row -> (verdict, why) of one table of the page."""
    lines = page.split(f"## {heading}\n")[1].split("\n## ")[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {line[1]: (line[-2], line[-1]) for line in cells[2:]}


def test_every_printed_figure_stands_on_the_page_once(tmp_path: Path) -> None:
    page = claims_page([], tmp_path)
    assert "61 figures: 0 reproduced, 0 reproduced on other subsets, 0 not reproduced, 61 not run" in page
    for version, columns in (("v1", paper.V1_AUC), ("AAAI", paper.AAAI_AUC)):
        for dataset, figures in columns.items():
            found = verdicts(page, f"Tables 2 and 4, {version}: AUC on {dataset.capitalize()}")
            assert list(found) == [paper.LABELS[model] for model in figures]
            for auc in figures.values():
                assert f"{auc.mean:.4f}" in page
            assert {verdict for verdict, _ in found.values()} == {NOT_RUN}
    assert len(verdicts(page, "Table 3: AUC on the industrial data set")) == 7
    assert len(verdicts(page, "Table 5: online A/B test")) == 6
    assert len(verdicts(page, "Table 1: counts")) == 12


def test_gains_on_a_subset_bear_on_both_columns_of_their_protocol(tmp_path: Path) -> None:
    distances = {"base-model": 1.5, "dien": 1.9, "din": 1.5, "pnn": 1.35}
    records = [make_run(tmp_path, "sports", m, s, d + 0.01 * s) for m, d in distances.items() for s in range(3)]
    records.append(make_run(tmp_path, "sports", "augru", 0, 1.7))
    page = claims_page(records, tmp_path)
    for column in ("v1: AUC on Electronics", "v1: AUC on Books"):
        found = verdicts(page, f"Tables 2 and 4, {column}")
        assert found["DIEN"][0] == ON_SUBSETS
        assert found["DIN"] == (NOT_REPRODUCED, "gain on sports is not told from zero")
        assert found["PNN"] == (NOT_REPRODUCED, "gain on sports has the opposite sign")
        assert found["BaseModel + GRU + AUGRU"] == (NOT_RUN, "fewer than two seeds with predictions on sports so far")
        assert found["Wide&Deep"] == (NOT_RUN, "no runs under `arxiv-v1` yet")
        assert found["BaseModel"][0] == NOT_RUN
    assert "[sports](records/sports/arxiv-v1/dien-official): 0." in page
    assert verdicts(page, "Tables 2 and 4, AAAI: AUC on Books")["DIEN"] == (NOT_RUN, "no runs under `aaai-2019` yet")


def test_one_subset_that_disagrees_is_enough(tmp_path: Path) -> None:
    distances = {
        ("sports", "base-model"): 1.5,
        ("sports", "dien"): 1.9,
        ("beauty", "base-model"): 1.5,
        ("beauty", "dien"): 1.5,
    }
    records = [make_run(tmp_path, *row, seed, d) for row, d in distances.items() for seed in range(2)]
    verdict, why = verdicts(claims_page(records, tmp_path), "Tables 2 and 4, v1: AUC on Electronics")["DIEN"]
    assert verdict == NOT_REPRODUCED
    assert why.endswith("; gain on beauty is not told from zero")


def test_on_the_paper_s_own_data_the_level_counts(tmp_path: Path) -> None:
    # AUC of two normals a distance d apart, each of standard deviation 1.005: Phi(d / (sqrt(2) 1.005))
    records = [make_run(tmp_path, "electronics", "base-model", s, 1.4972) for s in range(2)]  # 0.8538
    records += [make_run(tmp_path, "electronics", "dien", s, 1.6) for s in range(2)]
    found = verdicts(claims_page(records, tmp_path), "Tables 2 and 4, v1: AUC on Electronics")
    assert found["BaseModel"][0] == REPRODUCED
    assert found["DIEN"][0] == NOT_REPRODUCED
    assert found["DIEN"][1].startswith("outside 0.8")
    assert found["DIN"][0] == NOT_RUN


def test_counts_come_from_table_1(tmp_path: Path) -> None:
    counts = {"dataset": "electronics", "users": 192_403, "goods": 63_001, "categories": 800, "samples": ""}
    with (tmp_path / "table1.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, counts)
        writer.writeheader()
        writer.writerow(counts)
    found = verdicts(claims_page([], tmp_path), "Table 1: counts")
    assert [found[f"electronics, {name}"][0] for name in ("users", "goods", "categories", "samples")] == [
        REPRODUCED, REPRODUCED, NOT_REPRODUCED, NOT_RUN,
    ]  # fmt: skip
    assert found["books, users"][0] == NOT_RUN


@pytest.mark.parametrize(
    "content", ["dataset,users\nbooks,many\n", "users\n1\n", "dataset\nbooks\n", "\xff", 'dataset\n"\0']
)
def test_counts_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "table1.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"table1.csv cannot be read .*dien-bench table 1"):
        claims_page([], tmp_path)
