"""Rows of tables: what training mentions has its own (variants.md 19)."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.batches import BatchMaker
from datamodules.datamodule import InteractionsDataModule
from datamodules.samples import Samples
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import vocabulary


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("protocol", ["clean", "din-2018"])
def test_an_unknown_user_has_the_row_of_the_most_frequent_one_or_its_own(protocol: str, data_dir: Path) -> None:
    samples = prepare_samples("generated", protocol, data_dir)
    train = samples.train.user.tolist()
    most = Counter(train).most_common(1)[0][0]  # of several, the first that is met
    official, own = (vocabulary(samples, kind).users["user"].tolist() for kind in ("most-frequent", "own"))
    assert own == [user + 1 if user in set(train) else 0 for user in range(samples.users)]
    assert official == [0 if user == most else row for user, row in enumerate(own)]


def trained_rows(samples: Samples, data: InteractionsDataModule) -> set[int]:
    maker = BatchMaker(samples, samples.train, data.vocabulary)
    return set(maker.make(np.arange(len(samples.train))).user["user"].tolist())


def test_nothing_trains_the_own_row_of_unknown_users(data_dir: Path) -> None:
    """Test users read row 0, in training one user's samples do under "most-frequent" and none under "own"."""
    for kind, trained in (("most-frequent", True), ("own", False)):
        data = InteractionsDataModule("generated", "clean", data_dir=str(data_dir), unknown_user=kind)
        data.setup()
        samples = data.ready
        assert (0 in trained_rows(samples, data)) is trained
        assert not BatchMaker(samples, samples.test, data.vocabulary).make(np.arange(9)).user["user"].any()
        assert data.vocabulary.unknown_shares(samples, samples.test)["user"] == 1  # whatever row they read


def test_shares_of_what_training_never_saw(data_dir: Path) -> None:
    samples = prepare_samples("generated", "clean", data_dir)
    few = vocabulary(type(samples)(**vars(samples) | {"train": samples.train.take(np.arange(6))}))
    items, categories = (set(few.items[name].tolist()) for name in ("item", "category"))
    shares = few.unknown_shares(samples, samples.test)
    targets = samples.test.item.tolist()
    assert 0 < shares["item"] == pytest.approx(np.mean([item not in items for item in targets]))
    category_of = samples.catalogue["category"]
    assert shares["category"] == pytest.approx(np.mean([category_of[item] not in categories for item in targets]))
    assert few.unknown_shares(samples, samples.test.take(np.arange(0))) == {}
