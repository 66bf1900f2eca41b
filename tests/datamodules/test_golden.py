"""Samples and batches of the data set `generated` are to the bit what they were: records compare with older ones.

Where a change to the samples is meant, `SAMPLER_VERSION` is raised, and the hashes of the new samples are put here.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from datamodules.batches import TrainingBatches
from datamodules.protocol import PROTOCOLS
from datamodules.samples import SAMPLER_VERSION, Samples
from datamodules.samples_file import prepare_samples

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
        "859c6676a8409ed468b47e3f4643bf5c9e0c9824ecc17323ace5c82f2690cfa5",
        "08358bd596e8f6ee3514ac3ca99eca69c4a762ef0b4426217adea8cbb692de07",
    ),
    (False, "uniform", "once"): ("6262afe59f38099a7b38e66841c7924531c2e3487419b683e6ad6e46562daad9",) * 2,
    (True, "uniform", "fresh"): (
        "c17efa06820589dcfd46d7c6126c4e075eb435c59ec1eb6bec54b9c413c34b30",
        "1ada7ee634e25b3b3ff01ab3d8b9dead1f68503565006911014735d943cb5831",
    ),
    (True, "popularity", "once"): (
        "875eacc91639bac4b3890bb62fd04ba5ad9a25884307e7a3e6128dc4444e0f9a",
        "680be092375d6e76fb7f91259d233436473720e4bda5e98737c2bd756b2394ef",
    ),
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def samples(data_dir: Path) -> Samples:
    return prepare_samples("generated", "aaai-2019", data_dir)


def test_samples_under_every_protocol(data_dir: Path) -> None:
    found = {name: prepare_samples("generated", name, data_dir).sha256 for name in PROTOCOLS}
    assert (SAMPLER_VERSION, found) == (1, SAMPLES)


def epoch_sha256(batches: TrainingBatches, epoch: int) -> str:
    digest = hashlib.sha256()
    for number in range(batches.batches_per_epoch):
        for tensor in batches[epoch * batches.batches_per_epoch + number]:
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
        auxiliary_negatives=negatives,  # type: ignore[arg-type]
        auxiliary_draws=draws,  # type: ignore[arg-type]
        seed=0,
    )
    assert batches.batches_per_epoch == 68
    assert tuple(epoch_sha256(batches, epoch) for epoch in (0, 1)) == BATCHES[settings]


def test_unshuffled_epochs_differ_in_their_auxiliary_negatives_alone(samples: Samples) -> None:
    batches = TrainingBatches(samples, steps=200, batch_size=8, shuffle=False, auxiliary_negatives="popularity", seed=0)
    same, positions = 0, 0
    for number in range(batches.batches_per_epoch):
        first, second = batches[number], batches[number + batches.batches_per_epoch]
        assert first.item.tolist() == second.item.tolist()
        assert first.history_items.tolist() == second.history_items.tolist()
        same += int((first.negative_items == second.negative_items)[first.mask].sum())
        positions += int(first.mask.sum())
    assert same < positions / 10  # equal by chance


def test_batches_are_sorted_inside_windows_of_20(samples: Samples) -> None:
    batches = TrainingBatches(samples, steps=200, batch_size=8, shuffle=False, auxiliary_negatives="none", seed=0)
    lengths = [batches[number].lengths.tolist() for number in range(68)]
    rising = [number for number in range(1, 68) if lengths[number][0] > lengths[number - 1][-1]]
    assert rising == [20, 40, 60]
