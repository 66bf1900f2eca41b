"""The arithmetic floor of a training step: its matrix products alone, counted from shapes and run on this machine.

A product of (m, k) and (k, n) takes 2 m n k operations, and its backward pass two more products of as many: the
gradients of both factors. Counted are real behaviours only, no padding, and the least that the equations need:

- what depends on the target alone is multiplied once a sample, not once a behaviour (first layer of the attention);
- what depends on h_t alone is multiplied once, not once for the behaviour and once for its negative (auxiliary head);
- the state before the first step is zero, so a history of L behaviours needs L - 1 products with the state.

Look-ups, element-wise functions, sums over steps and Adam over the tables come on top of the floor.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

EMBEDDING, HIDDEN = 18, 36
ROWS = ("base-model", "wide-deep", "pnn", "din", "gru-attention", "aigru", "agru", "augru", "dien")


@dataclass(frozen=True)
class Product:
    """`times` products of (m, k) and one (k, n), in the forward pass, one after the other."""

    m: int
    k: int
    n: int
    times: int = 1

    @property
    def operations(self) -> int:
        """Operations forward and backward."""
        return 3 * 2 * self.m * self.k * self.n * self.times


@dataclass(frozen=True)
class Shape:
    """What of a batch decides its operations."""

    samples: int  # B
    behaviours: int  # sum of the lengths
    followed: int  # behaviours with one behind them: sum of the lengths less 1, at least 0

    @staticmethod
    def of(lengths: Tensor) -> "Shape":
        """Return the shape of a batch from its lengths (B,).

        >>> Shape.of(torch.tensor([3, 0, 1]))
        Shape(samples=3, behaviours=4, followed=2)
        """
        followed = int((lengths - 1).clamp(min=0).sum())
        return Shape(len(lengths), int(lengths.sum()), followed)


def row_products(row: str, variant: str, shape: Shape) -> list[Product] | None:
    """Return the forward products of a row's training step on a batch; None for a model that is no row of ours."""
    if row not in ROWS:
        return None
    official, e, h = variant == "official", EMBEDDING, HIDDEN
    if row in ("base-model", "wide-deep", "pnn"):
        inputs = {"base-model": 5 * e, "wide-deep": 5 * e, "pnn": 7 * e} if official else {"pnn": 4 * e + 6}
        wide = [Product(shape.samples, 6 * e, 2)] if official and row == "wide-deep" else []
        return [*_top(inputs.get(row, 4 * e), official, shape), *wide]
    if row == "din":
        top = _top((9 if official else 4) * e, official, shape)
        return [*_attention_mlp(2 * e, 2 * e, False, shape), *top]
    attention = _attention_mlp(2 * e, h, True, shape) if official else _attention_bilinear(2 * e, h, shape)
    top = _top((7 if official else 2) * e + h, official, shape)
    layers = [*recurrent_layer(2 * e, h, shape), *recurrent_layer(h, h, shape)]
    auxiliary = _auxiliary_mlp(h, 2 * e, shape) if row == "dien" and official else []
    return [*layers, *attention, *auxiliary, *top]


def recurrent_layer(inputs: int, hidden: int, shape: Shape) -> list[Product]:
    """W i for all behaviours at once, and U h step by step."""
    return [Product(shape.behaviours, inputs, 3 * hidden), *recurrence(hidden, shape)]


def recurrence(hidden: int, shape: Shape) -> list[Product]:
    """U h of every behaviour but the first, in products over all samples and a rest: as few and large as it can be."""
    times, rest = divmod(shape.followed, shape.samples)
    parts = ((shape.samples, times), (rest, 1))
    return [Product(m, hidden, 3 * hidden, times) for m, times in parts if m and times]


def _attention_mlp(query: int, key: int, project: bool, shape: Shape) -> list[Product]:
    """80-40-1 on [q, k, q - k, q k]: two of the four parts meet q alone, two a behaviour."""
    behaviours = shape.behaviours
    projection = [Product(shape.samples, query, key)] if project else []
    layers = [Product(behaviours, 2 * key, 80), Product(behaviours, 80, 40), Product(behaviours, 40, 1)]
    return [*projection, Product(shape.samples, key, 80), *layers]


def _attention_bilinear(query: int, key: int, shape: Shape) -> list[Product]:
    """h W e: W e once a sample; the inner product with h is element-wise."""
    return [Product(shape.samples, query, key)]


def _auxiliary_mlp(hidden: int, behaviour: int, shape: Shape) -> list[Product]:
    """100-50-1 on [h, e] of behaviours and negatives: of two outputs the difference alone counts."""
    both = 2 * shape.followed
    first = [Product(shape.followed, hidden, 100), Product(both, behaviour, 100)]
    return [*first, Product(both, 100, 50), Product(both, 50, 1)]


def _top(inputs: int, official: bool, shape: Shape) -> list[Product]:
    """200-80-output."""
    samples = shape.samples
    return [Product(samples, inputs, 200), Product(samples, 200, 80), Product(samples, 80, 2 if official else 1)]


def operations(products: list[Product]) -> int:
    """Return the operations of products, forward and backward."""
    return sum(product.operations for product in products)


def runner(products: list[Product]) -> Callable[[], None]:
    """Return a function that runs the products, forward and backward, in float32 and nothing else.

    Memory is taken beforehand. What the function takes is the floor's time on this machine at these sizes.
    """
    calls = [call for product in products for call in _calls(product) if product.operations]

    def run() -> None:
        for times, left, right, out in calls:
            for _ in range(times):
                torch.mm(left, right, out=out)

    return run


def _calls(product: Product) -> list[tuple[int, Tensor, Tensor, Tensor]]:
    """Return times, factors and result of the forward product and both backward products."""
    m, k, n, times = product.m, product.k, product.n, product.times
    left, right, grad = torch.randn(m, k), torch.randn(k, n), torch.randn(m, n)
    forward = (times, left, right, torch.empty(m, n))
    of_left = (times, grad, right.T.contiguous(), torch.empty(m, k))
    after = torch.randn(k, m * times)  # all steps' states side by side
    return [forward, of_left, (1, after, torch.randn(m * times, n), torch.empty(k, n))]
