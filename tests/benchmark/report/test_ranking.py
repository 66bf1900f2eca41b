"""Rankings: order, checkpoints, ties and pairs, against records, loops and the definition of each test."""

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.comparison import compare, estimate, gauc_terms, holm
from benchmark.records.predictions import scores_of_samples
from benchmark.records.record import Record
from benchmark.records.results import scores_of
from benchmark.report.ranking import Pair, Ranking, rankings, shared_ranks
from tests.benchmark.boards import committed


@cache
def records() -> tuple[Record, ...]:
    return tuple(
        record
        for record in committed().values()
        if (record.dataset, record.protocol, record.variant) == ("beauty", "clean", "official")
        and "+" not in record.model
    )


@cache
def ranking(selection: str, metric: str) -> Ranking:
    (found,) = [r for r in rankings(records()) if (r.selection, r.metric) == (selection, metric)]
    return found


def test_every_selection_has_the_means_of_the_records_best_first() -> None:
    found = rankings(records())
    assert [(r.selection, r.metric) for r in found if r.reported] == [
        ("validation", m) for m in ("auc", "gauc", "logloss")
    ]
    assert {r.selection for r in found} == {"validation", "test", "last"}
    for one in found:
        values = [line.mean for line in one.lines if line.mean is not None]
        assert values == sorted(values, reverse=one.metric != "logloss")
    for selection in ("validation", "test", "last"):
        for line in ranking(selection, "auc").lines:
            expected = {r.seed: getattr(r.auc, selection) for r in records() if r.model == line.model}
            assert dict(zip(line.seeds, line.values, strict=True)) == expected
            assert line.mean is not None
            assert line.mean == pytest.approx(fmean(expected.values()))
            assert line.low is not None
            assert line.high is not None
            assert line.low < line.mean < line.high


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_pairs_are_those_of_the_test_corrected_together(metric: str) -> None:
    made = ranking("test", metric)
    assert [(p.first, p.second) for p in made.pairs] == list(combinations(range(len(made.lines)), 2))
    for pair in made.pairs:
        first, second = made.lines[pair.first].mean, made.lines[pair.second].mean
        assert first is not None
        assert second is not None
        assert pair.difference == pytest.approx(first - second, abs=1e-6)  # a record's AUC is in single precision
        assert pair.low < pair.difference < pair.high
    assert [pair.corrected for pair in made.pairs] == holm([pair.p for pair in made.pairs])


def test_the_best_on_test_is_compared_by_its_own_scores() -> None:
    made = ranking("test", "auc")
    mine = {
        model: [found.test or found.reported for r in records() if r.model == model and (found := scores_of(r))]
        for model in (made.lines[0].model, made.lines[1].model)
    }
    first, second = mine.values()
    assert made.pairs[0].p == compare(second, first).p


def test_a_row_that_was_trained_otherwise_is_not_tested_and_has_no_rank() -> None:
    other = [replace(r, settings=r.settings | {"pairs_together": False}) if r.model == "din" else r for r in records()]
    without = [record for record in records() if record.model != "din"]
    made, expected = (
        next(r for r in rankings(found) if (r.selection, r.metric) == ("validation", "auc"))
        for found in (other, without)
    )
    din = next(line for line in made.lines if line.model == "din")
    assert din.rank is None
    assert din.low is not None
    assert [line for line in made.lines if line.model != "din"] == [*expected.lines]
    assert [pair.p for pair in made.pairs] == [pair.p for pair in expected.pairs]
    assert [pair.corrected for pair in made.pairs] == [pair.corrected for pair in expected.pairs]


