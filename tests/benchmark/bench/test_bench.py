"""Speed measurements: counts against PyTorch's own counter, turns, made-up data, the command, and the peers' files."""

import ast
import gzip
import io
import itertools
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from baselines import MODELS
from baselines.contract import SCHEMA, make_batch
from baselines.contract.batch import tensors_of
from baselines.layers.recurrence import reference
from baselines.lightning_module import CTRModule
from benchmark.bench import train, workloads
from benchmark.bench.floor import operations, products_of, recurrence, runner
from benchmark.bench.peers import compare, driver, exchange
from benchmark.bench.peers.compare import as_arrays
from benchmark.bench.peers.compare import measure as measure_peers
from benchmark.bench.phases import PHASES, timed
from benchmark.bench.prepare import child as prepare_child
from benchmark.bench.prepare.raw import write_raw
from benchmark.bench.suite import BenchConfig, as_in_a_run, bench
from benchmark.bench.timing import Timer, ratio, summarise
from benchmark.cli.app import app
from datamodules.batch import Batch
from datamodules.errors import UserError
from datamodules.protocol import OF_IMPRESSIONS
from datamodules.samples.impressions import make_impression_samples
from datamodules.samples.vocabulary import vocabulary
from datamodules.sources.market import MarketSize, make_market

ROOT = Path(__file__).parents[3]
rows = pytest.mark.parametrize(
    ("row", "variant"), [(row, variant) for row in MODELS for variant in ("official", "paper")]
)


def batch_of(lengths: list[int], seed: int = 0) -> Batch:
    return make_batch(lengths, max(*lengths, 1), seed)


def step_of(row: str, variant: str) -> CTRModule:
    torch.manual_seed(0)
    return CTRModule(model=row, variant=variant, schema=SCHEMA.as_dict(), steps=10)


def counted(row: str, variant: str, lengths: list[int]) -> int:
    return operations(products_of(step_of(row, variant), batch_of(lengths)))


def test_operations_by_hand() -> None:
    lengths = [2, 1]  # 2 samples, 3 behaviours, one of which follows another
    top = 200 * 80 + 80 * 2
    official = {
        "base-model": 2 * (90 * 200 + top),  # user, target and sum: 5 fields of 18
        "wide-deep": 2 * (90 * 200 + top) + 2 * 108 * 2,
        "din": 2 * (162 * 200 + top) + 2 * 36 * 80 + 3 * (72 * 80 + 80 * 40 + 40),
    }
    # two layers: W i for 3 behaviours, U h for the one that follows another; then attention, head, top
    layers = 2 * (3 * 36 * 108 + 1 * 36 * 108)
    attention = 2 * 36 * 36 + 2 * 36 * 80 + 3 * (72 * 80 + 80 * 40 + 40)
    head = 36 * 100 + 2 * (36 * 100 + 100 * 50 + 50)
    official["dien"] = layers + attention + head + 2 * (162 * 200 + top)
    for row, products in official.items():
        assert counted(row, "official", lengths) == 3 * 2 * products  # forward, and the gradients of both factors


@rows
def test_operations_are_those_of_the_model_in_plain_torch_or_a_little_less(row: str, variant: str) -> None:
    """Without padding and in float64, where no compiled kernel works, torch's counter sees each of them."""
    module, batch = step_of(row, variant).double(), batch_of([12] * 6)
    batch = batch.with_label(batch.label.double())
    with FlopCounterMode(display=False) as counter:
        module.train().training_step(batch, 0).backward()
    plain = counter.get_total_flops()
    sizes = {"dien-rocket": (32, 108)}.get(row, (36,))  # of the states of each DIEN
    # the scores' last layer is a product with a vector, which the counter leaves out
    if row == "din" or (variant == "official" and row not in ("base-model", "wide-deep", "pnn")):
        plain += len(sizes) * 3 * 2 * 6 * 12 * 40
    if row == "dien-rocket" or (variant == "official" and row == "dien"):
        plain += len(sizes) * 3 * 2 * 2 * 6 * 11 * 50
    # the loop of both layers also multiplies the zero state, forward and for the gradients
    recurrent = row not in ("base-model", "wide-deep", "pnn", "din")
    zero = sum(2 * 3 * (2 * 6 * size * 3 * size) for size in sizes) if recurrent else 0
    assert plain - zero <= counted(row, variant, [12] * 6) <= plain


