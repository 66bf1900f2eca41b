"""Samples and batches of the data set `generated` are to the bit what they were: records compare with older ones.

Where a change to the samples is meant, `SAMPLER_VERSION` is raised, and the hashes of the new samples are put here.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from datamodules.batches import TrainingBatches
from datamodules.interactions import load_interactions
from datamodules.protocol import OF_INTERACTIONS
from datamodules.samples import SAMPLER_VERSION, Samples
from datamodules.samples_file import prepare_samples
from datamodules.streams import Stream, generator

SAMPLES = {
    "arxiv-v1": "548ee7458a67441174c4c310aaa637274c1b519309b490bd30de713ac959cd26",
    "aaai-2019": "effabe8559fe3a343e871d27f2ab92f959be5cba7f1b7d0dcdecdc6627914d88",
    "clean": "92d201bc929b13ec5b4c3ca78ea271eb2811703074eb500bcde54ecf99422266",
    "din-2018": "6400a648621560b64de8178d0e5575911b1fe9e123aa6b40bf87e40ede5a08c9",
    "random-ties": "984166d18381896b80387afcd5008e0e5970978f2313b6b1b077e09c97d84fde",
    "uniform-negatives": "15493d8763d00e6d9ca722dc24bbed8e58c358df961e6b18ac927d4e42283c3f",
}
# All tensors of the 68 batches of 8 of the first epoch and of the second, by (shuffle, auxiliary negatives, draws).
BATCHES = {
    (False, "popularity", "fresh"): (
        "43cf9da008b537f0703896ff1f2605879a977b735a8e17b3c618f6d203d31820",
        "0f86d7aef568863050d725b6889e2742ceb457a30b8b053d70ffb125d783fada",
    ),
    (False, "uniform", "once"): ("c0422b06bc3102fdbfe0ed2ed44b46e8be429abbf4343f23ba2c73c4b54c910e",) * 2,
    (True, "uniform", "fresh"): (
        "6cb81daf55aea2470035f128bfb8156e781c4ff4d6256250f729c9dcf337b707",
        "162bbff6c0990ef61d5391d7873fbf114e1c1d381887233fb256aaeaee6977de",
    ),
    (True, "popularity", "once"): (
        "da220e86c3c3bca3b0c43454c4ea40c7baafc577f34e1ddca1cb7692fe81aa0a",
        "f401c024d6fe6fcbbb49a9df01bc312254c3277a7a2a5c8f15ac1c34dbe40634",
    ),
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def samples(data_dir: Path) -> Samples:
    return prepare_samples("generated", "aaai-2019", data_dir)


def test_samples_under_every_protocol(data_dir: Path) -> None:
    found = {name: prepare_samples("generated", name, data_dir).sha256 for name in OF_INTERACTIONS}
    assert (SAMPLER_VERSION, found) == (2, SAMPLES)


@pytest.mark.parametrize("name", list(OF_INTERACTIONS))
def test_samples_are_the_slow_loop(name: str, data_dir: Path) -> None:
    """All but the negatives, which are drawn: of these, that they may be drawn."""
    samples, protocol = prepare_samples("generated", name, data_dir), OF_INTERACTIONS[name]
    table = load_interactions(data_dir / "generated")
    columns = (table.user, table.time, table.catalogue_rank, table.item, table.category)
    log = list(zip(*(column.tolist() for column in columns), strict=True))
    number = generator(Stream.TIES, 0).permutation(len(log)).tolist()
    key = {"catalogue": lambda i: log[i][2:4], "time, catalogue": lambda i: log[i][1:4]}
    order = key.get(protocol.order, lambda i: (log[i][1], number[i]))
    of_user: dict[int, list[tuple[int, ...]]] = {}
    for i in sorted(range(len(log)), key=lambda i: (log[i][0], order(i))):
        of_user.setdefault(log[i][0], []).append(log[i])
    flat = [row for rows in of_user.values() for row in rows]
    assert samples.items.tolist() == [row[3] for row in flat]
    assert samples.times.tolist() == [row[1] for row in flat]
    assert all(samples.catalogue["category"][row[3]] == row[4] for row in flat)

    users = generator(Stream.SPLIT, 0).permutation(300).tolist()
    tests, validates = (round(300 * share) for share in (protocol.test_users, protocol.validation_users))
    groups = users[tests + validates :], users[tests : tests + validates], users[:tests] or users
    pool = {row[3] for row in flat if name != "clean" or row[0] in groups[0]}
    for split, owners in zip((samples.train, samples.validation, samples.test), groups, strict=True):
        last_only = not (protocol.every_position_trains and split is samples.train)
        found = zip(
            *(column.tolist() for column in (split.user, split.begin, split.end, split.item, split.label, split.time)),
            strict=True,
        )
        for user in owners:
            mine, first = of_user[user], samples.offsets[user]
            seen = {row[3] for row in mine}
            for place in [len(mine) - 1] if last_only else range(1, len(mine) - 1):
                span = (user, first + max(place - 100, 0), first + place)
                *where, negative, label, time = next(found)
                assert (tuple(where), label, time) == (span, 0, mine[place][1])
                assert negative in pool or "uniform" in protocol.negative
                assert negative not in (seen if "not seen" in protocol.negative else {mine[place][3]})
                assert next(found) == (*span, mine[place][3], 1, mine[place][1])
        assert next(found, None) is None


def epoch_sha256(batches: TrainingBatches, epoch: int) -> str:
    digest = hashlib.sha256()
    for number in range(batches.batches_per_epoch):
        batch = batches[epoch * batches.batches_per_epoch + number]
        for value in batch.as_dict().values():
            for tensor in value.values() if isinstance(value, dict) else [value]:
                digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()


@pytest.mark.parametrize("settings", list(BATCHES), ids=str)
def test_batches_of_two_epochs(settings: tuple[bool, str, str], samples: Samples) -> None:
    shuffle, negatives, draws = settings
    batches = TrainingBatches(
        samples,
        steps=200,
        batch_size=8,
        shuffle=shuffle,
        auxiliary_negatives=negatives,
        auxiliary_draws=draws,
        seed=0,
    )
    assert batches.batches_per_epoch == 68
    assert tuple(epoch_sha256(batches, epoch) for epoch in (0, 1)) == BATCHES[settings]


def test_unshuffled_epochs_differ_in_their_auxiliary_negatives_alone(samples: Samples) -> None:
    batches = TrainingBatches(samples, steps=200, batch_size=8, shuffle=False, auxiliary_negatives="popularity", seed=0)
    same, drawn = 0, 0
    for number in range(batches.batches_per_epoch):
        first, second = batches[number], batches[number + batches.batches_per_epoch]
        assert first.target["item"].tolist() == second.target["item"].tolist()
        assert first.history["item"].tolist() == second.history["item"].tolist()
        ours, theirs = first.negatives["item"], second.negatives["item"]
        same += int((ours == theirs)[ours > 0].sum())
        drawn += int((ours > 0).sum())
    assert same < drawn / 10  # equal by chance


def test_batches_are_sorted_inside_windows_of_20(samples: Samples) -> None:
    batches = TrainingBatches(samples, steps=200, batch_size=8, shuffle=False, auxiliary_negatives="none", seed=0)
    lengths = [batches[number].lengths.tolist() for number in range(68)]
    rising = [number for number in range(1, 68) if lengths[number][0] > lengths[number - 1][-1]]
    assert rising == [20, 40, 60]
