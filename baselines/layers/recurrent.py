"""A layer of GRU, AGRU or AUGRU: the inputs' product, and the recurrence over it."""

import torch
from torch import Tensor, nn

from baselines.layers.recurrence import recurrence
from datamodules.packing import Packing


class RecurrentLayer(nn.Module):
    """h_t = h_{t-1} + (p_t + q_t u_t) (c_t - h_{t-1}) over the positions of histories, h_0 = 0.

    `reset_after=True` is the paper's candidate, False TensorFlow's. `gate_bias` is the initial bias of TensorFlow's
    reset and keep gates (1 in the released code, variants.md 6); the update gate, the keep gate's complement, starts at
    minus it.
    """

    def __init__(self, inputs: int, hidden_size: int, *, reset_after: bool, gate_bias: float = 0.0) -> None:
        super().__init__()
        if inputs < 1 or hidden_size < 1:
            raise ValueError(f"inputs and hidden_size must be positive, got {inputs} and {hidden_size}")
        self.hidden_size, self.reset_after = hidden_size, reset_after
        self.input_weight = nn.Parameter(torch.empty(3 * hidden_size, inputs))  # rows: update, reset, candidate
        self.state_weight = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))  # columns likewise
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self._initialise(gate_bias)

    @torch.no_grad()
    def _initialise(self, gate_bias: float) -> None:
        """Glorot-uniform over each of TensorFlow's two kernels: both gates on [x, h], the candidate on [x, h]."""
        size, inputs = self.hidden_size, self.input_weight.shape[1]
        for outputs, rows in ((2 * size, slice(0, 2 * size)), (size, slice(2 * size, 3 * size))):
            limit = (6 / (inputs + size + outputs)) ** 0.5
            self.input_weight[rows].uniform_(-limit, limit)
            self.state_weight[:, rows].uniform_(-limit, limit)
        self.bias[:size] = -gate_bias
        self.bias[size : 2 * size] = gate_bias

    def project(self, x: Tensor) -> Tensor:
        """The inputs' product (R, 3H) for inputs x (R, I), of all positions at once."""
        return nn.functional.linear(x, self.input_weight, self.bias)

    def forward(self, projected: Tensor, packing: Packing, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
        """Return the states (R, H) for projected inputs (R, 3H); by default p (R,) is 0 and q (R,) is 1, a GRU."""
        p = projected.new_zeros(len(projected)) if p is None else p
        q = projected.new_ones(len(projected)) if q is None else q
        return recurrence(projected, self.state_weight, p, q, packing.batch_sizes, self.reset_after)


def recurrent_layer(inputs: int, hidden_size: int, *, official: bool) -> RecurrentLayer:
    """TensorFlow's GRU with gate biases of 1 (released code), or the paper's."""
    return RecurrentLayer(inputs, hidden_size, reset_after=not official, gate_bias=1.0 if official else 0.0)