def test_recurrence_is_the_loop_without_its_first_position() -> None:
    x, w = torch.randn(15, 12, requires_grad=True), torch.randn(4, 12, requires_grad=True)
    half = torch.full((15,), 0.5)
    with FlopCounterMode(display=False) as counter:
        reference.forward(x, w, half, half, np.full(5, 3), True)[0].sum().backward()
    first = 2 * (2 * 3 * 4 * 12)  # forward and the weight's gradient; the zero state needs none
    assert operations(recurrence(4, first=3, rest=12)) == counter.get_total_flops() - first
    assert sum(product.m * product.times for product in recurrence(4, 3, 7) if product.k == 4) == 7


@rows
def test_runner_multiplies_as_much_as_was_counted(row: str, variant: str) -> None:
    products = products_of(step_of(row, variant), batch_of([5, 4, 1, 0]))
    run = runner(products)
    with FlopCounterMode(display=False) as counter:
        run()
    assert counter.get_total_flops() == operations(products) > 0


def test_counting_leaves_the_module_as_it_was() -> None:
    module, batch = step_of("dien", "official"), batch_of([3, 2])
    first = products_of(module, batch)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())
    assert products_of(module, batch) == first


def test_sides_take_turns() -> None:
    order: list[str] = []
    sides = {"a": lambda: order.append("a"), "b": lambda: order.append("b"), "other": lambda: 2.5}
    seconds = Timer(3).interleave(sides, before=lambda number: order.append(str(number)))
    assert order == ["0", "a", "b", "1", "b", "a", "2", "a", "b", "3", "b", "a"]  # round 0 warms up
    assert seconds["other"] == [2.5] * 3
    assert [len(values) for values in seconds.values()] == [3] * 3
    busy = Timer(1, "cpu").interleave({"wait": lambda: torch.ones(()).item()})
    assert busy["wait"][0] >= 0


def test_summaries_are_quantiles_and_ratios_are_of_rounds() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    found = summarise(values)
    assert found == {"lower": 2.0, "median": 3.0, "upper": 4.0, "repeats": 5}
    assert summarise(values, 2)["median"] == 6.0
    assert ratio([10.0, 1.0, 9.0], [1.0, 1.0, 3.0])["median"] == 3.0  # not 9 / 1


def test_made_up_samples_have_the_stated_lengths_and_windows() -> None:
    workload = workloads.electronics(quick=True)
    behaviours = np.diff(workload.samples.offsets)
    assert behaviours.min() == 5
    assert behaviours.mean() == pytest.approx(1_689_188 / 192_403, rel=0.05)
    assert behaviours.max() > 50  # the tail
    assert workload.longest <= 100
    assert set(workload.samples.items) == set(range(1, workload.sizes.items + 1))
    assert workload.samples.categories == workload.sizes.categories
    data = workload.training("official", 16, passes=7)
    longest = [batch.history["item"].shape[1] for batch in (data[step] for step in range(20))]
    assert longest == sorted(longest, reverse=True)  # one window of 20 batches
    again = list(workloads.batches_of(data, workload.window, 1))
    for ours, theirs in zip(again, (data[3], data[4], data[5]), strict=True):
        assert all(a.equal(b) for a, b in zip(*(tensors_of(each).values() for each in (ours, theirs)), strict=True))
    assert set(workloads.full_histories(quick=True).lengths.tolist()) == {20}


