"""Lazy Adam against torch's dense Adam, in float32 and float64, and against the equations, TensorFlow's too."""

import copy
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from baselines import lightning_module
from baselines.lazy_adam import Epsilon, LazyAdam
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run

Numbers = NDArray[np.float64]
ROWS, SIZE = 400, 18


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tables gain nothing from threads, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lazy(table: nn.Embedding, **settings: float | str) -> LazyAdam:
    table.sparse = True
    return LazyAdam(table.parameters(), [table], **settings)  # type: ignore[arg-type]


def eager(table: nn.Embedding, epsilon: Epsilon) -> LazyAdam:
    return LazyAdam(table.parameters(), epsilon=epsilon)


def dense(table: nn.Embedding, **settings: float) -> Adam:
    return Adam(table.parameters(), fused=True, **settings)  # type: ignore[arg-type]


def make_table(dtype: torch.dtype = torch.float32) -> nn.Embedding:
    torch.manual_seed(0)
    table = nn.Embedding(ROWS, SIZE)
    with torch.no_grad():
        table.weight *= 0.05
    return table.to(dtype)


def draw(steps: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Ids (8, 6), skewed, a third of them 0 as in padding, and targets."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, ROWS + 1) ** 1.5
    batches = []
    for _ in range(steps):
        ids = rng.choice(ROWS, (8, 6), p=chance / chance.sum()) * (rng.random((8, 6)) > 0.3)
        batches.append((torch.from_numpy(ids), torch.from_numpy(rng.standard_normal((8, 6, SIZE)) * 0.05)))
    return batches


def backward(table: nn.Embedding, ids: Tensor, target: Tensor) -> None:
    """A gradient of the size that rows get in training, about 1e-5: Adam's eps matters."""
    (1e-4 * (table(ids) - target.to(table.weight.dtype)).square().sum()).backward()


def train(table: nn.Embedding, optimizer: Optimizer, batches: list[tuple[Tensor, Tensor]]) -> None:
    for ids, target in batches:
        backward(table, ids, target)
        optimizer.step()
        optimizer.zero_grad()


def weights(table: nn.Embedding, optimizer: Optimizer) -> Tensor:
    if isinstance(optimizer, LazyAdam):
        optimizer.catch_up_all()
    return table.weight.detach().clone()


def assert_equal_to_rounding(ours: Tensor, theirs: Tensor) -> None:
    """Weights are below 1, so one rounding is at most 6e-8; some hundred steps of it in either run stay below 2e-6."""
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(600)  # thousands of steps, three times
def test_as_near_to_exact_adam_as_dense_adam_is() -> None:
    steps = 3300
    batches = draw(steps)
    last, longest = np.zeros(ROWS), np.zeros(ROWS)
    for step, (ids, _) in enumerate(batches):
        read = np.unique(ids)
        longest[read] = np.maximum(longest[read], (step - last[read]) * (last[read] > 0))
        last[read] = step
    assert (longest > 1000).sum() > 10
    tables = [make_table(torch.float64), make_table(), make_table()]
    optimizers = [Adam(tables[0].parameters()), dense(tables[1]), lazy(tables[2])]
    schedules = [LambdaLR(optimizer, lambda step: 0.5 ** min(3 * step // steps, 2)) for optimizer in optimizers]
    for step, (ids, target) in enumerate(batches):
        for table, optimizer, schedule in zip(tables, optimizers, schedules, strict=True):
            train(table, optimizer, [(ids, target)])
            schedule.step()
        if step % 700 == 650:
            some = torch.arange(step % 7, ROWS, 7)
            with torch.inference_mode():
                exact, by_dense, by_lazy = (table(some).double() for table in tables)
            assert (by_lazy - exact).norm() < 1.5 * (by_dense - exact).norm()
    assert optimizers[2].param_groups[0]["lr"] == 0.25e-3
    before = tables[2].weight.detach().clone()
    exact, by_dense, by_lazy = (weights(*both).double() for both in zip(tables, optimizers, strict=True))
    assert (by_lazy - exact).norm() < 1.5 * (by_dense - exact).norm()
    assert (by_lazy - exact).abs().max() < 1.5 * (by_dense - exact).abs().max()
    assert (by_lazy - before).norm() > 1000 * (by_lazy - exact).norm()  # rows did have something to catch up
    for name in ("exp_avg", "exp_avg_sq"):
        exact, by_dense, by_lazy = (o.state[t.weight][name].double() for o, t in zip(optimizers, tables, strict=True))
        assert (by_lazy - exact).norm() < 1.5 * (by_dense - exact).norm()


def movement(m: Numbers, v: Numbers, step: int, epsilon: Epsilon) -> Numbers:
    """What is taken from weights in a step, for a rate of 1, as PyTorch's documentation has it or TensorFlow's."""
    if epsilon == "torch":
        return (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return math.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-8)


@pytest.mark.parametrize("epsilon", ["torch", "tensorflow"])
@pytest.mark.parametrize("done", [1, 12, 150, 540, 620, 3000, 30000])
@pytest.mark.parametrize("missed", [1, 2, 30, 263, 700])
def test_missed_steps_against_the_equations(done: int, missed: int, epsilon: Epsilon) -> None:
    rng = np.random.default_rng(done + missed)
    m = (rng.standard_normal((ROWS, SIZE)) * 1e-5).astype(np.float32)
    v = (10 ** rng.uniform(-24, 0, (ROWS, SIZE))).astype(np.float32)  # eps rules some and is nothing for others
    table = make_table()
    with torch.no_grad():
        table.weight.zero_()  # so that the weight is the movement, with its own rounding
    optimizer = lazy(table, epsilon=epsilon)
    state = optimizer.state_dict()
    state["state"] = {0: {"step": torch.tensor(float(done)), "exp_avg": torch.tensor(m), "exp_avg_sq": torch.tensor(v)}}
    optimizer.load_state_dict(state)
    expected, decayed, spread = np.zeros((ROWS, SIZE)), m.astype(float), v.astype(float)
    for k in range(1, missed + 1):
        rate = 1e-3 * 0.5 ** (k // 20)
        optimizer.param_groups[0]["lr"] = rate
        backward(table, torch.tensor([0]), torch.zeros(1, SIZE))
        optimizer.step()
        optimizer.zero_grad()
        decayed, spread = 0.9 * decayed, 0.999 * spread
        expected -= rate * movement(decayed, spread, done + k, epsilon)
    optimizer.catch_up_all()
    np.testing.assert_allclose(table.weight.detach().numpy()[1:], expected[1:], rtol=1e-6)
    state = optimizer.state_dict()["state"][0]
    np.testing.assert_allclose(state["exp_avg"][1:], decayed[1:], rtol=1e-6, atol=1e-24)
    np.testing.assert_allclose(state["exp_avg_sq"][1:], spread[1:], rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("make", [lazy, eager])
@pytest.mark.parametrize("done", [2, 2500])
def test_the_epsilon_of_tensorflow(make: Callable[..., LazyAdam], done: int) -> None:
    """Tables of which rows are not read for many steps, from near the start and from later on."""
    exact = {epsilon: make_table(torch.float64).weight.detach().numpy().copy() for epsilon in ("torch", "tensorflow")}
    m, v = ({epsilon: np.zeros((ROWS, SIZE)) for epsilon in exact} for _ in range(2))
    table = make_table()
    optimizer = make(table, epsilon="tensorflow")
    for step, (ids, target) in enumerate(draw(done + 300), start=1):
        train(table, optimizer, [(ids, target)])
        for epsilon, weight in exact.items():
            gradient = np.zeros((ROWS, SIZE))
            np.add.at(gradient, ids.numpy(), 2e-4 * (weight[ids.numpy()] - target.numpy()))
            m[epsilon] = 0.9 * m[epsilon] + 0.1 * gradient
            v[epsilon] = 0.999 * v[epsilon] + 0.001 * gradient**2
            weight -= 1e-3 * movement(m[epsilon], v[epsilon], step, epsilon)  # type: ignore[arg-type]
        if step in (done, done + 300):
            found = weights(table, optimizer).numpy()
            np.testing.assert_allclose(found, exact["tensorflow"], atol=2e-6, rtol=0)
            assert np.abs(found - exact["torch"]).max() > 1e-4


def test_the_epsilon_of_tensorflow_where_parameters_have_taken_different_numbers_of_steps() -> None:
    rng = np.random.default_rng(0)
    parameters = [nn.Parameter(torch.zeros(5, dtype=dtype)) for dtype in (torch.float32, torch.float32, torch.float64)]
    optimizer = LazyAdam(parameters, epsilon="tensorflow")
    expected, m, v, taken = np.zeros((3, 5)), np.zeros((3, 5)), np.zeros((3, 5)), [0, 0, 0]
    for step in range(60):
        for i, parameter in enumerate(parameters):
            parameter.grad = None
            if i != 1 or step % 3 == 0:
                gradient = rng.standard_normal(5) * 1e-7
                parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
                taken[i] += 1
                m[i], v[i] = 0.9 * m[i] + 0.1 * gradient, 0.999 * v[i] + 0.001 * gradient**2
                expected[i] -= 1e-3 * movement(m[i], v[i], taken[i], "tensorflow")
        optimizer.step()
        if step == 30:  # a copy, by way of a file
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = LazyAdam(parameters, lr=0.0, epsilon="tensorflow")
            optimizer.step()  # whatever it has counted is forgotten
            optimizer.load_state_dict(state)
    for parameter, wanted in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), wanted, rtol=2e-5)
    assert [int(optimizer.state[parameter]["step"]) for parameter in parameters] == taken


def test_parameters_that_torch_goes_on_with_count_their_steps_each() -> None:
    results = []
    for make in (LazyAdam, lambda parameters: Adam(parameters, fused=True)):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        optimizer = make(layer.parameters())
        for step in range(6):
            if step == 3:
                state = optimizer.state_dict()
                optimizer = Adam(layer.parameters(), fused=True)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            layer(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
        results.append(layer.weight.detach())
    assert torch.equal(*results)


@pytest.mark.parametrize("epsilon", ["torch", "tensorflow"])
def test_resumed_runs_are_equal_to_the_bit(epsilon: Epsilon) -> None:
    batches = draw(900)
    whole = make_table()
    optimizer = lazy(whole, epsilon=epsilon)
    train(whole, optimizer, batches[:700])
    file = io.BytesIO()
    torch.save({"model": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    train(whole, optimizer, batches[700:])
    saved = torch.load(file, weights_only=True)
    resumed, second = make_table(), None
    second = lazy(resumed, epsilon=epsilon)
    resumed.load_state_dict(saved["model"])
    second.load_state_dict(saved["optimizer"])
    train(resumed, second, batches[700:])
    assert torch.equal(weights(resumed, second), weights(whole, optimizer))
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(second.state_dict()["state"][0][key], value), key


@pytest.mark.parametrize("order", [(lazy, dense), (dense, lazy)])
def test_lazy_and_dense_go_on_from_each_other(order: tuple[Callable[..., Optimizer], ...]) -> None:
    batches = draw(900)
    exact = make_table(torch.float64)
    train(exact, Adam(exact.parameters()), batches)
    table = make_table()
    optimizer = order[0](table)
    train(table, optimizer, batches[:500])
    follower = make_table()
    second = order[1](follower)
    follower.load_state_dict(table.state_dict())
    second.load_state_dict(optimizer.state_dict())
    train(follower, second, batches[500:])
    assert_equal_to_rounding(weights(follower, second).double(), exact.weight.detach())


def test_one_seed_twice_is_equal_to_the_bit() -> None:
    results = []
    for _ in range(2):
        table = make_table()
        optimizer = lazy(table)
        train(table, optimizer, draw(300))
        results.append(weights(table, optimizer))
    assert torch.equal(*results)


def accumulate(table: nn.Embedding, step: int, ids: Tensor, target: Tensor) -> None:
    backward(table, ids, target)
    backward(table, ids.flip(1), target)


def look_up_twice(table: nn.Embedding, step: int, ids: Tensor, target: Tensor) -> None:
    loss = (table(ids[:4]) - target[:4].to(table.weight.dtype)).square().sum()
    loss = loss + (table(input=ids[2:]) * target[2:].to(table.weight.dtype)).sum()
    (1e-4 * loss).backward()


def clip(table: nn.Embedding, step: int, ids: Tensor, target: Tensor) -> None:
    backward(table, ids, target)
    gradient = table.weight.grad
    assert gradient is not None
    norm = (gradient.coalesce().values() if gradient.is_sparse else gradient).norm()
    gradient.mul_(torch.clamp(3e-5 / norm, max=1))


def leave_padding(table: nn.Embedding, step: int, ids: Tensor, target: Tensor) -> None:
    table.padding_idx = 0
    backward(table, ids, target)


def pause(table: nn.Embedding, step: int, ids: Tensor, target: Tensor) -> None:
    if step % 3:  # torch's Adam skips a parameter without gradient
        backward(table, ids if step % 5 else ids[:0], target if step % 5 else target[:0])


def read_past_the_module(table: nn.Embedding, step: int, ids: Tensor, target: Tensor) -> None:
    backward(table, ids, target)
    if 100 < step < 110:  # a dense gradient, and dense plus sparse is dense
        (1e-6 * F.embedding(ids, table.weight).square().sum()).backward()


@pytest.mark.parametrize("use", [accumulate, look_up_twice, clip, leave_padding, pause, read_past_the_module])
def test_uses_of_a_table(use: Callable[[nn.Embedding, int, Tensor, Tensor], None]) -> None:
    tables = [make_table(), make_table()]
    optimizers: list[Optimizer] = [lazy(tables[0]), dense(tables[1])]
    for step, (ids, target) in enumerate(draw(300)):
        for table, optimizer in zip(tables, optimizers, strict=True):
            if 100 <= step < 110:
                weights(table, optimizer)  # reading past the module asks for that
            use(table, step, ids, target)
            optimizer.step()
            optimizer.zero_grad()
    assert_equal_to_rounding(weights(tables[0], optimizers[0]), weights(tables[1], optimizers[1]))


def change_betas(step: int) -> dict[str, object]:
    return {"betas": (0.9, 0.999) if step < 150 else (0.8, 0.99)}


def stand_still(step: int) -> dict[str, object]:
    return {"lr": 0.0 if 100 < step < 200 else 1e-3}


def rise(step: int) -> dict[str, object]:
    return {"lr": 1e-5 * min(step, 200)}


@pytest.mark.parametrize("settings", [change_betas, stand_still, rise])
def test_settings_that_change(settings: Callable[[int], dict[str, object]]) -> None:
    tables = [make_table(), make_table()]
    optimizers: list[Optimizer] = [lazy(tables[0]), dense(tables[1])]
    for step, batch in enumerate(draw(300)):
        for table, optimizer in zip(tables, optimizers, strict=True):
            optimizer.param_groups[0].update(settings(step))
            train(table, optimizer, [batch])
    assert_equal_to_rounding(weights(tables[0], optimizers[0]), weights(tables[1], optimizers[1]))


def test_other_parameters_get_torch_adam_to_the_bit_and_closures_work() -> None:
    results = []
    for make in (LazyAdam, lambda parameters: Adam(parameters, fused=True)):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        optimizer = make(layer.parameters())
        x = torch.randn(7, 5)

        def closure(layer: nn.Module = layer, optimizer: Optimizer = optimizer, x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = layer(x).square().mean()
            loss.backward()
            return loss

        losses = [optimizer.step(closure).item() for _ in range(20)]
        results.append((losses, layer.weight.detach().clone()))
    assert results[0][0] == results[1][0]
    assert results[0][0][-1] < results[0][0][0]
    assert torch.equal(results[0][1], results[1][1])


def test_loaded_weights_are_not_moved_by_what_the_old_ones_had_missed() -> None:
    tables = [make_table(), make_table()]
    optimizers: list[Optimizer] = [lazy(tables[0]), dense(tables[1])]
    for table, optimizer in zip(tables, optimizers, strict=True):
        train(table, optimizer, draw(50))
        table.load_state_dict({"weight": torch.full((ROWS, SIZE), 0.5)})
        with torch.inference_mode():
            assert (table(torch.arange(ROWS)) == 0.5).all()
        train(table, optimizer, draw(50, seed=1))
    assert_equal_to_rounding(weights(tables[0], optimizers[0]), weights(tables[1], optimizers[1]))


def test_a_copy_of_a_table_catches_up_by_itself() -> None:
    table = make_table()
    optimizer = lazy(table)
    train(table, optimizer, draw(50))
    copied = copy.deepcopy(table)
    before = copied.weight.detach().clone()
    with torch.inference_mode():
        read = copied(torch.arange(ROWS))
    assert not torch.equal(read, before)
    assert torch.equal(read, weights(table, optimizer))


def test_mistakes() -> None:
    table = make_table()
    with pytest.raises(ValueError, match="got sparse=False"):
        LazyAdam(table.parameters(), [table])
    table.sparse = True
    with pytest.raises(ValueError, match="eps must be positive, got 0"):
        LazyAdam(table.parameters(), [table], eps=0.0)
    with pytest.raises(ValueError, match="'torch' or 'tensorflow', got 'keras'"):
        LazyAdam(table.parameters(), epsilon="keras")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="among params"):
        LazyAdam(make_table().parameters(), [table])
    with pytest.raises(ValueError, match=r"got sparse=True, torch\.float64"):
        LazyAdam(table.parameters(), [nn.Embedding(3, 2, sparse=True, dtype=torch.float64)])
    forgotten = LazyAdam(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=rf"shape \({ROWS}, {SIZE}\) that is no table"):
        forgotten.step()
    optimizer = LazyAdam(table.parameters(), [table])
    optimizer.step()
    for wrong in (-1, ROWS, 2**40):
        with pytest.raises(IndexError):
            table(torch.tensor([1, wrong]))


@pytest.mark.timeout(600)
def test_a_whole_model_learns_the_same_with_large_tables_and_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves, tables = [], []

    class Counting(LazyAdam):
        def __init__(self, params: Iterable[Tensor], of: list[nn.Embedding], lr: float, epsilon: Epsilon) -> None:
            assert epsilon == "tensorflow"
            tables.append(len(of))
            super().__init__(params, of, lr=lr, epsilon=epsilon)

    monkeypatch.setattr(lightning_module, "LazyAdam", Counting)
    monkeypatch.setattr("benchmark.runs.config.EVALUATE_EVERY", 20)
    for size in (1, 10**12):
        monkeypatch.setattr(lightning_module, "LAZY_SIZE", size)
        config = RunConfig("generated", "arxiv-v1", "dien", "official", 0, steps=60, batch_size=32)
        config = replace(config, data_dir=str(tmp_path), out=str(tmp_path / str(size)))
        train_run(config)
        curves.append(pd.read_csv(config.folder() / "metrics.csv"))
    assert tables == [3, 0]
    for column in ("loss", "target_loss", "auxiliary_loss", "test_auc", "test_logloss"):
        ours, theirs = curves[0][column].dropna(), curves[1][column].dropna()
        assert len(ours) >= 3
        assert not math.isclose(ours.iloc[0], ours.iloc[-1], rel_tol=1e-3)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)  # SparseAdam's rows would give 0.5 of the target loss
