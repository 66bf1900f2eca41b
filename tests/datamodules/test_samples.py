"""The protocols against a hand-worked example of a few users."""

from dataclasses import replace

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.interactions import Interactions
from datamodules.protocol import PROTOCOLS, get_protocol
from datamodules.samples import Samples, arrays_of, make_samples

DAY = 86_400


def interactions(rows: list[tuple[int, int, int]], rank: dict[int, int], items: int) -> Interactions:
    """Rows of (user, item, day); item i has category 1 + i % 2; items nobody touched are touched by a last user."""
    table = np.array(sorted(rows, key=lambda row: (row[0], row[2], row[1])), np.int64)
    item = table[:, 1]
    return Interactions(
        user=table[:, 0].astype(np.int32),
        item=item.astype(np.int32),
        category=(1 + item % 2).astype(np.int32),
        time=table[:, 2] * DAY,
        catalogue_rank=np.array([rank[i] for i in item], np.int32),
        manifest={
            "counts": {"interactions": len(rows), "users": int(table[-1, 0]) + 1, "items": items, "categories": 2}
        },
    )


# user 0: items 5, 2 on day 1, item 4 on day 2, items 1 and 3 on day 3; catalogue ranks run against the item numbers
ROWS = [(0, 5, 1), (0, 2, 1), (0, 4, 2), (0, 1, 3), (0, 3, 3)]
RANK = {item: 10 - item for item in range(1, 11)}


def one_user(protocol: str, **changes: object) -> Interactions:
    others = [(user, 1 + (user * 3 + step) % 10, step) for user in range(1, 30) for step in range(5)]
    return interactions(ROWS + others, RANK, items=10)


def history_of(samples: Samples, user: int) -> list[int]:
    begin, end = samples.offsets[user], samples.offsets[user + 1]
    return samples.items[begin:end].tolist()


def test_orders() -> None:
    data = one_user("arxiv-v1")
    # catalogue: rank of item i is 10 - i
    assert history_of(make_samples(data, get_protocol("arxiv-v1")), 0) == [5, 4, 3, 2, 1]
    # time, then catalogue: day 1 is 5, 2; day 2 is 4; day 3 is 3, 1
    assert history_of(make_samples(data, get_protocol("aaai-2019")), 0) == [5, 2, 4, 3, 1]
    clean = history_of(make_samples(data, get_protocol("clean")), 0)
    assert (set(clean[:2]), clean[2], set(clean[3:])) == ({2, 5}, 4, {1, 3})


