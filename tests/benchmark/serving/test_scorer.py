"""Served scores against those of the models themselves, and what numbers of requests mean."""

import numpy as np
import pytest
import torch
from torch import nn

from baselines import MODELS, load
from baselines.layers.mlp import Dice
from baselines.layers.prediction import Variant
from baselines.layers.two_stage import logits_of
from benchmark.serving.frozen import FrozenDice, freeze
from benchmark.serving.request import Request
from benchmark.serving.scorer import RunScorer
from datamodules.batches import EvaluationBatches
from datamodules.samples import Samples
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import Vocabulary, vocabulary

EVERY_MODEL = pytest.mark.parametrize(("name", "variant"), [(n, v) for n in MODELS for v in ("official", "paper")])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return prepare_samples("generated", "clean", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def rows(samples: Samples) -> Vocabulary:
    return vocabulary(samples)


def model_of(name: str, variant: Variant, rows: Vocabulary) -> nn.Module:
    torch.manual_seed(0)
    model = load(name)(rows.schema, variant=variant).eval()
    for tensor in model.parameters():
        nn.init.normal_(tensor, std=0.1)
    return model


def requests_of(samples: Samples) -> list[Request]:
    """The test samples, two candidates a user."""
    split = samples.test
    return [
        Request(
            {"item": samples.items[split.begin[i] : split.end[i]].tolist()},
            {"item": split.item[i : i + 2].tolist()},
            {"user": int(split.user[i])},
        )
        for i in range(0, len(split), 2)
    ]


@EVERY_MODEL
def test_a_request_is_scored_alone_as_in_a_batch_and_as_in_evaluation(
    name: str, variant: Variant, samples: Samples, rows: Vocabulary
) -> None:
    training, test = (EvaluationBatches(samples, split, rows=rows) for split in (samples.train, samples.test))
    frozen = freeze(model_of(name, variant, rows), [training[0]])
    scorer = RunScorer(frozen, rows, {})
    asked = requests_of(samples)
    together = np.concatenate(scorer.score(asked))
    np.testing.assert_allclose(np.concatenate([scorer.score([one])[0] for one in asked]), together, atol=1e-5)
    with torch.inference_mode():
        found = torch.cat([logits_of(frozen, test[at]) for at in range(len(test))]).sigmoid().numpy()
    np.testing.assert_allclose(together[test.order], found, atol=1e-5)


@EVERY_MODEL
def test_frozen_and_live_agree_on_the_batch_of_the_statistics(
    name: str, variant: Variant, samples: Samples, rows: Vocabulary
) -> None:
    lengths = samples.train.end - samples.train.begin
    whole = samples.train.take(lengths == np.bincount(lengths).argmax())  # one length: no padding in the batch
    one = EvaluationBatches(samples, whole, rows=rows)[0].batches()[0]
    model = model_of(name, variant, rows)
    with torch.inference_mode():
        torch.testing.assert_close(logits_of(freeze(model, [one]), one), logits_of(model, one), rtol=0, atol=1e-4)


def test_frozen_dice_by_hand() -> None:
    dice = Dice(1)
    nn.init.constant_(dice.alpha, 0.25)
    found = FrozenDice(dice, torch.tensor([1.0]), torch.tensor([4.0]))(torch.tensor([[5.0]]))
    p = 1 / (1 + np.exp(-2.0))  # (5 - 1) / sqrt(4)
    assert found.item() == pytest.approx(5 * (p + 0.25 * (1 - p)))


def test_what_training_never_saw_is_unknown(samples: Samples, rows: Vocabulary) -> None:
    scorer = RunScorer(nn.Identity(), rows, {})
    known = samples.known_items()
    item, unknown = int(np.flatnonzero(known)[0]), samples.item_count + 1
    category = int(samples.item_category[item])
    batch = scorer.batch(
        [
            Request({"item": []}, {"item": [item, unknown, -1, 2**63]}),
            Request({"item": [item, unknown], "category": [99, category]}, {"category": [category]}, {"user": 10**6}),
        ]
    )
    assert batch.target["item"].tolist() == [item, 0, 0, 0, 0]
    assert batch.target["category"].tolist() == [category, 0, 0, 0, category]
    assert batch.history["item"].tolist() == [[0, 0], [item, 0]]
    assert batch.history["category"].tolist() == [[0, 0], [0, category]]  # what is given counts
    assert batch.lengths.tolist() == [0, 2]
    assert batch.history_of.tolist() == [0, 0, 0, 0, 1]
    assert batch.user["user"].tolist() == [0, 0]


def test_users_have_the_rows_of_training(samples: Samples, rows: Vocabulary) -> None:
    scorer = RunScorer(nn.Identity(), rows, {})
    users = [0, int(samples.train.user[-1]), int(samples.test.user[0])]
    batch = scorer.batch([Request({"item": []}, {"item": [1]}, {"user": user}) for user in users])
    assert batch.user["user"].tolist() == rows.users["user"][users].tolist()
