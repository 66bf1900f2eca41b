"""Every parameter of every row starts as TensorFlow's defaults and the released code have it, by limits and moments."""

import math

import pytest
import torch
from torch import Tensor, nn

from baselines import MODELS, load
from baselines.layers.attention import BilinearAttention
from baselines.layers.mlp import Dice, FrozenNormalisation
from baselines.layers.recurrent import RecurrentLayer
from baselines.wide_deep import CrossedCategories
from datamodules.schema import Schema

SCHEMA = Schema(
    user={"user": 400, "age": 90},
    behaviour={"item": 300, "category": 60},
    target={"campaign": 80},
    context={"hour": 70},
)


def assert_glorot(weight: Tensor, fans: int, name: str) -> None:
    """Uniform within sqrt(6 / (fan in + fan out)): no number beyond, mean 0 and mean square a third of the limit's."""
    limit, n, weight = math.sqrt(6 / fans), weight.numel(), weight.double()
    assert weight.abs().max() <= limit * (1 + 1e-6), name
    assert weight.mean().abs() < 5 * limit / math.sqrt(3 * n), name
    ratio = float(weight.square().mean() / (limit**2 / 3))
    assert abs(ratio - 1) < 5 * math.sqrt(0.8 / n), f"{name}: mean square {ratio:.3f} of what it should be"


def assert_constant(weight: Tensor, value: float, name: str) -> None:
    assert torch.equal(weight, torch.full_like(weight, value)), name


def check(module: nn.Module, name: str, official: bool) -> None:
    """The parameters of one module, not those of its parts."""
    own = {key: parameter.detach() for key, parameter in module.named_parameters(recurse=False)}
    match module:
        case nn.Embedding() if name.startswith("wide."):  # a linear model over one-hot crosses
            assert_constant(own["weight"], 0, name)
        case nn.Embedding():
            rows, size = own["weight"].shape
            padded = not official
            assert own["weight"][0].any() != padded, name
            assert_glorot(own["weight"][padded:], rows + size, name)
        case nn.Linear():
            assert_glorot(own["weight"], module.in_features + module.out_features, name)
            assert_constant(own["bias"], 0, name)
        case BilinearAttention():
            assert_glorot(own["weight"], sum(own["weight"].shape), name)
        case nn.PReLU():
            assert_constant(own["weight"], 0.1, name)
        case Dice():
            assert_constant(own["alpha"], 0, name)
        case FrozenNormalisation():
            assert_constant(own["gamma"], 1, name)
            assert_constant(own["beta"], 0, name)
        case RecurrentLayer():  # TensorFlow's kernels: [x, h] to both gates, and [x, h] to the candidate
            size, inputs = module.hidden_size, own["input_weight"].shape[1]
            of_x, of_h = own["input_weight"], own["state_weight"].T
            for rows, outputs in ((slice(0, 2 * size), 2 * size), (slice(2 * size, 3 * size), size)):
                assert_glorot(of_x[rows], inputs + size + outputs, f"{name}, of the input")
                assert_glorot(of_h[rows], inputs + size + outputs, f"{name}, of the state")
            bias = 1.0 if official else 0.0  # TensorFlow's keep gate is the update gate's complement
            for i, value in enumerate((-bias, bias, 0.0)):
                assert_constant(own["bias"][i * size : (i + 1) * size], value, name)
        case CrossedCategories():
            assert not own
        case _:
            assert not own, f"{name}, a {type(module).__name__}, has parameters that this test does not know"


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_starts_as_it_should(model: str, variant: str) -> None:
    torch.manual_seed(0)
    made = load(model)(SCHEMA, variant=variant)
    for name, module in made.named_modules():
        check(module, name, variant == "official")
    tables = {name.rpartition(".tables.")[2] for name, _ in made.named_modules() if ".tables." in name}
    assert tables == SCHEMA.rows.keys() - ({"user"} if variant == "paper" else set())
