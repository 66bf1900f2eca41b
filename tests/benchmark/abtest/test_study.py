"""The whole test in a small world: it tells the truth, and its table and figure show it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from benchmark.abtest.candidates import before_the_test, from_market, logged_day
from benchmark.abtest.decision import decision
from benchmark.abtest.experiment import (
    AGAIN,
    CONTROL,
    ORACLE,
    RANDOM,
    Predictions,
    Share,
    coverage,
    false_alarms,
    replay,
    split,
    with_checks,
)  # fmt: skip
from benchmark.abtest.figure import figure_table5
from benchmark.abtest.gains import METRICS, Gain, gain, metric
from benchmark.abtest.offline import agreement
from benchmark.abtest.sensitivity import Cell, break_even
from benchmark.abtest.study import AbTest, abtest_of_runs, run_test, with_more_candidates
from benchmark.abtest.table import table5
from benchmark.abtest.workload import Requests, Workload, draw_workload, true_probability
from benchmark.analysis.comparison import Interval
from datamodules.errors import UserError
from datamodules.sources.market import MarketSize, make_log, make_world
from tests.benchmark.abtest.toy import toy, toy_predictions, toy_workload, uniformly

ARMS = ["base-model", "din", "dien", AGAIN, ORACLE, RANDOM]


@pytest.fixture(scope="module")
def workload() -> Workload:
    return toy_workload(toy())


@pytest.fixture(scope="module")
def predictions(workload: Workload) -> Predictions:
    return with_checks(toy_predictions(workload, seeds=2), workload.truth, seed=0)


@pytest.fixture(scope="module")
def test(predictions: Predictions, workload: Workload) -> AbTest:
    covariates = np.random.default_rng(0).random((len(np.unique(workload.user)), 2))
    return run_test(
        predictions, workload, covariates=covariates, repetitions=10, splits=20, candidates=(2, 10, 99), spreads=(0.5,)
    )


def test_workload(workload: Workload) -> None:
    assert np.all(np.diff(workload.time) >= 0)
    assert all(len(set(row)) == workload.candidates for row in workload.item)
    one, other = np.nonzero(workload.item == workload.item[0, 0])
    assert len(one) > 1
    assert len(set(workload.appeal[one, other])) == 1  # an ad bids the same everywhere
    i, k = 7, 3
    world = toy()
    logit = world.level + world.users[workload.user[i]] @ world.ads[workload.item[i, k]]
    assert workload.truth[i, k] == pytest.approx(expit(logit))
    counts = np.bincount(workload.item.ravel(), minlength=400)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.3)  # uniform: as good as Poisson


def test_contexts_stay_with_their_requests() -> None:
    class Hours:
        def probability(self, user, time, item, context):  # type: ignore[no-untyped-def]
            return 0.01 * context["hour"] + 0.0001 * user

    rng = np.random.default_rng(3)
    user, hour = rng.integers(90, size=50), rng.integers(24, size=50)
    draw = uniformly(np.arange(4), seed=1)
    made = draw_workload(Hours(), user, rng.permutation(50), {"hour": hour}, draw, candidates=3, seed=1)
    np.testing.assert_allclose(made.truth[:, 2], 0.01 * made.context["hour"] + 0.0001 * made.user)
    assert all(len(set(row)) == 3 for row in made.item)
    with pytest.raises(UserError, match="5 different candidates"):
        draw_workload(Hours(), user, user, {"hour": hour}, draw, candidates=5, seed=1)


def test_intervals_and_false_alarms(predictions: Predictions, workload: Workload) -> None:
    users = np.unique(workload.user)
    replayed = replay(predictions, workload, 0.5)
    for share in coverage(replayed, users, "dien", repetitions=200).values():
        assert share.verdict == "yes"
    for share in false_alarms(replayed[CONTROL], users, splits=400).values():
        assert share.verdict == "yes"


def test_verdict_can_say_no(predictions: Predictions, workload: Workload) -> None:
    """Requests taken for units, as if a user's were independent, are found out."""
    rng = np.random.default_rng(1)
    totals = replay({CONTROL: predictions[CONTROL][:1]}, workload, 0.5)[CONTROL]
    users = np.repeat(np.arange(300), 12)  # 12 requests of a user that are all alike
    requests = np.repeat(totals[:, rng.integers(totals.shape[1], size=300)], 12, axis=1)
    hits = 0
    for _ in range(100):
        half = rng.integers(2, size=300)[users]
        arms = split({"a": requests, "b": requests}, half)
        low, high = gain(arms["a"], arms["b"], "ctr").interval
        hits += low <= 0 <= high
    assert Share(hits, 100, 0.95).verdict == "no"
    assert Share(10, 10, 0.95).verdict == "inconclusive"


