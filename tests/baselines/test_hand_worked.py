"""Numbers worked by hand: each stands with the arithmetic that gives it, and no other program made it."""

from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.contract import SCHEMA, make_batch
from baselines.layers.attention import BilinearAttention, MLPAttention
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, Mean, MLPAuxiliaryLoss, Pairs
from baselines.layers.mlp import Dice, FrozenNormalisation
from baselines.layers.recurrent import RecurrentLayer
from baselines.lightning_module import CTRModule
from datamodules.packing import pack, packing_of
from tests.baselines.layouts import layout

TWO = packing_of(np.array([2]), 2)  # a history of two behaviours


def terms(gate: str, a: list[float]) -> dict[str, Tensor]:
    """p and q of z = p + q u."""
    attention = torch.tensor(a)
    return {
        "gru": {},
        "agru": {"p": attention, "q": torch.zeros_like(attention)},
        "augru": {"q": attention},
        "augru-keep": {"p": attention, "q": 1 - attention},
    }[gate]


def fill(layer: nn.Module, **values: float | list[float]) -> None:
    """Set every parameter to 0 but those given."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.zero_()
            if name in values:
                parameter.copy_(torch.tensor(values[name]).expand_as(parameter))


@pytest.mark.parametrize(
    ("gate", "states"),
    [
        # u = sigmoid(0) = 0.5 and the candidate is 0.5 at both positions; a = 0.2, then 0.6
        ("gru", [0.25, 0.375]),  # z = u: 0 + 0.5 * 0.5; 0.25 + 0.5 * (0.5 - 0.25)
        ("agru", [0.1, 0.34]),  # z = a: 0.2 * 0.5; 0.1 + 0.6 * 0.4
        ("augru", [0.05, 0.185]),  # z = a u: 0.1 * 0.5; 0.05 + 0.3 * 0.45
        ("augru-keep", [0.3, 0.46]),  # keep (1 - a)(1 - u) = 0.4, z = 0.6: 0.3; keep 0.2, z = 0.8: 0.3 + 0.8 * 0.2
    ],
)
def test_two_positions_under_every_gate(gate: str, states: list[float]) -> None:
    layer = RecurrentLayer(1, 1, reset_after=True)
    fill(layer, bias=[0.0, 0.0, log(3) / 2])  # tanh(log(3) / 2) = (3 - 1) / (3 + 1)
    found = layer(layer.project(torch.ones(2, 1)), TWO, **terms(gate, [0.2, 0.6]))
    assert found.flatten().tolist() == pytest.approx(states, abs=1e-6)


@pytest.mark.parametrize(
    ("gate", "at_0", "at_1"),
    [
        ("agru", 0.25, 0.5),  # keeps the state 0.25 of a first GRU-like step; takes the candidate
        ("augru", 0.25, 0.375),  # keeps the state; an ordinary step 0.25 + 0.5 * 0.25
        ("augru-keep", 0.375, 0.5),  # the other way round: an ordinary step at a = 0, the candidate at a = 1
    ],
)
def test_gates_at_a_0_and_a_1(gate: str, at_0: float, at_1: float) -> None:
    layer = RecurrentLayer(1, 1, reset_after=False)
    fill(layer, bias=[0.0, 0.0, log(3) / 2])
    first = {"agru": 0.5, "augru": 1.0, "augru-keep": 0.0}[gate]  # the attention at which z = 0.5, the state 0.25
    for a, state in ((0.0, at_0), (1.0, at_1)):
        found = layer(layer.project(torch.ones(2, 1)), TWO, **terms(gate, [first, a]))
        assert found.flatten().tolist() == pytest.approx([0.25, state], abs=1e-6)


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_two_forms_of_the_gru(reset_after: bool) -> None:
    """The paper resets U h, TensorFlow h. With two units that swap places the two are not the same.

    h = (0.5, 0.5) after a first step, r = (2/3, 1/2), U h = (1.5, 0.5) for U h = (h_1 + 2 h_2, h_1).
    Paper: r o (U h) = (1, 0.25). TensorFlow: r o h = (1/3, 1/4), U (r o h) = (1/3 + 2/4, 1/3) = (5/6, 1/3).
    """
    layer = RecurrentLayer(1, 2, reset_after=reset_after)
    fill(layer)
    expected = torch.tensor([1.0, 0.25] if reset_after else [5 / 6, 1 / 3])
    with torch.no_grad():
        layer.bias[:2] = 50.0  # u = 1: the state is the candidate
        layer.bias[2:4] = torch.tensor([log(2), 0.0])  # r = 2/3 and 1/2
        layer.input_weight[4:] = log(3) / 2  # x = 1 gives the candidate tanh(log(3) / 2) = 0.5, x = 0 the state alone
        layer.state_weight[:, 4:] = torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    found = layer(layer.project(torch.tensor([[1.0], [0.0]])), TWO)
    torch.testing.assert_close(found, torch.stack([torch.tensor([0.5, 0.5]), torch.tanh(expected)]), atol=1e-6, rtol=0)


def test_attention() -> None:
    """Scores log 1 and log 3 give 1/4 and 3/4; one unmasked position has all the weight, whatever its score."""
    layer = BilinearAttention(1, 1)
    fill(layer, weight=2.0)
    at = layout([2, 1, 0], 2).targets
    keys = pack(torch.tensor([[[0.0], [log(3) / 2]], [[-9.0], [99.0]], [[99.0], [99.0]]]), at.packing)
    assert layer(torch.ones(3, 1), keys, layer.of_keys(keys), at).tolist() == pytest.approx([0.25, 1.0, 0.75])
    released, one = MLPAttention(1, 1, project_query=True), torch.ones(1, 1)
    assert released(one, one, released.of_keys(one), layout([1], 1).targets).tolist() == [1.0]


# Four users with histories of 3, 2, 0 and 1 behaviours, padded to 4: 2 + 1 next behaviours, 4 * (4 - 1) = 12 places.
AUXILIARY = layout([3, 2, 0, 1], 4)
# h . e of the clicked: log 3, -log 3, 0; of the negatives: 0, log 3, -log 3. sigma(log 3) = 3/4.
# clicked: log 4/3 + log 4 + log 2; negatives: log 2 + log 4 + log 4/3. Together 2 log(4/3 * 4 * 2) = 2 log(32/3)
SUM = 4.734247
COUNTS = pytest.mark.parametrize(("mean", "count"), [("places", 12), ("behaviours", 3), ("users", 4)])


def pairs() -> Pairs:
    """Of h, behaviours and negatives (4, 4, 1); what is masked, or has no next behaviour, is far from 0."""
    x, far, packing = log(3), 77.0, AUXILIARY.histories.packing
    h = [[1.0, 1.0, far, far], [1.0, far, far, far], [far] * 4, [far] * 4]
    clicked = [[far, x, -x, far], [far, 0.0, far, far], [far] * 4, [far] * 4]
    negatives = [[far, 0.0, x, far], [far, -x, far, far], [far] * 4, [far] * 4]
    states, behaviours, drawn = (pack(torch.tensor(rows)[..., None], packing) for rows in (h, clicked, negatives))
    return Pairs.make(states, behaviours, drawn[packing.first :], packing, AUXILIARY.targets)


@COUNTS
def test_masked_auxiliary_loss_of_equation_7(mean: Mean, count: int) -> None:
    loss = InnerProductAuxiliaryLoss(1, 1, mean)(pairs(), AUXILIARY.targets)
    assert loss.item() == pytest.approx(SUM / count, abs=1e-6)


@COUNTS
def test_masked_auxiliary_loss_of_the_released_head(mean: Mean, count: int) -> None:
    """All hidden units at 1/2: the outputs are 50 * 0.5 * 0.02 = 0.5 and -0.5, p = sigma(1) = 0.7310586.

    -log p = 0.3132617 and -log(1 - p) = 1.3132617, together 1.6265234 for each of three next behaviours.
    """
    layer = MLPAuxiliaryLoss(1, 1, mean)
    fill(layer)
    with torch.no_grad():
        layer.last.weight[0], layer.last.weight[1] = 0.02, -0.02
    loss = layer(pairs(), AUXILIARY.targets)
    assert loss.item() == pytest.approx(3 * 1.6265234 / count, abs=1e-6)


def test_dice() -> None:
    """Of 1 and 3 the mean is 2 and the deviation 1: p = sigma(-1) = 0.2689414 and sigma(1) = 0.7310586; alpha 0.5.

    1 (p + 0.5 (1 - p)) = 0.6344707 and 3 (p + 0.5 (1 - p)) = 2.5965879. Of a batch of one p is 1/2.
    """
    layer = Dice(1)
    fill(layer, alpha=0.5)
    assert layer(torch.tensor([[1.0], [3.0]])).flatten().tolist() == pytest.approx([0.6344707, 2.5965879], abs=1e-6)
    assert layer(torch.tensor([[4.0]])).item() == pytest.approx(3.0)  # 4 (0.5 + 0.5 * 0.5)


def test_affine_normalisation() -> None:
    """2 * 3 / sqrt(1.001) + 1 = 6 * 0.9995004 + 1, in training as in evaluation."""
    layer = FrozenNormalisation(1)
    fill(layer, gamma=2.0, beta=1.0)
    for training in (True, False):
        assert layer.train(training)(torch.tensor([3.0])).item() == pytest.approx(6.9970022, abs=1e-6)


@pytest.mark.parametrize(("variant", "loss"), [("official", 0.3465736), ("paper", 0.6931472)])
def test_halved_target_loss(variant: str, loss: float) -> None:
    """A model that says 1/2 has the cross entropy log 2; the mean over both softmax columns is half of it."""
    module = CTRModule(model="dien+auxiliary_weight=0.0", variant=variant, schema=SCHEMA.as_dict(), steps=9)
    fill(module.model)
    batch = make_batch([4, 1, 2, 0, 3, 4], 5)
    assert module.training_step(batch, 0).item() == pytest.approx(loss, abs=1e-6)


def test_whole_loss_adds_alpha_times_the_auxiliary_loss() -> None:
    """All weights 0: every behaviour costs log 2 twice. The batch has lengths 4, 1, 2, 0, 3, 4, so 3 + 1 + 2 + 3 = 9 of
    them, on 6 users: eq. 8 with alpha 0.5 gives log 2 + 0.5 * (9 * 2 log 2) / 6 = 2.5 log 2 = 1.7328680.
    """
    module = CTRModule(model="dien+auxiliary_weight=0.5", variant="paper", schema=SCHEMA.as_dict(), steps=9)
    fill(module.model)
    batch = make_batch([4, 1, 2, 0, 3, 4], 5)
    assert module.training_step(batch, 0).item() == pytest.approx(1.732868, abs=1e-6)
