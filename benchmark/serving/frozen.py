"""A model whose scores depend on the request alone, not on which others share its batch.

Two things of the official variant do: Dice takes the statistics of its batch in evaluation too (variants.md 8), and
sums run over the padding up to the longest history of the batch (variants.md 9). Frozen, Dice has the statistics of
samples that are given, and nothing is summed over padding. Every other model stays as it is.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from baselines.dien_rocket import DIENRocket
from baselines.layers.embedding import FieldEmbedding
from baselines.layers.mlp import Dice
from baselines.layers.two_stage import logits_of
from datamodules.batch import Batch


class FrozenDice(nn.Module):
    """Dice with a mean and a variance that are given; input and output (B, features)."""

    def __init__(self, dice: Dice, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.alpha = dice.alpha
        self.scale = nn.Buffer((variance + dice.epsilon).rsqrt())
        self.shift = nn.Buffer(-mean * self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x."""
        p = torch.sigmoid(x * self.scale + self.shift)
        return x * (p + self.alpha * (1 - p))


class _Moments:
    """Sums over all rows that a Dice has seen, in double precision."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        self.count += len(x)
        self.first, self.second = self.first + x.sum(0), self.second + x.square().sum(0)

    def of(self, dice: Dice) -> FrozenDice:
        mean = self.first / self.count
        return FrozenDice(dice, mean.float(), (self.second / self.count - mean.square()).clamp(min=0).float())


@torch.no_grad()
def freeze(model: nn.Module, batches: Iterable[Batch]) -> nn.Module:
    """Return a copy of a model, in evaluation mode, frozen with the statistics of the samples in `batches`.

    Layers are frozen from the first to the last, each with the statistics that those before it leave. Of a booster and
    a light net, the light net is served.
    """
    frozen = copy.deepcopy(model.light if isinstance(model, DIENRocket) else model).eval()
    for module in frozen.modules():
        if isinstance(module, FieldEmbedding):
            module.official = False  # from here on it only says whether padding is summed
    samples = list(batches)
    while found := _first_dice(frozen):
        parent, name, dice = found
        moments = _Moments()
        hook = dice.register_forward_pre_hook(moments)
        for batch in samples:
            logits_of(frozen, batch)
        hook.remove()
        setattr(parent, name, moments.of(dice))
    return frozen


def _first_dice(model: nn.Module) -> tuple[nn.Module, str, Dice] | None:
    """The first Dice of a model, by the order in which its layers were made, with its parent and its name there."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, Dice):
                return parent, name, child
    return None
