"""Impressions under the next-day protocols: a log of three users worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.batches import BatchMaker, EvaluationBatches, NegativeSampler, TrainingBatches
from datamodules.errors import UserError
from datamodules.impressions import DAY, Behaviours, Impressions, Shown
from datamodules.protocol import OF_IMPRESSIONS, get_protocol
from datamodules.samples import Samples, Split, arrays_of, with_digest
from datamodules.samples.file import load_samples, save_samples
from datamodules.samples.impressions import make_impression_samples
from datamodules.samples.vocabulary import vocabulary

MIDNIGHT = 1_494_000_000
BEHAVIOURS = [  # user, item, day, second
    (0, 1, 0, 100),
    (0, 2, 5, 0),
    (0, 3, 15, 50),
    (0, 4, 19, 10),
    (0, 5, 20, 5),
    (1, 2, 16, 0),
    (1, 6, 16, 0),
    (1, 7, 18, 0),
]
SHOWN = [  # user, item, day, second, clicked, at random; and by hand the history before it
    (0, 8, 15, 50, 1, False, [2]),  # 1 is older than 14 days, 3 is of the same second
    (0, 9, 15, 50, 0, False, [2]),
    (2, 10, 16, 5, 0, False, []),
    (1, 9, 17, 0, 0, False, [2, 6]),
    (1, 14, 17, 5, 1, True, [2, 6]),  # trains nowhere
    (0, 1, 19, 0, 1, False, [2, 3]),  # 2 is just 14 days old
    (0, 11, 19, 1, 0, False, [3]),
    (1, 11, 19, 1, 0, False, [2, 6, 7]),
    (0, 12, 20, 6, 1, False, [3, 4, 5]),
    (1, 13, 20, 7, 0, True, [2, 6, 7]),
    (0, 12, 20, 8, 1, True, [3, 4, 5]),
    (1, 14, 20, 9, 0, False, [2, 6, 7]),
]
# Which of them are in which split, what training knows, and which clicks are in the popularity.
EXPECTED = {
    "next-day": ([0, 1, 2, 3], [5, 6, 7], [8, 11], {2, 6, 8, 9, 10}, [1, 2, 2, 3, 6, 7]),
    "next-day-dmr": ([0, 1, 2, 3, 5, 6, 7], [], [8, 11], {1, 2, 3, 6, 7, 8, 9, 10, 11}, [1, 2, 2, 3, 4, 6, 7]),
    "next-day-random": ([0, 1, 2, 3], [5, 6, 7], [9, 10], {2, 6, 8, 9, 10}, [1, 2, 2, 3, 6, 7]),
}


def log(midnight: int = MIDNIGHT) -> Impressions:
    user, item, day, second = np.array(BEHAVIOURS).T
    shown = np.array([row[:6] for row in SHOWN]).T
    items = np.arange(15, dtype=np.int32)
    return Impressions(
        catalogue={"item": items, "category": (items + 1) // 2},
        profile={"age": np.array([1, 2, 3], np.int32)},
        behaviours=Behaviours(user.astype(np.int32), item.astype(np.int32), midnight + day * DAY + second),
        shown=Shown(
            user=shown[0].astype(np.int32),
            item=shown[1].astype(np.int32),
            time=midnight + shown[2] * DAY + shown[3],
            label=shown[4].astype(np.int8),
            target={"campaign": shown[1].astype(np.int32) % 5 + 1},
            context={"hour": shown[2].astype(np.int32)},
            random=shown[5].astype(bool),
        ),
        users=3,
        first_midnight=midnight,
    )


@pytest.mark.parametrize("midnight", [MIDNIGHT, -5 * DAY], ids=["2017", "1969"])  # a simulated log begins at 0
@pytest.mark.parametrize("name", list(EXPECTED))
def test_samples_are_those_worked_out_by_hand(name: str, midnight: int) -> None:
    samples = make_impression_samples(log(midnight), get_protocol(name))
    *places, known, popular = EXPECTED[name]
    for split, rows in zip((samples.train, samples.validation, samples.test), places, strict=True):
        expect(samples, split, rows, midnight)
    assert set(np.flatnonzero(samples.known_items()).tolist()) == known
    assert sorted(samples.pool.tolist()) == popular
    assert samples.unclicked is not None
    unclicked = [row for row in places[0] if not SHOWN[row][4]]
    found = zip(samples.unclicked.user.tolist(), samples.unclicked.item.tolist(), strict=True)
    assert list(found) == sorted((SHOWN[row][0], SHOWN[row][1]) for row in unclicked)


def expect(samples: Samples, split: Split, rows: list[int], midnight: int) -> None:
    """A split is these rows of `SHOWN`."""
    assert len(split) == len(rows)
    for place, row in enumerate(rows):
        user, item, day, second, label, _, history = SHOWN[row]
        assert (split.user[place], split.item[place], split.label[place]) == (user, item, label)
        assert split.time[place] == midnight + day * DAY + second
        assert samples.items[split.begin[place] : split.end[place]].tolist() == history
        assert split.target["campaign"][place] == item % 5 + 1
        assert split.context["hour"][place] == day


def test_the_newest_behaviours_stay() -> None:
    samples = make_impression_samples(log(), replace(OF_IMPRESSIONS["next-day"], max_history=2))
    histories = [samples.items[b:e].tolist() for b, e in zip(samples.test.begin, samples.test.end, strict=True)]
    assert histories == [[4, 5], [6, 7]]


def test_no_held_out_day_reaches_training() -> None:
    """What users did and saw from the validation day on may be anything."""
    protocol = OF_IMPRESSIONS["next-day"]
    first, rng = log(), np.random.default_rng(0)
    late, held_out = (first.day(part.time) >= 19 for part in (first.behaviours, first.shown))
    item, target = first.behaviours.item.copy(), first.shown.item.copy()
    item[late], target[held_out] = 14, rng.integers(1, 15, held_out.sum())
    campaign = {"campaign": target % 5 + 1}
    other = replace(
        first,
        behaviours=replace(first.behaviours, item=item),
        shown=replace(first.shown, item=target, target=campaign),
    )
    one, two = (make_impression_samples(each, protocol) for each in (first, other))
    assert one.sha256 != two.sha256
    for name in ("pool", "train.item", "train.begin", "train.end", "unclicked.item"):
        np.testing.assert_array_equal(arrays_of(one)[name], arrays_of(two)[name])
    np.testing.assert_array_equal(one.known_items(), two.known_items())
    assert NegativeSampler(one, "uniform").pool.tolist() == np.flatnonzero(one.known_items()).tolist()
    for kind in ("popularity", "uniform", "unclicked"):
        batches = [
            TrainingBatches(each, steps=9, shuffle=True, auxiliary_negatives=kind, seed=0) for each in (one, two)
        ]
        for step in range(9):
            ours, theirs = (each[step] for each in batches)
            assert ours.negatives["item"].tolist() == theirs.negatives["item"].tolist()
            assert ours.history["item"].tolist() == theirs.history["item"].tolist()


def test_rows_are_of_training_alone() -> None:
    samples = make_impression_samples(log(), OF_IMPRESSIONS["next-day"])
    rows = vocabulary(samples, "own")
    assert rows.users["user"].tolist() == [1, 2, 3]
    assert set(rows.items["item"].tolist()) == {0, 2, 6, 8, 9, 10}
    assert set(rows.context["hour"].tolist()) == {0, 15, 16, 17}  # not the days 19 and 20
    assert set(rows.target["campaign"].tolist()) == {0, 4, 5, 1}  # of the items 8, 9 and 10
    assert rows.schema.rows == {
        "user": 4, "age": 4, "item": 15, "category": 8, "campaign": 6, "hour": 21
    }  # fmt: skip
    batch = BatchMaker(samples, samples.test, rows).make(np.arange(2))
    assert batch.target["item"].tolist() == batch.context["hour"].tolist() == [0, 0]
    assert batch.history["item"].tolist() == [[0, 0, 0], [2, 6, 0]]
    # 12 has the category 6, which no training item has, and campaign 3; 14 has campaign 5, as item 9
    assert batch.target["campaign"].tolist() == [0, 5]
    shares = rows.unknown_shares(samples, samples.validation)  # items 1, 11, 11, campaigns 2, 2, 2
    assert shares == {"item": 1, "category": pytest.approx(2 / 3), "age": 0, "user": 0, "campaign": 1, "hour": 1}


def test_impressions_of_one_moment_share_a_history() -> None:
    samples = make_impression_samples(log(), OF_IMPRESSIONS["next-day"])
    batch = EvaluationBatches(samples, samples.train)[0].batches()[0]
    assert batch.history_of.tolist() == [0, 1, 1, 2]  # longest first
    assert batch.lengths.tolist() == [2, 1, 0]


def test_unclicked_negatives_are_what_the_user_was_shown_before() -> None:
    """Each behaviour draws often, and meets all that it may, and nothing else."""
    samples = make_impression_samples(log(), OF_IMPRESSIONS["next-day-dmr"])
    sampler, pool = NegativeSampler(samples, "unclicked"), set(samples.pool.tolist())
    places = np.arange(len(BEHAVIOURS))
    owners = np.array([row[0] for row in BEHAVIOURS])
    drawn = np.stack([sampler.draw(places, owners, (0, 0, number)) for number in range(200)])
    trained = [row for row in SHOWN if not row[4] and not row[5] and row[2] < 20]
    for place, (user, item, day, second) in enumerate(BEHAVIOURS):
        before = {row[1] for row in trained if row[0] == user and row[2:4] <= (day, second)}
        assert set(drawn[:, place].tolist()) == (before or pool - {item}), place
    assert set(drawn[:, 3].tolist()) == {9, 11}  # user 0 on day 19: both; at the second of an impression too:
    assert set(drawn[:, 2].tolist()) == {9}
    # an unclicked item that is the behaviour's own is none: the pool's is taken
    own = replace(samples, items=np.where(samples.items == 3, 9, samples.items).astype(np.int32))
    found = NegativeSampler(own, "unclicked", "once", seed=1).draw(places, owners, ())
    assert found[2] in pool - {9}
    assert (found != own.items).all()


def test_own_negatives_are_other_behaviours_up_to_the_one_that_they_stand_for() -> None:
    samples = make_impression_samples(log(), OF_IMPRESSIONS["next-day-dmr"])
    sampler, pool = NegativeSampler(samples, "own"), set(samples.pool.tolist())
    places, owners = np.arange(len(BEHAVIOURS)), np.array([row[0] for row in BEHAVIOURS])
    drawn = np.stack([sampler.draw(places, owners, (0, 0, number)) for number in range(200)])
    for place, (user, item, *_) in enumerate(BEHAVIOURS):
        before = {row[1] for row in BEHAVIOURS[:place] if row[0] == user}
        found = set(drawn[:, place].tolist())
        expected = before - {item} or pool - {item}
        assert item not in found, place
        assert expected <= found <= expected | pool, place


def test_without_impressions_there_is_nothing_unclicked() -> None:
    samples = replace(make_impression_samples(log(), OF_IMPRESSIONS["next-day"]), unclicked=None)
    with pytest.raises(ValueError, match="choose popularity, uniform or own"):
        NegativeSampler(samples, "unclicked")


@pytest.mark.parametrize("name", list(EXPECTED))
def test_disk_keeps_every_array(name: str, tmp_path: Path) -> None:
    samples = make_impression_samples(log(), get_protocol(name))
    save_samples(samples, tmp_path / "samples.npz")
    loaded = load_samples(tmp_path / "samples.npz")
    ours, theirs = arrays_of(samples), arrays_of(loaded)
    assert ours.keys() == theirs.keys()
    assert loaded.sha256 == samples.sha256 == with_digest(loaded).sha256
    assert (loaded.protocol, loaded.order_within_time) == (samples.protocol, True)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("train.label", 2, "neither 0 nor 1"), ("unclicked.item", 15, "beyond"), ("test.context.hour", -1, "beyond")],
)
def test_numbers_beyond_their_last_are_refused(name: str, value: int, reason: str, tmp_path: Path) -> None:
    samples = make_impression_samples(log(), OF_IMPRESSIONS["next-day"])
    arrays_of(samples)[name][0] = value
    save_samples(with_digest(samples), tmp_path / "samples.npz")
    with pytest.raises(UserError, match=reason):
        load_samples(tmp_path / "samples.npz")


def test_logs_that_leave_a_split_without_both_classes_are_refused() -> None:
    whole = log()
    unclicked = replace(whole, shown=replace(whole.shown, label=np.zeros(len(SHOWN), np.int8)))
    with pytest.raises(UserError, match=r"4 train impressions, 0 of them clicked, under protocol next-day \(day 20"):
        make_impression_samples(unclicked, OF_IMPRESSIONS["next-day"])
    policy = replace(whole, shown=replace(whole.shown, random=None))
    with pytest.raises(UserError, match="random impressions, which this log has not: use next-day"):
        make_impression_samples(policy, OF_IMPRESSIONS["next-day-random"])
    assert len(make_impression_samples(policy, OF_IMPRESSIONS["next-day"]).train) == 5  # all are of the policy