def test_gauc_is_tested_as_the_mean_of_users_is() -> None:
    """With one pair a user and seeds without spread, the interval is that of a mean of U numbers."""
    rng = np.random.default_rng(0)
    user, label, score = np.repeat(np.arange(50), 2), np.tile([0, 1], 50), rng.random(100)
    scores = scores_of_samples(user, label, score)
    wins = (score[1::2] > score[::2]).astype(float)
    found = estimate([scores, scores_of_samples(user, label, score)], gauc_terms)
    assert found.difference == pytest.approx(wins.mean())
    expected = stats.t.interval(0.95, 49, wins.mean(), stats.sem(wins))
    assert found.interval == pytest.approx(expected)


def test_users_without_an_auc_are_no_evidence_for_gauc() -> None:
    """Three users have both labels; 200 further ones, who have one sample each, change nothing."""
    rng = np.random.default_rng(5)
    user, label = np.repeat(np.arange(3), 2), np.tile([0, 1], 3)
    further = np.arange(3, 203)
    few, many = [], []
    for _ in range(4):
        score = rng.random(206)
        few.append(scores_of_samples(user, label, score[:6]))
        many.append(scores_of_samples(np.append(user, further), np.append(label, further % 2), score))
    found = compare(many[:2], many[2:], gauc_terms)
    assert found == pytest.approx(compare(few[:2], few[2:], gauc_terms))


def test_users_count_by_their_impressions_in_gauc() -> None:
    """Against a jackknife over users, one of whom has no AUC."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(3, 12, 60)
    user = np.repeat(np.arange(60), sizes)
    label = np.concatenate([[0, 1, *rng.integers(0, 2, size - 2)] for size in sizes])
    label[user == 7] = 0
    score = rng.random(len(user))
    mean, terms = gauc_terms(scores_of_samples(user, label, score))
    others = [u for u in range(60) if u != 7]
    without = np.array(
        [gauc_terms(scores_of_samples(user[k], label[k], score[k]))[0] for k in (user != u for u in others)]
    )
    assert terms.shape == (59,)
    assert terms.mean() == pytest.approx(0, abs=1e-12)
    jackknife = 58 / 59 * np.sum((without - without.mean()) ** 2)
    assert terms.var(ddof=1) / 59 == pytest.approx(jackknife, rel=0.05)
    assert np.corrcoef(mean - without, terms)[0, 1] > 0.99


def test_a_group_ends_at_the_first_row_that_differs_from_its_first() -> None:
    def pair(first: int, second: int, p: float) -> Pair:
        return Pair(first, second, 0.0, 0.0, 0.0, p / 6, p)  # the corrected one decides

    # 0 is like 1, 2 differs from 0 and is like 1, 3 differs from all but 2; 4 was not tested.
    pairs = [pair(0, 1, 0.5), pair(0, 2, 0.049), pair(0, 3, 0.0), pair(1, 2, 0.9), pair(1, 3, 0.0), pair(2, 3, 0.05)]
    assert shared_ranks([0, 1, 2, 3], pairs) == {0: 1, 1: 1, 2: 3, 3: 3}
    assert shared_ranks([], []) == {}


def test_rows_of_one_seed_or_without_predictions_have_no_rank() -> None:
    mine = [r for r in records() if r.model != "dien" or r.seed == 0]
    lines = {line.model: line for line in rankings(mine)[0].lines}
    assert (lines["dien"].rank, lines["dien"].low, lines["dien"].std) == (None, None, None)
    assert lines["din"].rank == 1
    found = rankings([replace(r, path=Path("none/record.json")) for r in records()])
    assert {line.rank for one in found for line in one.lines} == {None}
    assert not any(one.pairs for one in found)


def test_a_failed_run_is_counted_and_a_place_of_failures_has_no_ranking() -> None:
    failed = [
        replace(r, status="failed", auc=type(r.auc)(None, None, None), gauc=None, logloss=None, calibration=None)
        for r in records()
    ]
    assert rankings(failed) == []
    mixed = [new if r.seed == 4 else r for r, new in zip(records(), failed, strict=True)]
    lines = rankings(mixed)[0].lines
    assert {(line.failed, len(line.seeds)) for line in lines} == {(1, 4)}
