"""The simulated market: its probabilities against the formula and the clicks, and that interests drift and tell."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.metrics import log_loss, roc_auc_score

from datamodules.errors import UserError
from datamodules.impressions import DAY, Behaviours, Impressions, Shown
from datamodules.sources.market import FIRST_MIDNIGHT, SIZES, Draws, MarketSize, World, make_market, make_world, slot_of

TINY = MarketSize(users=200, goods=300, categories=12, kept=0.5)
GOLDEN = "a76a5d18d44001b7dd478db6fe4b8ab07d024296ae1aa6906f677265ec9c490f"


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("small")


@pytest.fixture(scope="module")
def log() -> Impressions:
    return make_market("small")


def moments(rows: Behaviours | Shown) -> np.ndarray:
    """One number (N,) for user and time, in the order of user, then time."""
    return rows.user.astype(np.int64) * 10**10 + rows.time


def integers(log: Impressions) -> list[np.ndarray]:
    """All that does not depend on how exp is rounded."""
    behaviours, shown = log.behaviours, log.shown
    return [
        *log.catalogue.values(), *log.profile.values(), behaviours.user, behaviours.item, behaviours.time,
        shown.user, shown.item, shown.time, *shown.target.values(), *shown.context.values(),
    ]  # fmt: skip


def test_one_seed_gives_one_log_on_every_machine() -> None:
    digest = hashlib.sha256()
    for array in integers(make_market(TINY)):
        digest.update(array.astype("<i8").tobytes())
    assert digest.hexdigest() == GOLDEN
    assert np.array_equal(make_market(TINY).shown.label, make_market(TINY).shown.label)
    other = make_market(TINY, seed=1)
    assert len(other.shown) != len(make_market(TINY).shown)


def test_a_smaller_share_of_pages_is_a_part_of_the_same_log() -> None:
    shown = make_market(TINY).shown
    whole = make_market(MarketSize(TINY.users, TINY.goods, TINY.categories)).shown
    rows = set(zip(whole.user, whole.time, whole.item, whole.label, whole.context["position"], strict=True))
    part = list(zip(shown.user, shown.time, shown.item, shown.label, shown.context["position"], strict=True))
    assert rows.issuperset(part)
    late = FIRST_MIDNIGHT + 63 * DAY
    assert np.sum(shown.time >= late) == np.sum(whole.time >= late)
    assert 0.45 < np.sum(shown.time < late) / np.sum(whole.time < late) < 0.55


def test_form(log: Impressions) -> None:
    behaviours, shown = log.behaviours, log.shown
    assert np.all(np.diff(moments(behaviours)) > 0)  # by user, then time
    order = np.lexsort((shown.context["position"], shown.user, shown.time))
    assert np.array_equal(order, np.arange(len(shown)))  # by time, then user, then place on the page
    for user, item in ((behaviours.user, behaviours.item), (shown.user, shown.item)):
        assert 0 <= user.min() < user.max() < log.users == 6_000
        assert 1 <= item.min() < item.max() <= log.items == 4_000
    for codes in [*log.catalogue.values(), *log.profile.values(), *shown.target.values(), *shown.context.values()]:
        assert codes.dtype == np.int32
    assert {name: (codes[0], codes[1:].min()) for name, codes in log.catalogue.items()} == dict.fromkeys(
        ("item", "category", "shop"), (0, 1)
    )
    assert set(np.unique(log.profile["gender"])) == {0, 1, 2}  # 0 where the log does not know it
    assert {len(codes) for codes in log.profile.values()} == {6_000}
    assert shown.target["campaign"].min() > 0
    campaign = dict(zip(shown.item.tolist(), shown.target["campaign"].tolist(), strict=True))
    assert [campaign[item] for item in shown.item.tolist()] == shown.target["campaign"].tolist()  # an ad has one
    local = shown.time % DAY  # the first day begins at midnight UTC
    assert np.array_equal(shown.context["hour"], local // 3_600 + 1)


def test_days_and_histories(log: Impressions) -> None:
    behaviours, shown = log.behaviours, log.shown
    assert set(log.day(behaviours.time)) == set(range(65))
    per_day = np.bincount(log.day(shown.time))
    assert len(per_day) == 65
    assert not per_day[:14].any()
    assert 60_000 < per_day[14:63].sum() < 100_000
    assert 0.17 < per_day[14:63].mean() / per_day[63:].mean() < 0.23  # one page in five of the training days
    key = moments(behaviours)
    now = moments(shown)
    train, validation, test = per_day[:63].sum(), *per_day[63:]
    counts = f"6,000 | 4,000 | 50 | {len(key):,} | {train:,} / {validation:,} / {test:,} |"
    assert counts in (Path(__file__).parents[3] / "docs" / "market.md").read_text("utf-8")
    length = np.searchsorted(key, now) - np.searchsorted(key, now - 14 * DAY)
    assert np.mean(length > 0) > 0.98
    assert 15 < length.mean() < 35


def test_pages_show_several_different_ads(log: Impressions) -> None:
    shown = log.shown
    page = np.flatnonzero(np.diff(moments(shown), prepend=-1))
    number = np.diff(page, append=len(shown))
    assert set(number) == {1, 2, 3}
    assert 1.4 < number.mean() < 1.8
    for first, many in zip(page[:500], number[:500], strict=True):
        rows = slice(first, first + many)
        assert len(set(shown.item[rows])) == many
        assert shown.context["position"][rows].tolist() == list(range(1, many + 1))


def by_hand(world: World, user: int, time: int, item: int, hour: int, position: int) -> float:
    """The formula of the module's first lines, a row at a time."""
    goods, slot = world.goods, (time - 1_525_132_800) // 21_600
    category, focus = int(goods.category[item]), int(world.focus[user, slot])
    logit = -4.3 + float(goods.appeal[item]) + float(world.tendency[user])
    if category == focus:
        logit += 1.6
    if category in goods.successors[focus].tolist():
        logit += 0.6
    if category in world.tastes[user, slot].tolist():
        logit += 0.8
    if goods.style[item] == world.style[user]:
        logit += 0.5
    if hour - 1 <= 6:
        logit -= 0.2
    elif 19 <= hour - 1 <= 23:
        logit += 0.2
    logit -= {1: 0.0, 2: 0.4, 3: 0.7}[position]
    return 1 / (1 + math.exp(-logit))


