"""Candidates of requests as samples: of what was logged, they are the samples that the protocol makes."""

import numpy as np

from benchmark.abtest.candidates import _split
from benchmark.abtest.workload import Requests
from datamodules.protocol import OF_IMPRESSIONS
from datamodules.samples.impressions import make_impression_samples
from datamodules.sources.market import MarketSize, make_market, make_world


def test_logged_impressions_are_the_test_samples() -> None:
    size = MarketSize(users=300, goods=400, categories=20)
    world, samples = make_world(size), make_impression_samples(make_market(size), OF_IMPRESSIONS["next-day"])
    test = samples.test
    requests = Requests(test.user.astype(np.int64), test.time, test.context, test.item[:, None].astype(np.int64))
    found = _split(samples, requests, {"campaign": world.goods.campaign})
    assert len(test) > 100
    for name in ("user", "begin", "end", "item", "time"):
        np.testing.assert_array_equal(getattr(found, name), getattr(test, name))
    np.testing.assert_array_equal(found.target["campaign"], test.target["campaign"])
    assert {name: codes.tolist() for name, codes in found.context.items()} == {
        name: codes.tolist() for name, codes in test.context.items()
    }


def test_candidates_of_a_request_stand_side_by_side_with_one_history() -> None:
    size = MarketSize(users=300, goods=400, categories=20)
    world, samples = make_world(size), make_impression_samples(make_market(size), OF_IMPRESSIONS["next-day"])
    test, items = samples.test, np.array([[3, 1, 2], [9, 8, 7]])
    requests = Requests(
        test.user[:2].astype(np.int64), test.time[:2], {name: codes[:2] for name, codes in test.context.items()}, items
    )
    found = _split(samples, requests, {"campaign": world.goods.campaign})
    assert found.item.tolist() == [3, 1, 2, 9, 8, 7]
    assert found.begin.tolist() == np.repeat(test.begin[:2], 3).tolist()
    assert found.end.tolist() == np.repeat(test.end[:2], 3).tolist()
    assert found.target["campaign"].tolist() == world.goods.campaign[[3, 1, 2, 9, 8, 7]].tolist()