@pytest.mark.parametrize("name", ["arxiv-v1", "aaai-2019", "clean"])
def test_last_item_protocols(name: str) -> None:
    data = one_user(name)
    samples = make_samples(data, get_protocol(name))
    seen = set(zip(data.user.tolist(), data.item.tolist(), strict=True))
    users = [set(split.user.tolist()) for split in (samples.train, samples.validation, samples.test)]
    assert sorted(user for group in users for user in group) == list(range(30))  # disjoint, and all of them
    assert [len(group) for group in users] == ([24, 3, 3] if name == "clean" else [27, 0, 3])
    for split in (samples.train, samples.validation, samples.test):
        assert split.label.tolist() == [0, 1] * (len(split) // 2)
        for user, end, item, label in zip(split.user, split.end, split.item, split.label, strict=True):
            history = history_of(samples, user)
            assert end == samples.offsets[user + 1] - 1  # everything but the last
            if label:
                assert item == history[-1]
            elif name == "clean":
                assert (user, item) not in seen
            else:
                assert item != history[-1]


def test_every_position_trains_and_the_last_tests() -> None:
    data = one_user("din-2018")
    samples = make_samples(data, get_protocol("din-2018"))
    seen = set(zip(data.user.tolist(), data.item.tolist(), strict=True))
    mine = samples.train.user == 0
    begin = samples.offsets[0]
    assert (samples.train.end[mine] - begin).tolist() == [1, 1, 2, 2, 3, 3]
    assert samples.train.item[mine][1::2].tolist() == history_of(samples, 0)[1:4]
    assert len(samples.test) == 60  # every user, one positive and one negative
    for split in (samples.train, samples.test):
        negatives = split.label == 0
        assert not seen & set(zip(split.user[negatives].tolist(), split.item[negatives].tolist(), strict=True))


def test_without_order_inside_a_day_a_history_ends_before_the_day() -> None:
    data = one_user("aaai-2019")
    samples = make_samples(data, get_protocol("aaai-2019"), order_within_time=False)
    split = samples.train if 0 in samples.train.user else samples.test
    assert set((split.end[split.user == 0] - samples.offsets[0]).tolist()) == {3}  # the last day's two are left out
    # catalogue order knows no days
    catalogue = make_samples(data, get_protocol("arxiv-v1"), order_within_time=False)
    split = catalogue.train if 0 in catalogue.train.user else catalogue.test
    assert set((split.end[split.user == 0] - catalogue.offsets[0]).tolist()) == {4}


def test_clean_does_not_know_the_catalogue() -> None:
    data = one_user("clean")
    shuffled = np.random.default_rng(0).permutation(11)
    other = replace(data, catalogue_rank=shuffled[data.catalogue_rank].astype(np.int32))
    first, second = (make_samples(table, get_protocol("clean")) for table in (data, other))
    for ours, theirs in zip(split_fields(first), split_fields(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(first.items, second.items)


def test_known_is_what_training_mentions() -> None:
    data = one_user("clean")
    samples = make_samples(data, get_protocol("clean"))
    mentioned = set(samples.train.item.tolist())
    for user, end in zip(samples.train.user, samples.train.end, strict=True):
        mentioned |= set(samples.items[samples.offsets[user] : end].tolist())
    assert set(np.flatnonzero(samples.known_items()).tolist()) == mentioned


def test_a_user_who_saw_everything_has_no_negative() -> None:
    rows = [(user, item, item) for user in range(10) for item in (1, 2, 3)]
    with pytest.raises(UserError, match="found no negative"):
        make_samples(interactions(rows, RANK, items=3), get_protocol("clean"))


def test_hash_changes_with_any_field() -> None:
    protocol = PROTOCOLS["clean"]
    assert replace(protocol, data_seed=1).hash != protocol.hash
    assert len({p.hash for p in PROTOCOLS.values()}) == len(PROTOCOLS)
    with pytest.raises(UserError, match="did you mean 'clean'"):
        get_protocol("claen")


def split_fields(samples: Samples) -> list[np.ndarray]:
    return [array for name, array in arrays_of(samples).items() if "." in name]


def test_popularity_is_of_the_pools_reviews() -> None:
    """Only training users' reviews are in the clean pool; elsewhere everyone's are, repetitions included."""
    data = one_user("clean")
    everyone = make_samples(data, get_protocol("aaai-2019"))
    assert sorted(everyone.pool.tolist()) == sorted(data.item.tolist())
    samples = make_samples(data, get_protocol("clean"))
    trains = np.isin(data.user, samples.train.user)
    assert sorted(samples.pool.tolist()) == sorted(data.item[trains].tolist())
    assert len(samples.pool) < len(data.item)


def test_a_negative_in_the_pool_alone_is_drawn_in_proportion() -> None:
    """Nine of ten reviews are of item 1 or 2: so are most negatives by popularity, while uniform ones spread."""
    rows = [(user, 1 + day % 2, day) for user in range(200) for day in range(8)]
    rows += [(user, 3 + user % 8, 9) for user in range(200)]
    data = interactions(rows, RANK, items=10)
    split = make_samples(data, get_protocol("aaai-2019")).train
    share = np.isin(split.item[split.label == 0], (1, 2)).mean()
    assert 0.8 < share < 1  # 8 of 9 reviews
    uniform = make_samples(data, get_protocol("din-2018")).train
    drawn = uniform.item[uniform.label == 0]
    assert set(drawn.tolist()) == set(range(3, 11))  # everybody saw 1 and 2


def test_every_position_without_order_inside_a_day() -> None:
    """User 0: day 1 has no earlier day, so items of days 2 and 3 alone train or test, after whole days."""
    samples = make_samples(one_user("din-2018"), get_protocol("din-2018"), order_within_time=False)
    mine, begin = samples.train.user == 0, samples.offsets[0]
    assert samples.train.item[mine][1::2].tolist() == [4, 3]
    assert (samples.train.end[mine][1::2] - begin).tolist() == [2, 3]
    tested = samples.test.user == 0
    assert samples.test.item[tested].tolist()[1] == 1
    assert set((samples.test.end[tested] - begin).tolist()) == {3}


def test_the_data_seed_is_the_only_source_of_chance() -> None:
    data = one_user("clean")
    protocol = get_protocol("clean")
    first, again, other = (make_samples(data, p) for p in (protocol, protocol, replace(protocol, data_seed=1)))
    for ours, theirs in zip(split_fields(first), split_fields(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first.sha256 != other.sha256


def test_histories_keep_the_newest() -> None:
    data = one_user("aaai-2019")
    samples = make_samples(data, replace(get_protocol("aaai-2019"), max_history=2))
    assert (samples.train.end - samples.train.begin == 2).all()
    assert (samples.train.begin == samples.offsets[samples.train.user] + 2).all()  # of four behaviours the newest two


def test_times_are_the_targets() -> None:
    """User 0's last day is day 3; behaviours and their times stay beside one another."""
    samples = make_samples(one_user("aaai-2019"), get_protocol("aaai-2019"))
    split = samples.train if 0 in samples.train.user else samples.test
    assert set(split.time[split.user == 0].tolist()) == {3 * DAY}
    assert samples.times[:5].tolist() == [DAY, DAY, 2 * DAY, 3 * DAY, 3 * DAY]


def test_too_few_users_to_test_on() -> None:
    rows = [(user, 1 + (user + step) % 5, step) for user in range(3) for step in range(3)]
    with pytest.raises(UserError, match="use more users"):
        make_samples(interactions(rows, RANK, items=5), get_protocol("arxiv-v1"))
