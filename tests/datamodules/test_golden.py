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
from datamodules.samples.file import prepare_samples

SAMPLES = {
    "arxiv-v1": "dc644cf781be18bd66c35ecb610ba69abfac2e182c5d8072d9b5b294cb0eecbd",
    "aaai-2019": "1944b88b3811118426106f34a14383b9c87fbe1c50d7f253c1a211f3046d9d57",
    "clean": "ce2aca3365537c97eaabe20f3775df27757dfdc95b6d11fc9d5f1bd21f5f6d35",
    "din-2018": "77fc0a6ce78e97c3a7547e1aaff990d3dd92eaebd290f440a6616a78e0244fcd",
    "random-ties": "cf1365ab7a43fbd748d9f65eee7a69a36946646c6918819b6f616ca3b07e9be2",
    "uniform-negatives": "3ee0e3ace76cd79d0b4855c6756fbf007255063d5b793ae2af69faca245861c7",
}
# All tensors of the 68 batches of 8 of the first epoch and of the second, by (shuffle, auxiliary negatives, draws).
BATCHES = {
    (False, "popularity", "fresh"): (
        "b3abeb5b16d9a47855f487fe2aef45affe196193f5bd0dc381ba00fd9befdddd",
        "2e30d6fa30f6347bb3afb7a7ec0f87324c8e59425055ad7bc7819d3cafba013f",
    ),
    (False, "uniform", "once"): ("262f33a38ef23a75f25e7dd9c8d1f5bd7ca6f6f4922ae1754efa0239d52bbc94",) * 2,
    (True, "uniform", "fresh"): (
        "151b6d0cd28ceac49b35012280081f42d6c714cf7b48ae9e07e0ff20b6f8e4e0",
        "a85754de9afa6b3396f975e40a5e3cb136627d17394d74d1dc25d82856cb6587",
    ),
    (True, "popularity", "once"): (
        "08c466b8ae7ff5d0b3067238e8f99a0b62246363c3280edad2073f99849f6eae",
        "6329d3144490f796e87ea4de725bc53a1548fcafcefe835b2348286bb49f1b0e",
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
    assert (SAMPLER_VERSION, found) == (1, SAMPLES)


@pytest.mark.parametrize("name", list(OF_INTERACTIONS))
def test_samples_are_the_slow_loop(name: str, data_dir: Path) -> None:
    """All but the negatives, which are drawn: of these, that they may be drawn."""
    samples, protocol = prepare_samples("generated", name, data_dir), OF_INTERACTIONS[name]
    table = load_interactions(data_dir / "generated")
    columns = (table.user, table.time, table.catalogue_rank, table.item, table.category)
    log = list(zip(*(column.tolist() for column in columns), strict=True))
    number = np.random.default_rng([0, 1]).permutation(len(log)).tolist()
    key = {"catalogue": lambda i: log[i][2:4], "time, catalogue": lambda i: log[i][1:4]}
    order = key.get(protocol.order, lambda i: (log[i][1], number[i]))
    of_user: dict[int, list[tuple[int, ...]]] = {}
    for i in sorted(range(len(log)), key=lambda i: (log[i][0], order(i))):
        of_user.setdefault(log[i][0], []).append(log[i])
    flat = [row for rows in of_user.values() for row in rows]
    assert samples.items.tolist() == [row[3] for row in flat]
    assert samples.times.tolist() == [row[1] for row in flat]
    assert all(samples.catalogue["category"][row[3]] == row[4] for row in flat)

    users = np.random.default_rng([0, 2]).permutation(300).tolist()
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