def test_probability_is_the_formula(world: World, log: Impressions) -> None:
    shown = log.shown
    columns = (shown.user, shown.time, shown.item, shown.context["hour"], shown.context["position"])
    rows = range(0, len(shown), 97)
    expected = [by_hand(world, *(int(column[row]) for column in columns)) for row in rows]
    assert shown.probability is not None
    assert shown.probability[::97].tolist() == pytest.approx(expected, rel=1e-6)


def test_the_world_gives_the_probabilities_of_the_log(world: World, log: Impressions) -> None:
    shown = log.shown
    again = world.probability(shown.user, shown.time, shown.item, shown.context)
    assert again.dtype == np.float32
    assert np.array_equal(again, shown.probability)


def test_candidates_that_were_not_shown(world: World) -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 6_000, 1_000), rng.integers(1, 4_001, 1_000)
    time = FIRST_MIDNIGHT + 64 * DAY + rng.integers(0, DAY, 1_000)
    first = {"hour": np.full(1_000, 12), "position": np.full(1_000, 1)}
    third = first | {"position": np.full(1_000, 3)}
    one, two = (world.probability(user, time, item, context) for context in (first, third))
    assert np.all((two > 0) & (two < one) & (one < 1))
    assert one[7] == pytest.approx(by_hand(world, int(user[7]), int(time[7]), int(item[7]), 12, 1), rel=1e-6)
    ads = world.advertise(user, time, Draws(100, 0))
    assert np.all(world.goods.campaign[ads] > 0)
    assert np.array_equal(ads, world.advertise(user, time, Draws(100, 0)))


