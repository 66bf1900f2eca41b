"""Adam whose cost follows the rows of the embedding tables that are read, with the results of dense Adam.

Dense Adam moves every row at every step, for m and v outlive a gradient. Here a row is moved when it is next read:
then the steps that it has missed are made up for, with the rates of those steps (`lazy_adam_kernel.py`). That is not
`torch.optim.SparseAdam`, which leaves the missed steps out and is another algorithm.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.lazy_adam_kernel import NEVER, catch_up, sum_by_row, summarise, update
from baselines.spec import Epsilon


class _History:
    """What has happened to one table: the steps, and the step to which each row is current."""

    def __init__(self, rows: int, betas: tuple[float, float], eps: float, epsilon: Epsilon, step: int) -> None:
        self.betas, self.eps = (betas[0], betas[1]), eps  # a tuple, whatever a checkpoint made of it
        self.epsilon = epsilon
        self.first = step  # Adam's count of steps where this history begins
        self.steps = 0
        self.settled = True  # no row has anything to catch up
        # beta1^reach < 2^-40: all later movement is below the rounding of the first, even under a rising rate
        self.reach = math.ceil(-40 / math.log2(betas[0])) if betas[0] > 0 else 1
        self.current = np.full(rows, NEVER, np.int32)
        self.slots = np.full(rows, -1, np.int32)
        self._allocate(1024)

    def _allocate(self, capacity: int) -> None:
        """Make or lengthen what is kept by step."""
        old = self.__dict__.copy()
        self.moments = np.zeros((capacity, 5), np.float32)
        self.rate, self.root = np.zeros(capacity + 1), np.zeros(capacity + 1)
        for name in ("moments", "rate", "root"):
            if name in old:
                getattr(self, name)[: len(old[name])] = old[name]
        powers = np.arange(capacity + 1)
        # m is forgotten at 2^-64 of its size, before it gets so small that arithmetic becomes slow
        decay1 = self.betas[0] ** powers
        self.decay1 = np.where(decay1 < 2.0**-64, 0, decay1)
        self.decay2 = self.betas[1] ** powers

    def add_step(self, rate: float) -> None:
        """Note one more step at a learning rate."""
        if self.steps == len(self.moments):
            self._allocate(2 * self.steps)
        self.steps += 1
        step = self.first + self.steps
        rate, root = rate / (1 - self.betas[0] ** step), math.sqrt(1 - self.betas[1] ** step)
        before = self.epsilon == "tensorflow"
        self.rate[self.steps], self.root[self.steps] = (rate * root, 1) if before else (rate, 1 / root)
        summarise(self.moments, self.rate, self.root, self.steps, self.reach, *self.betas)
        self.settled = False


class LazyAdam(torch.optim.Adam):
    """Adam, without weight decay, that is lazy about `tables`: `nn.Embedding(sparse=True)`, float32 on the CPU.

    Everything else is updated by torch's fused Adam. A table's rows are current whenever the module looks them up,
    and when its `state_dict` is taken; call `catch_up_all()` before reading its `weight` in any other way.
    `state_dict()` is that of `torch.optim.Adam`, which can go on from it, and the other way round.

    Numbers differ from those of dense Adam of the same `epsilon` by rounding alone. `betas` may change between steps,
    at the price of a pass over the tables.

    >>> table = nn.Embedding(1000, 18, sparse=True)
    >>> optimizer = LazyAdam(table.parameters(), [table], lr=1e-3)
    >>> table(torch.tensor([3, 5, 3])).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        tables: Iterable[nn.Embedding] = (),
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        epsilon: Epsilon = "torch",
    ) -> None:
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}: without it an untouched row would move by 0 / 0")
        if epsilon not in get_args(Epsilon):
            raise ValueError(f"epsilon must be 'torch' or 'tensorflow', got {epsilon!r}")
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)
        self._step_supports_amp_scaling = False  # a GradScaler unscales gradients itself before `step`
        self.epsilon = epsilon
        self.histories: dict[Tensor, _History] = {}
        self.counts: dict[Tensor, int] = {}  # steps that parameters have taken, known without asking a GPU
        groups = {id(p): group for group in self.param_groups for p in group["params"]}
        for table in tables:
            weight = table.weight
            if not table.sparse or weight.dtype != torch.float32 or weight.device.type != "cpu":
                raise ValueError(
                    "tables must be nn.Embedding(sparse=True) in float32 on the CPU, "
                    f"got sparse={table.sparse}, {weight.dtype}, {weight.device}"
                )
            if id(weight) not in groups:
                raise ValueError("the weight of a table must be among params")
            self._start_history(weight, groups[id(weight)])
            table.register_forward_pre_hook(self._before_look_up, with_kwargs=True)
            table.register_state_dict_pre_hook(self._before_all_is_read)  # type: ignore[no-untyped-call]
            table.register_load_state_dict_pre_hook(self._before_all_is_read)  # type: ignore[no-untyped-call]

    def _start_history(self, weight: Tensor, group: dict[str, Any]) -> None:
        """Begin anew at the present step, every row being current."""
        state = self._state(weight)
        history = _History(len(weight), group["betas"], group["eps"], self.epsilon, int(state["step"]))
        touched = (state["exp_avg"] != 0).any(1) | (state["exp_avg_sq"] != 0).any(1)
        history.current[touched.numpy()] = 0
        self.histories[weight] = history

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Adam's state of a parameter, as torch.optim.Adam keeps it."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _count(self, parameter: Tensor) -> int:
        """Count one more step of a parameter; return which it is."""
        if parameter not in self.counts:
            self.counts[parameter] = int(self._state(parameter)["step"])
        self.counts[parameter] += 1
        return self.counts[parameter]

    def _before_look_up(self, table: nn.Embedding, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        self.catch_up(table.weight, args[0] if args else kwargs["input"])

    def _before_all_is_read(self, table: nn.Embedding, *args: Any) -> None:
        self._catch_up(table.weight, None)

    def catch_up(self, weight: Tensor, ids: Tensor) -> None:
        """Bring the rows `ids` (any shape) of a table's weight up to date."""
        self._catch_up(weight, ids.reshape(-1).long().numpy())

    def catch_up_all(self) -> None:
        """Bring every row of every table up to date."""
        for weight in self.histories:
            self._catch_up(weight, None)

    def _catch_up(self, weight: Tensor, rows: NDArray[np.int64] | None) -> None:
        """Bring `rows` (K,), or every row, up to date."""
        history = self.histories.get(weight)
        if history is None or history.settled:
            return
        catch_up(
            np.arange(len(weight)) if rows is None else rows,
            *self._arrays(weight),
            history.current,
            history.moments,
            history.rate,
            history.root,
            history.decay1,
            history.decay2,
            history.steps,
            history.reach,
            history.eps,
        )
        history.settled = rows is None

    def _arrays(self, weight: Tensor) -> tuple[NDArray[np.float32], ...]:
        """Weight, m and v of a table, sharing memory with the tensors."""
        state = self.state[weight]
        return weight.detach().numpy(), state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step of Adam; return what `closure` returns, which is called first where it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            dense = []
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._sparse_step(parameter, group)
                elif parameter.grad is not None:
                    self._catch_up(parameter, None)  # a table whose rows are also read past its module
                    dense.append(parameter)
            self._dense_step(dense, group)
        return loss

    def _dense_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """torch's fused Adam, one call for all parameters of one device and type that have taken as many steps."""
        alike: dict[tuple[int, torch.device, torch.dtype], list[Tensor]] = {}
        for parameter in parameters:
            alike.setdefault((self._count(parameter), parameter.device, parameter.dtype), []).append(parameter)
        beta1, beta2 = group["betas"]
        for (count, device, _), some in alike.items():
            step = torch.full((), count, dtype=torch.float32, device=device)
            states = [self._state(parameter) for parameter in some]
            for state in states:
                state["step"] = step  # one for all, never changed in place
            torch._fused_adam_(
                some,
                [parameter.grad for parameter in some if parameter.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [step] * len(some),
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=0,
                eps=group["eps"] / (math.sqrt(1 - beta2**count) if self.epsilon == "tensorflow" else 1),
                maximize=False,
            )
        for parameter in parameters:
            if parameter in self.histories:  # dense Adam has moved every row
                self._start_history(parameter, group)

    def _sparse_step(self, weight: Tensor, group: dict[str, Any]) -> None:
        """Adam on the rows of a sparse gradient."""
        history = self.histories.get(weight)
        if history is None:
            raise ValueError(
                f"found a sparse gradient for a parameter of shape {tuple(weight.shape)} that is no table: "
                "pass its nn.Embedding in `tables`, so that its rows are brought up to date before they are read"
            )
        if (history.betas, history.eps) != (tuple(group["betas"]), group["eps"]):
            self._catch_up(weight, None)
            self._start_history(weight, group)
            history = self.histories[weight]
        assert weight.grad is not None
        ids, values = weight.grad._indices()[0].numpy(), weight.grad._values().contiguous().numpy()
        limit = min(len(ids), len(weight))
        rows, sums = np.empty(limit, np.int64), np.empty((limit, weight.shape[1]), np.float32)
        count = sum_by_row(ids, values, history.slots, rows, sums)
        self._catch_up(weight, rows[:count])
        history.add_step(float(group["lr"]))
        self.state[weight]["step"] = torch.tensor(float(self._count(weight)))
        at = history.steps
        update(
            rows[:count],
            sums[:count],
            *self._arrays(weight),
            history.current,
            at,
            history.rate[at],
            history.root[at],
            *history.betas,
            history.eps,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state as torch.optim.Adam keeps it, every row up to date: take the model's after it, or before."""
        self.catch_up_all()
        for state in self.state.values():
            state["step"] = state["step"].clone()  # torch's Adam would count one that parameters share several times
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict of this class or of torch.optim.Adam; the weights must be those of that moment."""
        super().load_state_dict(state_dict)
        self.counts.clear()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in self.histories:
                    self._start_history(parameter, group)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles of the optimiser hold: hooks of the tables lead to it."""
        own = {name: getattr(self, name) for name in ("epsilon", "histories", "counts")}
        return super().__getstate__() | own
