"""Verdicts of the claims page: the rule at its edges, and a page from made-up runs."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import metrics
from benchmark.analysis.comparison import Interval
from benchmark.leaderboard.claims import (
    CONSISTENT,
    INCONCLUSIVE,
    INCONSISTENT,
    MARGIN,
    NARROW,
    NOT_REPRODUCED,
    REPRODUCED,
    WIDENING,
    claims_page,
    judge_gain,
    judge_level,
)
from benchmark.records import paper
from benchmark.records.record import Record, parse_record, run_folder
from datamodules.errors import UserError
from tests.benchmark.boards import pairs


@pytest.mark.parametrize(
    ("printed", "interval", "verdict"),
    [
        ((0.050, 0.040), (0.035, 0.055), CONSISTENT),
        ((0.050, 0.040), (0.0301, 0.0599), CONSISTENT),  # just inside the margin of 0.01
        ((0.050, 0.040), (0.0299, 0.055), INCONCLUSIVE),  # just outside
        ((0.050, 0.040), (0.035, 0.0601), INCONCLUSIVE),
        ((0.050, 0.040), (0.0601, 0.070), INCONSISTENT),  # there is an upper bound
        ((0.0044, 0.0089), (0.090, 0.096), INCONSISTENT),  # a gain of 0.093 for a printed one of 0.0044
        ((0.050, 0.040), (0.020, 0.0299), INCONSISTENT),
        ((0.050, 0.040), (-0.010, 0.100), INCONCLUSIVE),  # too wide to say anything
        ((0.008, 0.005), (-0.001, 0.009), INCONCLUSIVE),  # not significantly different from zero
        ((0.008, 0.005), (-0.0045, -0.0001), INCONSISTENT),  # inside the margin, but the opposite sign
        ((-0.008, -0.005), (-0.009, -0.001), CONSISTENT),  # a printed loss is a claim as well
        ((-0.008, -0.005), (0.001, 0.004), INCONSISTENT),
        ((0.0008, -0.0190), (-0.005, 0.005), INCONCLUSIVE),  # the paper's two columns disagree
        ((0.0008, -0.0190), (0.020, 0.030), INCONSISTENT),  # but not about this
    ],
)
def test_gains_on_other_subsets(printed: tuple[float, float], interval: tuple[float, float], verdict: str) -> None:
    assert pytest.approx(0.01) == MARGIN
    assert judge_gain(printed, Interval(*interval)).word == verdict
    assert judge_gain(printed[::-1], Interval(*interval)).word == verdict
    mirrored = judge_gain([-gain for gain in printed], Interval(-interval[1], -interval[0]))
    assert mirrored.word == verdict


@pytest.mark.parametrize(
    ("ours", "width", "verdict"),
    [
        (0.8538, 0.0199, REPRODUCED),
        (0.8538, 0.0201, INCONCLUSIVE),  # it holds the printed AUC, and too much else
        (0.8538 + 0.0098, 0.0199, REPRODUCED),
        (0.8538 + 0.0101, 0.0199, NOT_REPRODUCED),
        (0.8538 - 0.0101, 0.0199, NOT_REPRODUCED),
        (0.85, 1.6791, INCONCLUSIVE),
        (0.5, 0.5, NOT_REPRODUCED),  # wide, but without the printed AUC
    ],
)
def test_levels_on_the_paper_s_own_data(ours: float, width: float, verdict: str) -> None:
    """`width` is that of the widened interval."""
    half = width / WIDENING / 2
    assert pytest.approx(0.02) == NARROW
    assert judge_level(0.8538, ours, Interval(ours - half, ours + half)).word == verdict


def make_run(root: Path, dataset: str, model: str, seed: int, distance: float, users: int = 4000) -> Record:
    """A run under arxiv-v1 on users that are equally hard for every model."""
    protocol = "arxiv-v1"
    shared = np.random.default_rng(0).normal(size=(users, 2))
    own = np.random.default_rng([seed, *model.encode()]).normal(size=(users, 2)) * 0.1
    score, label = (shared + own + [0, distance]).ravel(), np.tile([0, 1], users).astype(np.int8)
    value = metrics.auc(pairs(score[::2], score[1::2]))
    path = run_folder(root, dataset, protocol, model, "official", seed) / "record.json"
    path.parent.mkdir(parents=True)
    table = pd.DataFrame({"user": np.repeat(np.arange(users), 2), "label": label, "score": score, "score_last": score})
    table.to_parquet(path.parent / "predictions.parquet")
    fields = {
        "schema_version": 3, "code_sha256": "cd" * 32, "sampler_version": 1, "calibration": 1.0,
        "dataset": dataset, "protocol": protocol, "protocol_hash": "ab", "model": model, "variant": "official",
        "seed": seed, "selection": "test", "auc": {"last": value, "validation": None, "test": value}, "logloss": 0.4,
        "best_step": 1, "epochs": 1.0, "steps": 1, "parameters": 1, "train_seconds": 1.0, "evaluation_seconds": 1.0,
        "samples_per_second": 1.0, "peak_memory_mb": 1, "device": "cpu", "versions": {}, "commit": None,
        "data_sha256": "ab" * 32, "settings": {"batch_size": 1, "steps": 1, "learning_rate": 0.1}, "status": "finished",
    }  # fmt: skip
    return parse_record(fields, path)


def verdicts(page: str, heading: str) -> dict[tuple[str, ...], tuple[str, str]]:
    """(model, and the data set where the table has several) -> (verdict, why) of one table of the page."""
    if f"## {heading}\n" not in page:
        return {}
    lines = page.split(f"## {heading}\n")[1].split("\n## ")[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    names = [j for j, name in enumerate(cells[0]) if name in ("model", "what", "on")]
    return {tuple(line[j] for j in names): (line[-2], line[-1]) for line in cells[2:]}


def test_what_is_not_measured_is_one_line(tmp_path: Path) -> None:
    page = claims_page([], tmp_path)
    assert "Measured: none." in page
    assert "\n## " not in page
    (line,) = [line for line in page.splitlines() if line.startswith("Printed and not measured")]
    counts = sum(len(counts) for counts in paper.STATISTICS.values())
    aucs = sum(len(column) for version in (paper.V1_AUC, paper.AAAI_AUC) for column in version.values())
    assert [int(number) for number in re.findall(r"(\d+) (?:counts|AUC|gains) of", line)] == [counts, aucs, 7, 6]


GAINS = "Tables 2 and 4, v1: gains over BaseModel on other subsets"


def test_each_measured_gain_has_one_verdict(tmp_path: Path) -> None:
    distances = {"base-model": 1.5, "dien": 1.77, "din": 1.5, "pnn": 1.35}
    records = [make_run(tmp_path, "sports", m, s, d + 0.003 * s) for m, d in distances.items() for s in range(3)]
    records += [make_run(tmp_path, "sports", "augru", 0, 1.7), make_run(tmp_path, "beauty", "dien", 0, 1.7)]
    page = claims_page(records, tmp_path)
    found = verdicts(page, GAINS)
    assert set(found) == {
        ("PNN", "sports"),
        ("DIN", "sports"),
        ("BaseModel + GRU + AUGRU", "sports"),
        ("DIEN", "sports"),
    }
    assert found["DIEN", "sports"][0] == CONSISTENT  # Phi(1.77 / 1.42) - Phi(1.5 / 1.42) is 0.048, as printed
    assert found["DIN", "sports"] == (INCONCLUSIVE, "not significantly different from zero")
    assert found["PNN", "sports"][0] == INCONSISTENT
    assert found["BaseModel + GRU + AUGRU", "sports"] == (INCONCLUSIVE, "fewer than two seeds with predictions")
    assert "Measured: 1 consistent, 1 inconsistent, 2 inconclusive." in page
    assert "[0." in page
    assert "(results/sports/arxiv-v1/runs.jsonl)" in page
    assert verdicts(page, GAINS.replace("v1", "AAAI")) == {}


def test_a_gain_over_a_base_model_that_was_trained_otherwise_has_no_verdict(tmp_path: Path) -> None:
    records = [
        make_run(tmp_path, "sports", m, s, d) for m, d in (("base-model", 1.5), ("dien", 1.77)) for s in range(3)
    ]
    old = [replace(r, settings=r.settings | {"pairs_together": r.model == "dien"}) for r in records]
    assert verdicts(claims_page(records, tmp_path), GAINS)["DIEN", "sports"][0] == CONSISTENT
    assert verdicts(claims_page(old, tmp_path), GAINS)["DIEN", "sports"] == (
        INCONCLUSIVE,
        "trained with other settings than BaseModel (pairs_together)",
    )


def test_the_spread_between_the_paper_s_columns_is_computed(tmp_path: Path) -> None:
    spreads = [
        abs((e[m].mean - e["base-model"].mean) - (b[m].mean - b["base-model"].mean))
        for e, b in ((version["electronics"], version["books"]) for version in (paper.V1_AUC, paper.AAAI_AUC))
        for m in e
        if m != "base-model"
    ]
    assert f"gain of a model differs by {np.median(spreads):.3f}, median" in claims_page([], tmp_path)


def test_on_the_paper_s_own_data_the_level_counts(tmp_path: Path) -> None:
    # AUC of two normals a distance d apart, each of standard deviation 1.005: Phi(d / (sqrt(2) 1.005))
    near = [make_run(tmp_path, "electronics", "base-model", s, 1.4972, users=20_000) for s in range(3)]  # 0.8538
    far = [make_run(tmp_path, "electronics", "dien", s, 1.6, users=20_000) for s in range(3)]
    wide = [make_run(tmp_path, "electronics", "din", s, d, users=20_000) for s, d in enumerate((1.3, 1.7))]
    one = make_run(tmp_path, "electronics", "pnn", 0, 1.5, users=20_000)
    page = claims_page([*near, *far, *wide, one], tmp_path)
    found = verdicts(page, "Tables 2 and 4, v1: AUC on Electronics")
    assert {model: verdict for (model,), (verdict, _) in found.items()} == {
        "BaseModel": REPRODUCED, "PNN": INCONCLUSIVE, "DIN": INCONCLUSIVE, "DIEN": NOT_REPRODUCED,
    }  # fmt: skip
    assert found["DIEN",][1].startswith("outside 0.8")
    assert "too wide to tell" in found["DIN",][1]
    assert verdicts(page, GAINS) == {}


def test_counts_come_from_table_1(tmp_path: Path) -> None:
    counts = {"dataset": "electronics", "users": 192_403, "goods": 63_001, "categories": 800, "samples": ""}
    with (tmp_path / "table1.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, counts)
        writer.writeheader()
        writer.writerow(counts)
    page = claims_page([], tmp_path)
    found = verdicts(page, "Table 1: counts")
    assert {what: verdict for (what,), (verdict, _) in found.items()} == {
        "electronics, users": REPRODUCED, "electronics, goods": REPRODUCED, "electronics, categories": NOT_REPRODUCED,
    }  # fmt: skip
    assert "not measured here: 9 counts" in page


@pytest.mark.parametrize(
    "content", ["dataset,users\nbooks,many\n", "users\n1\n", "dataset\nbooks\n", "\xff", 'dataset\n"\0']
)
def test_counts_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "table1.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"table1.csv cannot be read .*dien-bench table 1"):
        claims_page([], tmp_path)