def test_common_random_numbers(predictions: Predictions, workload: Workload) -> None:
    replayed = replay(predictions, workload, 0.5)
    np.testing.assert_array_equal(replayed[AGAIN], replayed[CONTROL])
    expected = replay(predictions, workload, 0.5, expected=True)
    for arm in ARMS:
        for name in METRICS:
            assert metric(replayed[arm], name) == pytest.approx(metric(expected[arm], name), rel=0.3)
    revenue = {arm: metric(expected[arm], "ecpm") for arm in ARMS}
    assert revenue[RANDOM] < revenue[CONTROL] < revenue["dien"] < revenue[ORACLE]


def test_random_scores_are_as_high_as_the_control_s(predictions: Predictions) -> None:
    np.testing.assert_array_equal(
        np.sort(predictions[RANDOM][1], axis=None), np.sort(predictions[CONTROL][1], axis=None)
    )
    assert abs(np.corrcoef(predictions[RANDOM][1].ravel(), predictions[CONTROL][1].ravel())[0, 1]) < 0.03


def test_break_even() -> None:
    def cell(candidates: int, value: float, error: float = 0.001) -> Cell:
        found = Gain(value, Interval(value - 2 * error, value + 2 * error), 0.0, error, 0.0)
        return Cell("dien", candidates, 0.5, {"ecpm": found})

    cells = [cell(2, -0.04), cell(8, 0.04, 0.03), cell(32, 0.08)]
    assert break_even(cells, "dien", 0.5) == "about 4 (a loss with 2, a gain with 32)"
    assert break_even(cells[1:], "dien", 0.5) == "gains with 8 to 32"
    assert break_even(cells[:1], "dien", 0.5) == "loses with 2 to 2"
    assert break_even([*cells, cell(64, -0.01)], "dien", 0.5) == "no single break-even"
    assert break_even(cells, "din", 0.5) == ""


def test_offline_order(predictions: Predictions, workload: Workload) -> None:
    arms = {arm: predictions[arm] for arm in ("base-model", "dien", ORACLE, RANDOM)}
    replayed = replay(arms, workload, 0.5, expected=True)
    good = {"base-model": 0.63, "dien": 0.65, ORACLE: 0.73, RANDOM: 0.5}
    found = agreement(replayed, good, "AUC")
    assert (found.tau, found.verdict) == (1.0, "yes")
    assert found.decided >= 3
    assert agreement(replayed, good, "log loss", "lower").verdict == "no"
    alike = {CONTROL: replayed[CONTROL], AGAIN: replayed[CONTROL]}
    assert agreement(alike, {CONTROL: 1, AGAIN: 2}, "AUC").verdict == "inconclusive"


def test_table(test: AbTest, predictions: Predictions, workload: Workload) -> None:
    raw = run_test(predictions, workload, checks=False)
    figures = {"base-model": 0.63, "din": 0.64, "dien": 0.65}
    found = agreement(replay(predictions, workload, 0.5), figures, "AUC")
    made = table5(test, raw, [(figures, found)])
    assert "simulated" in made.title
    lines = list(csv.DictReader(io.StringIO(made.csv())))
    assert [line["model"] for line in lines] == ARMS
    assert made.csv().startswith("model,ctr,ppc,ecpm,ctr_gain,ppc_gain,ecpm_gain,")
    for line in lines:
        ctr, ppc, ecpm = (float(line[f"{name}_gain"]) for name in METRICS)
        assert ecpm == pytest.approx((1 + ctr) * (1 + ppc) - 1, abs=1e-7)
        assert float(line["ecpm"]) == pytest.approx(1000 * float(line["ctr"]) * float(line["ppc"]), rel=1e-3)
    assert (lines[2]["paper_ctr_gain"], lines[2]["paper_ecpm_gain"], lines[4]["paper_ctr_gain"]) == (
        "0.207",
        "0.171",
        "",
    )
    markdown = made.markdown()
    assert "+20.7" in markdown
    assert "99 candidates" not in markdown  # more than there are
    assert sum(arm.users for arm in test.arms) == len(np.unique(workload.user))


def test_decision(test: AbTest) -> None:
    """Verdicts by the intervals, and rates that are clicks over AUC, of which 0.65 has 2 hundredths more than 0.63."""
    made = decision(test, {"base-model": 0.63, "din": 0.62, "dien": 0.65})
    earned, rates = made.sections
    cells = {(cell.arm, cell.candidates): cell.gains for cell in test.cells}
    for line, arm in zip(earned.rows, ("din", "dien"), strict=True):
        for cell, number in zip(line[2:4], (2, 10), strict=True):
            low, high = cells[arm, number]["ecpm"].interval
            assert cell.endswith("earns more" if low > 0 else "earns less" if high < 0 else "inconclusive")
    assert [line[1] for line in earned.rows] == ["-0.0100", "+0.0200"]
    assert rates.rows[0][1:3] == ("no AUC gain", "no AUC gain")
    dien = rates.rows[1]
    clicks = [cells["dien", number]["ctr"] for number in (2, 10)]
    assert [cell.split()[0] for cell in dien[1:3]] == [f"{100 * gain.value / 2:+.1f}" for gain in clicks]
    assert dien[3:6] == ("+0.0191", "+20.7", "+10.8")
    above = [number for number, gain in zip((2, 10), clicks, strict=True) if 100 * gain.interval.high / 2 < 10.8]
    assert (dien[6] == "more than here with any of these numbers") == (len(above) == 2)
    assert [row[2] for row in made.csv_rows[1:]] == ["2", "10", "2", "10"]