def test_the_click_log_is_the_workload_s_behaviours_and_can_be_imported(tmp_path: Path) -> None:
    log = tmp_path / "clicks.parquet"
    workloads.write_click_log(log, quick=True)
    workload, clicks = workloads.electronics(quick=True), pd.read_parquet(log)
    assert clicks.groupby("user").size().tolist() == np.diff(workload.samples.offsets).tolist()
    assert clicks.groupby("item").category.nunique().max() == 1
    assert clicks.groupby("user").time.is_monotonic_increasing.all()
    arguments = ["import", str(log), "--name", "made-up", "--data-dir", str(tmp_path), "--quiet"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    prepared = workloads.prepared("made-up", "arxiv-v1", tmp_path)
    assert prepared.sizes == workload.sizes


@pytest.fixture
def empty_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In peers' processes: torch takes seconds to import, and a peer that is not installed does not come to use it."""
    torch = "class nn:\n    Module = object\ndef set_num_threads(number): ...\ndef manual_seed(seed): ...\n"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "empty"))


@pytest.mark.usefixtures("empty_torch")
def test_a_model_is_timed_with_all_fields_that_a_run_of_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = MarketSize(users=300, goods=400, categories=20)
    samples = make_impression_samples(make_market(size), OF_IMPRESSIONS["next-day"])
    monkeypatch.setattr(workloads, "prepare_samples", lambda dataset, protocol, data_dir: samples)
    workload = replace(workloads.prepared("market", "next-day", tmp_path), window=2)
    in_a_run = vocabulary(samples).schema
    assert {"age_level", "shop", "campaign", "hour"} <= set(in_a_run.rows)
    module = workload.module("dien", "official")
    assert module.hparams["schema"] == in_a_run.as_dict()
    assert workload.describe()["fields"] == ", ".join(in_a_run.rows)
    alone = workload.module("dien", "official", workload.sizes.schema)
    timed = train.measure(workload, "dien", "official", 64, KnownTimes(1))["operations_a_step"]
    batches = list(workloads.batches_of(workload.training("official", 64, passes=2), 2, 0))
    counts = [sum(operations(products_of(each, batch)) for batch in batches) / 2 for each in (module, alone)]
    assert timed == round(counts[0]) > counts[1]
    monkeypatch.setattr(compare, "PEERS", compare.PEERS[:1])
    lines = measure_peers([workload], "official", 64, Timer(1), sys.executable, report=lambda line: None)
    assert {line["fields"] for line in lines} == {f"3 of {len(in_a_run.rows)}: user, item, category"}
    assert {line["operations_a_step"] for line in lines} == {round(counts[1])}
    assert workloads.electronics(quick=True).describe()["fields"] == "user, item, category"


