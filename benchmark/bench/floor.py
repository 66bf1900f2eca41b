"""The floor of a training step: its matrix products alone, with the sizes that the model has, run on this machine.

Torch's products are recorded by its own counter while a model takes a step. The compiled kernels are no operations of
torch, so each has a formula here. Counted are real behaviours only, no padding; the state in front of the first
position is zero, so a history of L behaviours needs L - 1 products with the state. Look-ups, element-wise functions,
products with a single vector outside the kernels, sums over positions and Adam come on top of the floor.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.layers.attention import MLPAttention
from baselines.layers.auxiliary import MLPAuxiliaryLoss
from baselines.layers.recurrent import RecurrentLayer
from datamodules.batch import Batch

if TYPE_CHECKING:  # it brings Lightning along, and kernels are measured without
    from baselines.lightning_module import CTRModule

CPU = torch.device("cpu")


class Product(NamedTuple):
    """`times` products of (m, k) and (k, n), one after the other."""

    m: int
    k: int
    n: int
    times: int = 1


def products_of(module: "CTRModule", batch: Batch) -> list[Product]:
    """Return the matrix products of a training step on a batch, forward and backward, in float32 on the CPU.

    Convolutions and torch's fused attention, which no row has, are left out. The module's gradients are dropped.
    """
    found: list[Product] = []

    def record(left: Any, right: Any, *_: Any, **__: Any) -> int:
        found.append(Product(left[-2], left[-1], right[-1], left[0] if len(left) == 3 else 1))
        return 0

    def record_sum(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
        return record(left, right)

    aten = torch.ops.aten
    formulas = {aten.mm: record, aten.bmm: record, aten.addmm: record_sum, aten.baddbmm: record_sum}
    hooks = [
        part.register_forward_hook(lambda part, inputs, _: found.extend(in_kernel(part, inputs)))
        for part in module.modules()
        if isinstance(part, (RecurrentLayer, MLPAttention, MLPAuxiliaryLoss))
    ]
    with FlopCounterMode(display=False, custom_mapping=formulas):
        module.train().training_step(batch, 0).backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    module.zero_grad(set_to_none=True)
    return [product for product in found if operations([product])]


def in_kernel(layer: nn.Module, inputs: Any) -> list[Product]:
    """Return what the compiled kernel of a layer multiplies, given what the layer's `forward` is given."""
    if isinstance(layer, RecurrentLayer):
        projected, packing = inputs[:2]
        return recurrence(layer.hidden_size, packing.first, len(projected) - packing.first)
    assert isinstance(layer, (MLPAttention, MLPAuxiliaryLoss))
    if isinstance(layer, MLPAttention):  # on q k of each behaviour; what meets q or k alone is torch's product
        rows, size = inputs[1].shape
    else:  # on behaviours and negatives; what meets h alone is torch's product
        pairs = inputs[0]
        rows, size = len(pairs.clicked) + len(pairs.not_clicked), pairs.clicked.shape[1]
    sizes = [size, layer.first.out_features, layer.second.out_features, 1]
    return [product for k, n in pairwise(sizes) for product in both_ways(rows, k, n)]


def recurrence(hidden: int, first: int, rest: int) -> list[Product]:
    """U h of `rest` behaviours behind the `first` of their histories: as few and large products as there can be."""
    times, fewer = divmod(rest, first)
    parts = [(first, times), (fewer, 1)]
    return [product for m, times in parts for product in both_ways(m, hidden, 3 * hidden, times)]


def both_ways(m: int, k: int, n: int, times: int = 1) -> list[Product]:
    """Return a product that is taken forward, and those of its gradients: the right factor's is taken once."""
    found = [Product(m, k, n, times), Product(m, n, k, times), Product(k, m * times, n)]
    return [product for product in found if operations([product])]


def operations(products: list[Product]) -> int:
    """Return multiplications and additions of products.

    >>> operations([Product(2, 3, 5, times=7)])
    420
    """
    return sum(2 * m * k * n * times for m, k, n, times in products)


def runner(products: list[Product], device: torch.device = CPU) -> Callable[[], None]:
    """Return a function that runs products in float32 on a device and nothing else.

    Memory is taken beforehand. What the function takes is the floor's time on this machine at these sizes.
    """
    calls: list[tuple[int, Tensor, Tensor, Tensor]] = [
        (
            times,
            torch.randn(m, k, device=device),
            torch.randn(k, n, device=device),
            torch.empty(m, n, device=device),
        )
        for m, k, n, times in products
    ]

    def run() -> None:
        for times, left, right, out in calls:
            for _ in range(times):
                torch.mm(left, right, out=out)

    return run