def test_another_spread_has_its_gains_over_candidates_too(predictions: Predictions, workload: Workload) -> None:
    found = run_test(predictions, workload, spread=0.4, repetitions=2, splits=2, candidates=(2,), spreads=(0.3,))
    wider = with_more_candidates(found, predictions, workload)
    assert {(cell.candidates, cell.spread) for cell in wider.cells} == {
        (number, spread) for number in (2, workload.candidates) for spread in (0.3, 0.4)
    }
    made = decision(wider, {"base-model": 0.63, "din": 0.64, "dien": 0.65})
    assert [row[0] for row in made.csv_rows[1:]] == ["din", "din", "dien", "dien"]


def test_intervals_of_one_training_seed_count_no_seeds(test: AbTest, workload: Workload) -> None:
    one = run_test(toy_predictions(workload), workload, repetitions=2, splits=2, candidates=(2,))
    for found, said in ((test, "over users and training seeds"), (one, "over users, of one training seed alone")):
        for made in (table5(found), decision(found, {"base-model": 0.63, "dien": 0.65})):
            assert sum(said in note for note in made.notes) == 1


def test_figure(test: AbTest, tmp_path: Path) -> None:
    png, svg = figure_table5(test, tmp_path / "table5")
    assert png.read_bytes()[:4] == b"\x89PNG"
    drawn = svg.read_bytes()
    figure_table5(test, tmp_path / "table5")
    assert svg.read_bytes() == drawn


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({CONTROL: None}, "needs the control"),
        ({"din": []}, "0 training seeds"),
        ({"din": [np.ones((2, 2))] * 2}, r"\(2, 2\) click rates"),
    ],
)
def test_wrong_predictions(
    change: dict[str, list[np.ndarray]], said: str, predictions: Predictions, workload: Workload
) -> None:
    wrong = {arm: seeds for arm, seeds in {**predictions, **change}.items() if seeds is not None}
    with pytest.raises(UserError, match=said):
        run_test(wrong, workload)


def test_trained_runs_in_the_market() -> None:
    """From a log to the table, with stand-ins for runs: one ranks by true quality, one by the truth, too high."""
    world = make_world(MarketSize(users=400, goods=300, categories=12))
    log = make_log(world, kept=0.5, seed=1)
    workload = from_market(world, log, candidates=10, repeats=3)
    day = log.day(workload.time)
    assert np.all(day == 64)
    assert np.all(workload.context["position"] == 1)
    assert np.all(world.goods.campaign[workload.item] > 0)  # ads
    context = {name: np.repeat(column, 10) for name, column in workload.context.items()}
    truth = world.probability(
        np.repeat(workload.user, 10), np.repeat(workload.time, 10), workload.item.ravel(), context
    )
    np.testing.assert_allclose(workload.truth.ravel(), truth)

    def score(run: str, requests: Requests) -> np.ndarray:
        if run == "quality":
            return 1 / (1 + np.exp(3 - world.goods.appeal[requests.item]))
        return np.minimum(
            4 * true_probability(world, requests.user, requests.time, requests.context, requests.item), 1.0
        )

    validation, tested = logged_day(log, 1), logged_day(log, 0)
    assert {*log.day(validation.requests.time)} == {63}
    covariates = before_the_test(log, np.unique(workload.user))
    assert covariates[:, 0].sum() < (log.day(log.shown.time) < 64).sum()  # not all users come on the last day
    assert np.all(covariates[:, 1] <= covariates[:, 0])
    runs = {"base-model": ["quality"], "dien": ["truth"]}
    wide = from_market(world, log, candidates=25, every=2)
    assert len(wide.user) == -(-len(workload.user) // 6)  # which ask three times
    found = abtest_of_runs(runs, score, workload, validation, tested, covariates=covariates, wide=wide)
    assert sorted({cell.candidates for cell in found.calibrated.cells}) == [2, 5, 25]
    assert found.calibrated.other_requests == ((25, len(wide.user)),)
    raw, mended = found.as_predicted.arm("dien"), found.calibrated.arm("dien")
    assert raw.calibration > 2.5  # four times too high
    assert mended.calibration < 1.6
    assert found.calibrated.arm("dien").replayed["ctr"].value > 0.1
    (figures, order), *others = found.offline
    assert (order.metric, order.tau) == ("AUC", 1)
    auc = roc_auc_score(tested.label, score("truth", tested.requests)[:, 0])
    assert figures["dien"] == pytest.approx(auc)
    assert [other.verdict for _, other in others][-1] == "no"  # calibration: four times too high
    markdown = table5(*found).markdown()
    assert "Simulated eCPM gain in per cent where budgets bind" in markdown
    assert "With and without calibration" in markdown