@pytest.mark.parametrize("missing", ["item", "category"])
def test_data_sets_without_items_or_categories_as_fields_are_timed(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """taobao-ad has category and brand, kuairand-pure item, author and tag."""
    log = make_market(MarketSize(users=100, goods=400, categories=20))
    catalogue = {name: codes for name, codes in log.catalogue.items() if name != missing}
    samples = make_impression_samples(replace(log, catalogue=catalogue), OF_IMPRESSIONS["next-day"])
    monkeypatch.setattr(workloads, "prepare_samples", lambda dataset, protocol, data_dir: samples)
    workload = replace(workloads.prepared("market", "next-day", tmp_path), window=2)
    assert missing not in workload.describe()["fields"].split(", ")
    assert train.measure(workload, "din", "official", 64, KnownTimes(1))["operations_a_step"] > 0
    with pytest.raises(UserError, match=f"the peers need the fields user, item, category, and market has no {missing}"):
        compare.check(workload)


def test_an_optimiser_goes_on_as_in_the_middle_of_a_run() -> None:
    workload = workloads.electronics(quick=True)
    step, data = train.Step(workload.module("base-model", "official")), workload.training("official", 16, passes=2)
    step.train([data[0]])
    step.advance(4000)
    step.train([data[1]])
    for state in step.optimizer.state_dict()["state"].values():
        assert state["step"] == 4001
        assert (state["exp_avg"] != 0).all()


def assert_summaries(value: Any) -> int:
    """Check every summary inside; return how many there are."""
    if isinstance(value, Mapping):
        if "median" in value:
            assert 0 <= value["lower"] <= value["median"] <= value["upper"] < math.inf
            return 1
        return sum(assert_summaries(part) for part in value.values())
    return sum(assert_summaries(part) for part in value) if isinstance(value, list) else 0


@pytest.mark.slow
def test_the_command_writes_every_figure(tmp_path: Path) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    options = ["--quick", "--models", "base-model dien", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["bench", *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    found = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert set(found) == {"format", "commit", "settings", "machine", "load_average", "seconds", "parts"}
    assert set(found["load_average"]) == {"before", "after", "busy"}
    parts = found["parts"]
    assert set(parts) == {"workloads", "kernels", "train", "phases", "batches", "prepare"}
    assert {(line["gate"], line["steps"]) for line in parts["kernels"]} == {
        (gate, steps) for gate in ("gru", "agru", "augru", "augru-keep") for steps in (8, 20)
    }
    assert [line["gate"] for line in parts["kernels"] if line["nn_gru_ms"]] == ["gru", "gru"]
    assert [(line["workload"], line["model"]) for line in parts["train"]] == [
        (samples, model) for samples in ("electronics", "T=20") for model in ("base-model", "dien")
    ]
    figures = "step_ms step_with_batch_ms samples_per_second evaluation_seconds floor_ms step_over_floor"
    for line in parts["train"]:
        assert all(assert_summaries(line[name]) == 1 for name in [*figures.split(), "evaluation_share"])
        assert line["evaluation_share"]["upper"] < 1
    for line in parts["phases"]:
        each = {name: line[f"{name}_ms"]["median"] for name in ("step", *PHASES, "rest")}
        assert each["step"] == pytest.approx(sum(each.values()) - each["step"], rel=0.5)  # medians of few rounds
        assert min(each["look_up"], each["adam"], each["rest"]) > 0
        assert (min(each["recurrence"], each["mlp"]) > 0) == (line["model"] == "dien")
    assert [line["workload"] for line in parts["batches"]] == ["electronics", "T=20"]
    (prepared,) = parts["prepare"]
    assert prepared["counts"]["interactions"] == prepared["reviews"] == 2_000
    assert prepared["raw_mb"] > prepared["compressed_mb"] > 0
    assert prepared["peak_mb"] > prepared["peak_before_mb"] > 0
    assert assert_summaries(parts) > 50
    shown = (tmp_path / "bench.md").read_text("utf-8")
    assert all(
        heading in shown for heading in ("Recurrences alone", "One optimiser step", "Where", "Making", "Preparing")
    )
    assert "median" not in shown.replace("Medians", "").replace("is the median", "")  # no raw dictionary


class KnownTimes(Timer):
    """Runs every side once, and says that it took what is written here."""

    def interleave(self, sides: Any, before: Any = None, warm_up: int = 1) -> dict[str, list[float]]:
        before(0)
        for side in sides.values():
            side()
        known = {"step": 0.3, "step_with_batch": 0.6, "evaluation": 20.0, "floor": 0.1, "make": 0.06}
        return {name: [known[name]] for name in sides}


def test_figures_follow_from_the_times() -> None:
    workload = workloads.electronics(quick=True)
    assert workload.window == 3
    line = train.measure(workload, "dien", "official", 64, KnownTimes(1))
    medians = {name: value["median"] for name, value in line.items() if isinstance(value, dict)}
    assert medians == pytest.approx(
        {
            "step_ms": 100,
            "step_with_batch_ms": 200,
            "samples_per_second": 320,
            "evaluation_seconds": 20,
            "evaluation_share": 0.5,  # 100 steps take as long as the evaluation
            "floor_ms": 100 / 3,
            "step_over_floor": 3,
        }
    )
    assert line["matrix_gflops"] == pytest.approx(line["operations_a_step"] * 30 / 1e9, abs=0.006)
    made = train.measure_batches(workload, "official", 64, KnownTimes(1))
    assert made["batch_ms"]["median"] == pytest.approx(20)
    assert made["samples_per_second"]["median"] == pytest.approx(3200)


def test_phases_take_the_turns_that_a_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks once a reading, each call of a phase takes one tick."""
    workload = workloads.electronics(quick=True)
    step, data = train.Step(workload.module("dien", "official")), workload.training("official", 16, passes=1)
    step.train([data[0]])  # the schedule's first step looks whether the optimiser's was replaced
    ticks = itertools.count()
    monkeypatch.setattr(Timer, "now", lambda timer: float(next(ticks)))
    with timed(step, Timer(1)) as spent:
        step.train([data[1]])
    # two recurrent layers and two MLPs there and back
    assert spent == {"look_up": 1, "recurrence": 4, "mlp": 4, "adam": 1}
    step.train([data[2]])
    assert sum(spent.values()) == 10


def test_a_model_of_the_users_own_has_its_own_floor(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from baselines.base_model import BaseModel\n\n\nclass Mine(BaseModel): ...\n")
    with as_in_a_run(1):
        line = train.measure(workloads.full_histories(quick=True), f"{path}:Mine", "official", 64, Timer(1))
    assert line["model"] == "mine"
    assert line["operations_a_step"] == counted("base-model", "official", [20] * 64)
    assert assert_summaries(line["step_over_floor"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ("kernel",)}, "did you mean 'kernels'"),
        ({"models": ("diem",)}, "did you mean 'dien'"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"dataset": "sport"}, "did you mean 'sports'"),
        ({"parts": ("peers",), "peers_python": "nowhere/python"}, "make bench-peers"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        bench(BenchConfig(out=str(tmp_path), **change))
    assert not list(tmp_path.iterdir())


def test_raw_files_have_the_layout_of_the_originals(tmp_path: Path) -> None:
    reviews, metadata = write_raw(tmp_path / "raw" / "amazon", 500)
    with gzip.open(reviews, "rt") as file:
        found = [json.loads(line) for line in file]
    assert len(found) == 500
    items = [review["asin"] for review in found]
    assert items == sorted(items)  # grouped
    assert {"reviewerID", "asin", "unixReviewTime", "reviewText"} <= set(found[0])
    assert np.mean([len(review["reviewText"]) for review in found]) == pytest.approx(600, abs=60)
    with gzip.open(metadata, "rt") as file:
        lines = list(file)
    described = [ast.literal_eval(line) for line in lines]
    assert lines[0].startswith("{'asin'")  # a Python literal, no JSON
    assert set(items) <= {product["asin"] for product in described}
    assert len(described) == 8 * len(set(items))
    size = sum(len(gzip.decompress(path.read_bytes())) for path in (reviews, metadata))
    assert prepare_child.decompress(tmp_path)["bytes"] == size
    counts = prepare_child.prepare(tmp_path)["counts"]
    assert counts["items"] == len(set(items))
    assert counts["users"] == len({review["reviewerID"] for review in found})
    assert counts["categories"] == len(
        {product["categories"][0][-1] for product in described if product["asin"] in items}
    )


BATCHES = [
    as_arrays(batch_of([3, 0, 1], seed=1)),
    as_arrays(batch_of([5, 2], seed=2)),
    as_arrays(batch_of([0], seed=3)),
]
TABLES = {"users": 9, "items": 30, "categories": 7}


@pytest.mark.parametrize("steps", [None, 8])
def test_samples_come_back_from_the_file_with_either_padding(tmp_path: Path, steps: int | None) -> None:
    sha256 = exchange.write_batches(tmp_path / "batches.npz", BATCHES, TABLES)
    found, tables = exchange.read_batches(tmp_path / "batches.npz", steps)
    assert tables == TABLES
    assert exchange.checksum(found) == sha256 == exchange.checksum(BATCHES)
    for batch, original in zip(found, BATCHES, strict=True):
        width = original["history_items"].shape[1]
        assert batch["history_items"].shape[1] == (steps or width)
        for name, values in original.items():
            kept = batch[name] if values.ndim == 1 else batch[name][:, :width]
            np.testing.assert_array_equal(kept, values)
            assert not batch[name][:, width:].any() if values.ndim == 2 else True


def test_a_changed_sample_has_another_checksum_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "batches.npz"
    sha256 = exchange.write_batches(path, BATCHES, TABLES)
    for name in (*exchange.OF_SAMPLE, *exchange.OF_BEHAVIOUR):
        if name != "lengths":
            changed = [{key: values.copy() for key, values in batch.items()} for batch in BATCHES]
            changed[0][name].flat[0] += 1
            assert exchange.checksum(changed) != sha256, name
    assert exchange.checksum([BATCHES[1], BATCHES[0], BATCHES[2]]) != sha256
    with pytest.raises(ValueError, match="a history of 5 behaviours, expected at most 4"):
        exchange.read_batches(path, 4)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["item"] = arrays["item"] + 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="does not hold what was written"):
        exchange.read_batches(path)


class FakePeer:
    """Sees what it is given, and has a loss of a half."""

    def __init__(
        self, batches: list[exchange.Arrays], tables: dict[str, int], with_user: bool, fused: bool, rate: float
    ) -> None:
        assert (tables, with_user, fused, rate) == (TABLES, True, True, 0.01)
        self.model = torch.nn.Linear(2, 3)
        self.batches = batches

    def seen(self) -> list[exchange.Arrays]:
        return self.batches

    def train(self) -> float:
        print("a library's chatter")
        return 0.5


def test_a_peer_answers_every_line_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = exchange.write_batches(tmp_path / "batches.npz", BATCHES, TABLES)
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdout", answers)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
    monkeypatch.setattr(driver, "PEERS", {"torch": FakePeer})  # its version is torch's
    driver.main("torch", str(tmp_path / "batches.npz"), "8", "fused", str(torch.get_num_threads()), "official", "0.01")
    about, *turns = map(json.loads, answers.getvalue().splitlines())
    assert (about["parameters"], about["sha256"], about["torch"]) == (9, sha256, torch.__version__)
    assert [turn["loss"] for turn in turns] == [0.5, 0.5]
    assert all(turn["seconds"][clock] >= 0 for turn in turns for clock in ("wall", "cpu"))


@pytest.mark.usefixtures("empty_torch")
def test_a_peer_that_fails_is_a_line_and_the_rest_goes_on() -> None:
    """The suite's own environment has no peers: each process says so."""
    workload = workloads.full_histories(quick=True)
    lines = measure_peers([workload], "official", 64, Timer(1), sys.executable, report=lambda line: None)
    ways = [(line["peer"], line["padding"], line["adam"]) for line in lines]
    assert ways == [(peer, "fixed", adam) for peer in ("deepctr-torch", "torch-rechub") for adam in ("own", "fused")]
    for line in lines:
        assert re.fullmatch("ModuleNotFoundError: No module named '(deepctr_torch|torch_rechub)'", line["error"])
        assert line["peer_ms"] is line["peer_over_ours"] is None
        assert not line["same_samples"]
        assert line["ours_ms"]["median"] > 0


def test_the_peers_environment_pins_everything_and_the_suites_torch() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text("utf-8").splitlines()
        pairs = [line.partition("==") for line in lines if line and not line.startswith("#")]
        assert all(separator for _, separator, _ in pairs)
        return {package: version for package, _, version in pairs}

    peers, ours = pins("benchmark/bench/peers/requirements.txt"), pins("requirements.lock")
    assert peers["torch"] == ours["torch"]
    assert set(driver.PEERS) <= set(peers)
