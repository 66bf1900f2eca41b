"""What the contract tests leave open; `test_parity.py` has the formulas."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines import MODELS, load, model_label
from baselines.contract import LENGTHS, SCHEMA, make_batch
from baselines.contract.batch import padded
from datamodules.errors import UserError
from datamodules.schema import Schema


def build(name: str, variant: str, schema: Schema = SCHEMA) -> nn.Module:
    """A row whose biases and scales are no longer at the values that hide a mistake."""
    torch.manual_seed(1)
    model = load(name)(schema, variant=variant)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
            if variant == "paper" and key.startswith("embedding."):
                parameter[0] = 0
    return model


rows = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in MODELS for variant in ("official", "paper")]
)


@rows
@pytest.mark.parametrize("lengths", [[1], [0], [1, 1, 1], [0, 0]])
def test_training_on_the_shortest_histories(name: str, variant: str, lengths: list[int]) -> None:
    model = build(name, variant)
    batch = make_batch(lengths, 1, targets_each=2)
    prediction = model(batch)
    loss = F.binary_cross_entropy_with_logits(prediction.logit, batch.label)
    for key, (weight, value) in prediction.losses.items():
        assert value.item() == 0 or not key.endswith("auxiliary")  # nobody has a next behaviour
        loss = loss + weight * value
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        if "auxiliary." in key:  # has nothing to learn from here
            assert not parameter.grad.any(), key


@rows
def test_attention_is_zero_at_padding(name: str, variant: str) -> None:
    batch = make_batch(LENGTHS, 5, targets_each=2)
    model = build(name, variant)
    assert hasattr(model, "explain") == (name not in ("base-model", "wide-deep", "pnn"))
    if not hasattr(model, "explain"):
        return
    attention, states = model.explain(batch)
    mask, lengths = batch.mask[batch.history_of], batch.lengths[batch.history_of]
    assert not attention[~mask].any()
    if (name, variant) != ("din", "paper"):  # the activation unit of DIN, eq. 3, has no softmax
        torch.testing.assert_close(attention.sum(1), (lengths > 0).float(), atol=1e-6, rtol=0)
    assert (states is None) == (name == "din")
    if states is not None:
        assert not states[lengths == 0].any()


def test_padding_leaves_the_papers_auxiliary_loss_alone() -> None:
    model, batch = build("dien", "paper"), make_batch([4, 2, 0], 4)
    losses = [model(each).losses["auxiliary"][1] for each in (padded(batch, 3), batch)]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", MODELS)
def test_sizes_and_words_that_make_no_sense(name: str) -> None:
    with pytest.raises(ValueError, match="embedding_size must be positive, got 0"):
        load(name)(SCHEMA, embedding_size=0)
    with pytest.raises(ValueError, match="variant must be"):
        load(name)(SCHEMA, variant="offical")


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -0.1, True, "1"])
def test_auxiliary_weights_that_make_no_sense(weight: object) -> None:
    with pytest.raises(ValueError, match="auxiliary_weight must be a finite number of at least 0, got"):
        load("dien")(SCHEMA, auxiliary_weight=weight)


MINE = """
from torch import nn
class Mine(nn.Module):
    pass
not_a_class = 3
"""


def test_a_model_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    model = load(f"{path}:Mine")
    assert isinstance(model(), nn.Module)
    assert model_label(f"{path}:Mine") == "mine"
    for missing in ("Yours", "not_a_class", ""):
        with pytest.raises(UserError, match="it holds: Mine"):
            load(f"{path}:{missing}")
    with pytest.raises(UserError, match=r"path/to/file\.py:Class"):
        load(f"{tmp_path / 'nowhere.py'}:Mine")
    (tmp_path / "mine.txt").write_text(MINE)
    with pytest.raises(UserError, match="not a Python file"):
        load(f"{tmp_path / 'mine.txt'}:Mine")
