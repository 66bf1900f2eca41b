"""The load generator against queueing theory, in fake time, and against numbers worked by hand."""

import asyncio

import numpy as np
import pytest
from scipy import stats

from benchmark.serving.load import (
    Load,
    Measured,
    Outcome,
    closed_loop,
    largest_rate,
    largest_rate_near,
    measure,
    summarise,
)
from datamodules.errors import UserError
from tests.benchmark.serving import local_server
from tests.benchmark.serving.fake_time import run

SERVICE = 0.005  # seconds


class OneByOne:
    """A server that takes SERVICE seconds a request, one at a time, and refuses where `most` wait already."""

    def __init__(self, most: float = np.inf) -> None:
        self.most, self.inside, self.turn = most, 0, asyncio.Lock()

    async def send(self, number: int) -> Outcome:
        if self.inside > self.most:
            return "refused"
        self.inside += 1
        async with self.turn:
            await asyncio.sleep(SERVICE)
        self.inside -= 1
        return "answered"


def measured(load: Load, most: float = np.inf) -> Measured:
    async def scenario() -> Measured:
        return await measure(load, OneByOne(most).send, spin=0)

    return run(scenario())


def test_arrivals_are_poisson_and_given_by_the_seed() -> None:
    load = Load(rate=50, seconds=98, warmup=2, seed=3)
    times = load.arrivals()
    assert np.array_equal(times, load.arrivals())
    assert not np.array_equal(times, Load(50, 98, 2, seed=4).arrivals()[: len(times)])
    assert stats.kstest(np.diff(times), stats.expon(scale=1 / 50).cdf).pvalue > 0.01
    counts = np.bincount(times.astype(int), minlength=100)
    assert stats.poisson_means_test(counts.sum(), 100, 50 * 100, 100).pvalue > 0.01


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_the_mean_latency_is_that_of_the_queue_m_d_1(busy: float) -> None:
    """Wait rho D / (2 (1 - rho)) and service D (Pollaczek and Khinchine)."""
    found = measured(Load(rate=busy / SERVICE, seconds=120, warmup=5))
    expected = SERVICE * (1 + busy / (2 * (1 - busy))) * 1e3
    assert found.latency["mean_ms"] == pytest.approx(expected, rel=0.08)
    assert found.achieved == pytest.approx(found.offered, rel=0.01)
    assert found.counts["refused"] == found.counts["failed"] == 0
    assert found.late_ms == pytest.approx(0, abs=1e-3)


def test_overload_shows_as_latency_from_the_scheduled_time_and_as_a_rate_that_is_not_achieved() -> None:
    load = Load(rate=2 / SERVICE, seconds=10, warmup=0)
    found = measured(load)
    assert found.achieved == pytest.approx(1 / SERVICE, rel=0.01)
    finish = SERVICE * np.arange(1, len(load.arrivals()) + 1)  # by hand: the server is never idle again
    assert found.latency["max_ms"] == pytest.approx(1e3 * np.max(finish - load.arrivals()), rel=0.02)


def test_refused_requests_are_counted_and_not_in_the_latencies() -> None:
    found = measured(Load(rate=3 / SERVICE, seconds=5), most=2)
    assert found.counts["answered"] / sum(found.counts.values()) == pytest.approx(1 / 3, rel=0.1)
    assert found.latency["max_ms"] <= 3 * SERVICE * 1e3 + 1e-6
    assert not found.within(1e9)


def test_summary_by_hand() -> None:
    due = np.array([2.0, 2.5, 3.0, 3.5])
    outcomes = np.array(["answered", "failed", "answered", "refused"])
    sent, done = due + np.array([0.001, 0, 0, 0]), due + np.array([0.010, 9.0, 0.030, 0.0])
    found = summarise(due, sent, done, outcomes, Load(2, 2, warmup=2))
    assert found.offered == 2
    assert found.achieved == pytest.approx(2 / 9.5)
    assert found.counts == {"answered": 2, "failed": 1, "refused": 1}
    assert [found.latency[name] for name in ("mean_ms", "p50_ms", "max_ms")] == pytest.approx([20, 20, 30])
    empty = summarise(due[:0], due[:0], due[:0], outcomes[:0], Load(2, 2))
    assert empty.offered == 0
    assert not empty.within(1e9)


def test_the_largest_rate_is_found() -> None:
    asked: list[float] = []
    assert 95 < largest_rate(lambda rate: not asked.append(rate) and rate < 100, 1, 10_000) <= 100  # type: ignore[func-returns-value]
    assert len(asked) < 12
    assert largest_rate(lambda _: False, 5, 50) == 0
    assert largest_rate(lambda _: True, 5, 50) == 50
    p99 = {rate: measured(Load(rate, 20)).within(25) for rate in (60, 190)}
    assert p99 == {60: True, 190: False}


def test_a_test_lasts_until_enough_requests_that_count_are_due() -> None:
    for seed in range(50):
        load = Load(rate=2 / 64, seconds=1, seed=seed)
        longer = load.lasting(25)
        assert (longer.arrivals() >= longer.warmup).sum() >= 25
        assert (longer.rate, longer.warmup, longer.seed) == (load.rate, load.warmup, seed)
        assert longer.seconds < 2.5 * 25 / load.rate
    enough = Load(rate=50, seconds=10)
    assert enough.lasting(25) == enough


def test_low_rates_are_tried_only_where_higher_ones_fail() -> None:
    asked: list[float] = []
    assert largest_rate(lambda rate: bool(asked.append(rate)), 1, 64) == 0  # type: ignore[func-returns-value]
    assert asked == [64, 8, 1]
    assert largest_rate(lambda _: True, 1, 64) == 64
    for true in (1.5, 7, 9, 60):
        assert true / 1.05 <= largest_rate(lambda rate, true=true: rate <= true, 1, 64) <= true  # type: ignore[misc]


def test_the_largest_rate_is_looked_for_around_a_start() -> None:
    for start, factor in ((40, 2), (90, 1.4), (150, 2), (900, 2)):
        assert 100 / 1.1 < largest_rate_near(lambda rate: rate <= 100, start, factor) <= 100
    asked: list[float] = []
    assert largest_rate_near(lambda rate: bool(asked.append(rate)), 80, 2) == 0  # type: ignore[func-returns-value]
    assert asked == [80, 40, 20, 10, 8]  # down to a tenth


def test_one_client_asks_again_when_it_has_the_answer() -> None:
    with local_server.running(local_server.Fake()) as local:
        sound, wrong = b'{"history": {"item": []}, "target": {"item": [1]}}', b"{}"
        found = asyncio.run(closed_loop(local.url, [sound], seconds=0.05, warmup=0.05))
        assert found
        assert min(found) > 0
        with pytest.raises(UserError, match="answered 422 to a sound request"):
            asyncio.run(closed_loop(local.url, [sound, wrong], seconds=0.05))
