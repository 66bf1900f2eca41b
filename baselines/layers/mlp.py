"""The fully connected top of every model, with PReLU and Dice."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.distributed import processes, sum_over_processes


class Dice(nn.Module):
    """Data adaptive activation, p(x) x + (1 - p(x)) alpha x with p = sigmoid of the standardised x (DIN, eq. 9).

    The released code standardises with the statistics of the batch at hand, in evaluation too (variants.md 8), so a
    sample's score depends a little on the batch it is evaluated in. Input and output (B, features), of one batch or of
    several of the given sizes.
    """

    batch_statistics = True  # a sample's output depends on its batch

    def __init__(self, features: int, epsilon: float = 1e-9) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(features))
        self.epsilon = epsilon

    def forward(self, x: Tensor, sizes: Sequence[int] = ()) -> Tensor:
        """Return the activation of x (B, features)."""
        batches = torch.split(x, list(sizes)) if len(sizes) > 1 else (x,)
        standardised = [self._standardise(batch) for batch in batches]
        p = torch.sigmoid(torch.cat(standardised) if len(standardised) > 1 else standardised[0])
        return x * torch.lerp(self.alpha, torch.ones_like(self.alpha), p)  # p + alpha (1 - p)

    def _standardise(self, x: Tensor) -> Tensor:
        if self.training and processes() > 1:
            return self._standardise_over_processes(x)
        # one fused operation; unlike nn.functional.batch_norm it takes a batch of one sample, which it maps to 0
        return torch.batch_norm(x, None, None, None, None, True, 0.0, self.epsilon, False)

    def _standardise_over_processes(self, x: Tensor) -> Tensor:
        """The same with the statistics of the whole batch, of which x (B, features) is this process's share."""
        count = sum_over_processes(x.new_tensor([float(len(x))]))
        from_mean = x - sum_over_processes(x.sum(0)) / count
        variance = sum_over_processes(from_mean.square().sum(0)) / count
        return from_mean * (variance + self.epsilon).rsqrt()


class FrozenNormalisation(nn.Module):
    """Batch normalisation that never leaves its initial statistics, mean 0 and variance 1 (variants.md 7).

    What remains is gamma x / sqrt(1 + 0.001) + beta, an affine map. Input and output (..., features).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift (features,) of the map."""
        return self.gamma * (1 + 1e-3) ** -0.5, self.beta

    def forward(self, x: Tensor) -> Tensor:
        """Return the affine map of x (..., features)."""
        scale, shift = self.affine()
        return torch.addcmul(shift, x, scale)


def dense(inputs: int, outputs: int) -> nn.Linear:
    """Linear layer with TensorFlow's defaults: Glorot-uniform weights, zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class TopMLP(nn.Module):
    """200-80-output on (B, inputs), to logits (B,).

    Official: affine normalisation in front, Dice or PReLU (variants.md 7, 8), two softmax outputs, of which the logit
    is the difference. Paper: PReLU, one output.
    """

    def __init__(self, inputs: int, *, official: bool, dice: bool, hidden_sizes: tuple[int, int] = (200, 80)) -> None:
        super().__init__()
        first, second = hidden_sizes
        self.layers = nn.Sequential(
            FrozenNormalisation(inputs) if official else nn.Identity(),
            dense(inputs, first),
            Dice(first) if dice else nn.PReLU(first, init=0.1),
            dense(first, second),
            Dice(second) if dice else nn.PReLU(second, init=0.1),
            dense(second, 2 if official else 1),
        )

    def forward(self, x: Tensor, sizes: Sequence[int] = ()) -> Tensor:
        """Return logits (B,) of x (B, inputs), of one batch or of several of the given sizes."""
        for layer in self.layers:
            x = layer(x, sizes) if isinstance(layer, Dice) else layer(x)
        return to_logit(x)


def to_logit(outputs: Tensor) -> Tensor:
    """(..., 1) or (..., 2) outputs to log-odds (...): softmax over two is the sigmoid of their difference."""
    return outputs[..., 0] if outputs.shape[-1] == 1 else outputs[..., 0] - outputs[..., 1]
