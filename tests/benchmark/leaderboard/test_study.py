"""The study's page from made-up runs: each figure worked out again from the records."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import metrics
from benchmark.analysis.comparison import compare
from benchmark.analysis.probes import Probe, Probes, read_probes
from benchmark.leaderboard.study import CHANGES, study_page, write_study
from benchmark.leaderboard.study_details import GRID, details_page
from benchmark.leaderboard.study_runs import DATASETS, SHORT, Runs, difference, finder
from benchmark.records.predictions import Scores, pair_scores
from benchmark.records.record import AucBySelection, Record, parse_record, read_records, run_folder

USERS = 400
BOARD = Path(__file__).parents[3] / "leaderboards"


def make_run(
    root: Path,
    model: str,
    protocol: str,
    seed: int,
    distance: float,
    dataset: str = "sports",
    variant: str = "official",
) -> Record:
    """A run on 400 users; `distance` says how well the positives stand above the negatives."""
    rng = np.random.default_rng([seed, *model.encode(), *protocol.encode()])
    score = (rng.normal(size=(USERS, 2)) + np.array([0, distance])).ravel()
    label = np.tile([0, 1], USERS).astype(np.int8)
    value = metrics.auc(pair_scores(label, score))
    selection = "validation" if protocol == "clean" else "test"
    path = run_folder(root, "sports", protocol, model, variant, seed) / "record.json"
    path.parent.mkdir(parents=True)
    table = pd.DataFrame({"label": label, "score": score, "score_last": score, "score_test": score})
    table.to_parquet(path.parent / "predictions.parquet")
    (path.parent / "metrics.csv").write_text(f"step,test_auc\n400,0.5\n500,{value - 0.03}\n")
    fields = json.loads((BOARD / "records/sports/arxiv-v1/dien-official/seed-0/record.json").read_text())
    fields |= {"dataset": "sports", "protocol": protocol, "model": model, "variant": variant, "seed": seed}
    fields |= {"selection": selection, "auc": {"last": value - 0.02, "validation": value - 0.01, "test": value}}
    return parse_record(fields, path)


def probes(auc: float, protocol: str) -> Probes:
    rule = Probe("catalogue-order", "just behind", 0, auc, auc, auc)
    return Probes("sports", protocol, "ab", "ab" * 32, USERS, (rule,))


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    levels = {"arxiv-v1": 2.0, "aaai-2019": 1.5, "random-ties": 1.2, "clean": 1.0}
    made = [
        make_run(tmp_path, model, protocol, seed, distance + 0.3 * (model == "dien"))
        for protocol, distance in levels.items()
        for model in ("base-model", "augru", "dien")
        for seed in (0, 1)
    ]
    made.append(make_run(tmp_path, "dien+auxiliary_weight=2", "clean", 1, 1.6))
    made.append(make_run(tmp_path, "dien", "clean", 0, 1.3, variant="paper"))
    return made


def aucs(records: list[Record], model: str, protocol: str, variant: str = "official") -> dict[int, float]:
    return {
        r.seed: float(r.auc.test or 0)
        for r in records
        if (r.model, r.protocol, r.variant) == (model, protocol, variant)
    }


def lines(page: str, start: str) -> list[list[str]]:
    """The cells of every table line that begins so."""
    found = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found]


def line(page: str, start: str) -> list[str]:
    """The cells of the first table line that begins so."""
    return lines(page, start)[0]


def test_levels_and_differences_are_those_of_the_records(records: list[Record]) -> None:
    measured = {("sports", "arxiv-v1"): probes(0.91, "arxiv-v1"), ("sports", "aaai-2019"): probes(0.66, "aaai-2019")}
    levels, page = details_page(records, measured), study_page(records, measured)
    a, b = list(aucs(records, "dien", "arxiv-v1").values()), list(aucs(records, "dien", "aaai-2019").values())
    cells = line(levels, "`arxiv-v1`")
    assert cells[5] == f"{np.mean(a):.3f} ± {np.std(a, ddof=1):.3f} (2)"
    assert cells[6] == "0.910"
    assert cells[2] == ""  # no DIN
    worth = line(page, "catalogue order instead")
    assert worth[3].startswith(f"{np.mean(a) - np.mean(b):+.3f} ± ")
    assert worth[4] == "+0.250"
    assert line(page, "checkpoint best on test instead of the last")[1] == "+0.020 (2)"
    assert line(page, "checkpoint best on test instead of best on validation")[1] == "+0.010 (2)"
    gain = np.mean(list(aucs(records, "dien", "clean").values())) - np.mean(
        list(aucs(records, "augru", "clean").values())
    )
    assert [f"{gain:+.3f}", "`clean`"] in [
        [cells[3].split()[0], cells[5]] for cells in lines(page, "auxiliary loss (DIEN − AUGRU)")
    ]


def test_settings_and_variants_are_compared_over_common_seeds(records: list[Record]) -> None:
    page = details_page(records, {})
    clean = aucs(records, "dien", "clean")
    changed = aucs(records, "dien+auxiliary_weight=2", "clean")[1]
    assert line(page, "alpha = 2")[3] == f"{changed - clean[1]:+.3f} (1)"
    paper = aucs(records, "dien", "clean", "paper")[0]
    assert line(page, "sports, `clean`")[5] == f"{paper - clean[0]:+.3f} (1)"


def test_the_first_pass_is_that_of_the_curves(records: list[Record]) -> None:
    page = details_page(records, {})
    clean, paper = list(aucs(records, "dien", "clean").values()), aucs(records, "dien", "clean", "paper")[0]
    assert line(page, "sports, `official`")[5] == f"{np.mean(clean) - 0.03:.3f} (2)"
    assert line(page, "sports, `paper`")[1:] == ["", "", "", "", f"{paper - 0.03:.3f} (1)"]


def test_a_difference_has_the_interval_of_the_paired_test(records: list[Record]) -> None:
    clean = [r for r in records if r.protocol == "clean" and r.variant == "official"]
    runs = {m: Runs({r.seed: r for r in clean if r.model == m}) for m in ("augru", "dien")}
    frames = {
        m: [pd.read_parquet(r.path.parent / "predictions.parquet") for r in runs[m].records.values()] for m in runs
    }
    scores = {
        m: [Scores(f.score[f.label == 0].to_numpy(), f.score[f.label == 1].to_numpy()) for f in frames[m]] for m in runs
    }
    low, high = compare(scores["augru"], scores["dien"]).interval
    assert difference(runs["dien"], runs["augru"]) == f"{(low + high) / 2:+.3f} ± {(high - low) / 2:.3f} (2)"
    assert difference(runs["dien"], Runs({})) == ""


def test_a_checkpoint_that_is_not_known_is_left_blank(records: list[Record]) -> None:
    runs = Runs({0: replace(records[0], auc=AucBySelection(0.5, None, 0.6))})
    assert runs.mean("validation") is None
    assert runs.mean("last") == 0.5


def test_an_empty_board_has_a_page_and_a_figure(tmp_path: Path) -> None:
    for path in write_study([], {}, tmp_path):
        assert path.stat().st_size > 500
    for page in tmp_path.glob("*.md"):
        assert not re.search(r"\bnan\b|None", page.read_text())


def test_what_the_page_says_in_words_holds_for_the_committed_records() -> None:
    """The sentences of the introduction, as inequalities."""
    find = finder(read_records(BOARD / "records"))
    rules = {
        (dataset, protocol): next(p.auc for p in found.probes if p.name == "catalogue-order")
        for dataset in DATASETS
        for protocol in ("arxiv-v1", "aaai-2019", "random-ties")
        if (found := read_probes([BOARD / "probes"], dataset, protocol))
    }

    def auc(dataset: str, protocol: str, model: str, selection: str = "test", seeds: Sequence[int] = (0,)) -> float:
        mean = find(dataset, protocol, "official", model).only(seeds).mean(selection)
        assert mean is not None
        return mean

    five = range(5)
    for dataset in DATASETS:
        assert 0.9 < rules[dataset, "arxiv-v1"] > auc(dataset, "arxiv-v1", "dien", seeds=five) - 0.005
        assert rules[dataset, "aaai-2019"] < 0.7
        assert rules[dataset, "aaai-2019"] - rules[dataset, "random-ties"] > 0.1
        auxiliary = {}
        for protocol in ("arxiv-v1", "aaai-2019"):
            auxiliary[protocol] = auc(dataset, protocol, "dien", seeds=five) - auc(
                dataset, protocol, "augru", seeds=five
            )
        assert auxiliary["arxiv-v1"] > auxiliary["aaai-2019"] > 0
        augru, din = (find(dataset, "arxiv-v1", "official", model) for model in ("augru", "din"))
        low, high = compare(din.scores(), augru.scores()).interval
        assert low < 0 < high
        for model in SHORT:
            with_it, without = (
                [find(dataset, change[side], "official", model) for change in CHANGES.values()] for side in (0, 1)
            )
            order, ties, known, uniform = map(difference, with_it, without)
            assert gain_of(order) > 0.1
            assert 0.01 <= round(gain_of(uniform), 2) <= 0.04
            half = re.search(r"± (\S+)", ties)
            assert half, ties
            assert abs(gain_of(ties)) < float(half[1]), ties
            assert abs(gain_of(known)) <= 0.02, known
            clean = find(dataset, "clean", "official", model)
            best, last, honest = (clean.mean(selection) for selection in ("test", "last", "validation"))
            assert best is not None
            assert last is not None
            assert honest is not None
            assert best - last < 0.055
            assert best - honest < 0.0035


def test_din_as_printed_is_far_behind_after_the_first_pass() -> None:
    find = finder(read_records(BOARD / "records"))
    begun = {
        (variant, model): float(find("sports", "clean", variant, model).text_at(500).split()[0])
        for variant in ("official", "paper")
        for model in ("din", "augru")
    }
    late = begun.pop(("paper", "din"))
    assert late < 0.65
    assert min(begun.values()) > 0.7


def test_dien_as_printed_depends_on_the_samples() -> None:
    find = finder(read_records(BOARD / "records"))
    for dataset, behind in zip(DATASETS, (True, False), strict=True):
        texts = {
            protocol: difference(*(find(dataset, protocol, variant, "dien") for variant in ("paper", "official")))
            for protocol in ("arxiv-v1", "aaai-2019", "clean")
        }
        every = difference(*(find(dataset, "din-2018", variant, "dien") for variant in ("paper", "official")))
        assert every.endswith("(1)")
        assert gain_of(every) == pytest.approx(-0.015, abs=0.0015)
        order = gain_of(texts.pop("arxiv-v1"))
        assert (order < 0) == behind
        assert abs(order) < 0.01
        assert [round(gain_of(text), 2) for text in texts.values()] == [0.01, 0.02]
        for text in texts.values():
            half = re.search(r"± (\S+)", text)
            assert half, text
            assert gain_of(text) > float(half[1])


def test_by_time_only_small_alphas_are_told_from_the_released_one() -> None:
    find = finder(read_records(BOARD / "records"))
    told = []
    for dataset in DATASETS:
        for words, model in GRID.items():
            text = difference(*(find(dataset, "clean", "official", name) for name in (model, "dien")))
            half = re.search(r"± (\S+)", text)
            assert half, text
            if abs(gain_of(text)) > float(half[1]):
                told.append((dataset, words))
    assert told == [("beauty", "alpha = 0 (the row AUGRU)"), ("beauty", "alpha = 0.1")]  # on Sports not even alpha = 0


def gain_of(text: str) -> float:
    """The number at the front of a difference."""
    return float(text.split()[0])