def test_the_oracle_is_calibrated(log: Impressions) -> None:
    assert log.shown.probability is not None
    p, label = log.shown.probability.astype(np.float64), log.shown.label
    assert 0.05 < label.mean() < 0.10
    entropy = -np.mean(p * np.log(p) + (1 - p) * np.log1p(-p))
    error = math.sqrt(np.sum(p * (1 - p) * np.log(p / (1 - p)) ** 2)) / len(p)
    assert abs(log_loss(label, p) - entropy) < 3 * error
    bins = np.array_split(np.argsort(p, kind="stable"), 20)
    squares = [(label[rows] - p[rows]).sum() ** 2 / np.sum(p[rows] * (1 - p[rows])) for rows in bins]
    assert chi2.sf(sum(squares), len(bins)) > 0.01
    assert 0.70 < roc_auc_score(label, p) < 0.82


def test_interests_drift(world: World) -> None:
    focus, tastes = world.focus, world.tastes
    stays = np.mean(focus[:, 1:] == focus[:, :-1])
    assert 7 / 8 < stays < 7 / 8 + 1 / 8 * 0.4 + 0.01  # a move may lead to where the focus is: by a taste, hardly else
    moved = focus[:, 1:] != focus[:, :-1]
    successors = world.goods.successors[focus[:, :-1][moved]]
    assert np.mean((focus[:, 1:][moved][:, None] == successors).any(1)) > 0.5

    def kept(days: int) -> float:
        """The share of tastes that a user still has this many days later."""
        before, after = tastes[:, 56], tastes[:, 56 + 4 * days]
        return float((before[:, :, None] == after[:, None, :]).any(2).mean())

    assert kept(1) > 0.9
    assert kept(1) > kept(7) > kept(14) > kept(50)
    assert kept(50) < 0.35


def test_ads_are_selected(world: World, log: Impressions) -> None:
    shown = log.shown
    slot = slot_of(shown.time)
    on_focus = world.goods.category[shown.item] == world.focus[shown.user, slot]
    assert on_focus.mean() > 5 / 50  # of 50 categories
    assert on_focus.mean() < (world.goods.category[shown.item] == world.focus[shown.user, slot - 4]).mean()
    assert world.goods.appeal[shown.item].mean() > world.goods.appeal[1:].mean() + 0.1
    assert len(np.unique(shown.item)) < log.items / 2


def shares(log: Impressions) -> Callable[[int], np.ndarray]:
    """The share of the target's category among the newest so many behaviours of the 14 days before."""
    behaviours, shown, category = log.behaviours, log.shown, log.catalogue["category"]
    key, now = moments(behaviours), moments(shown)
    end, start = np.searchsorted(key, now), np.searchsorted(key, now - 14 * DAY)

    def share(newest: int) -> np.ndarray:
        at = end[:, None] - 1 - np.arange(newest)
        valid = at >= start[:, None]
        same = category[behaviours.item[np.maximum(at, 0)]] == category[shown.item][:, None]
        return (same & valid).sum(1) / np.maximum(valid.sum(1), 1)

    return share


def test_histories_tell_and_late_behaviours_more(log: Impressions) -> None:
    share, label = shares(log), log.shown.label
    popularity = np.bincount(log.behaviours.item, minlength=log.items + 1)[log.shown.item]
    late, whole = roc_auc_score(label, share(5)), roc_auc_score(label, share(100))
    assert late > whole + 0.005 > roc_auc_score(label, popularity) + 0.05


def test_the_large_size_has_millions_of_impressions() -> None:
    part = MarketSize(users=1_000, goods=SIZES["large"].goods, categories=200, kept=0.5)
    assert len(make_market(part).shown) * SIZES["large"].users / part.users > 3e6


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda: make_market("smal"), "unknown size of the market 'smal', did you mean 'small'"),
        (lambda: MarketSize(users=0, goods=100, categories=10), "at least 1 users, got 0"),
        (lambda: MarketSize(users=1, goods=39, categories=10), "at least 40 goods, got 39"),
        (lambda: MarketSize(users=1, goods=39, categories=3), "at least 4 categories, got 3"),
        (lambda: MarketSize(users=1, goods=200, categories=10, kept=0), "above 0 and at most 1, got 0"),
        (lambda: slot_of(np.array([FIRST_MIDNIGHT - 1])), "expected 1525132800 to 1530748799"),
    ],
)
def test_impossible_requests(wrong: Callable[[], object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        wrong()
