"""What the contract tests leave open; `test_parity.py` has the formulas."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines import MODELS, load, model_label
from baselines.contract import LENGTHS, SIZES, make_batch
from datamodules.errors import UserError


def build(name: str, variant: str) -> nn.Module:
    """A row whose biases and scales are no longer at the values that hide a mistake."""
    torch.manual_seed(1)
    model = load(name)(**SIZES, variant=variant)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        if variant == "paper":
            model.embedding.item.weight[0] = 0
            model.embedding.category.weight[0] = 0
    return model


rows = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in MODELS for variant in ("official", "paper")]
)


@rows
def test_weights_saved_and_loaded_give_the_same_logits(name: str, variant: str, tmp_path: Path) -> None:
    model, batch = build(name, variant).eval(), make_batch(LENGTHS, 5)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(2)
    other = load(name)(**SIZES, variant=variant).eval()
    with torch.inference_mode():
        assert not torch.equal(other(batch).logit, model(batch).logit)
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(other(batch).logit, model(batch).logit)


@rows
@pytest.mark.parametrize("lengths", [[1], [0], [1, 1, 1], [0, 0]])
def test_training_on_the_shortest_histories(name: str, variant: str, lengths: list[int]) -> None:
    model = build(name, variant)
    batch = make_batch(lengths, 1)
    prediction = model(batch)
    loss = F.binary_cross_entropy_with_logits(prediction.logit, batch.label)
    for weight, value in prediction.losses.values():
        assert value.item() == 0  # nobody has a next behaviour
        loss = loss + weight * value
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        if key.startswith("auxiliary."):  # has nothing to learn from here
            assert not parameter.grad.any(), key


@rows
def test_attention_is_zero_at_padding(name: str, variant: str) -> None:
    batch = make_batch(LENGTHS, 5)
    model = build(name, variant)
    assert hasattr(model, "explain") == (name not in ("base-model", "wide-deep", "pnn"))
    if not hasattr(model, "explain"):
        return
    attention, states = model.explain(batch)
    assert not attention[~batch.mask].any()
    if (name, variant) != ("din", "paper"):  # the activation unit of DIN, eq. 3, has no softmax
        torch.testing.assert_close(attention.sum(1), (batch.lengths > 0).float(), atol=1e-6, rtol=0)
    assert (states is None) == (name == "din")
    if states is not None:
        assert not states[batch.lengths == 0].any()


def test_padding_leaves_the_papers_auxiliary_loss_alone() -> None:
    model, batch = build("dien", "paper"), make_batch([4, 2, 0], 4)
    longer = {field: F.pad(tensor, (0, 3)) for field, tensor in batch._asdict().items() if tensor.dim() == 2}
    torch.testing.assert_close(model(batch._replace(**longer)).losses["auxiliary"], model(batch).losses["auxiliary"])


@rows
def test_sizes_and_words_that_make_no_sense(name: str, variant: str) -> None:
    with pytest.raises(ValueError, match="items must be positive, got 0"):
        load(name)(**SIZES | {"items": 0}, variant=variant)
    with pytest.raises(ValueError, match="variant must be"):
        load(name)(**SIZES, variant="offical")


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -0.1, True, "1"])
def test_auxiliary_weights_that_make_no_sense(weight: object) -> None:
    with pytest.raises(ValueError, match="auxiliary_weight must be a finite number of at least 0, got"):
        load("dien")(**SIZES, auxiliary_weight=weight)


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
