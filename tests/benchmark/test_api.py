"""The suite from Python: every number against what the files of a run say, and what is refused."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import benchmark
from benchmark import compare, curves, load_run, records, train
from benchmark.analysis import comparison
from benchmark.records.record import FIELDS
from benchmark.runs.config import RunConfig
from benchmark.runs.ended import record_failure
from benchmark.templates.new_model import new_model
from datamodules.errors import UserError
from tests.benchmark.boards import pairs

ROOT = Path(__file__).parents[2]
ROWS = ("base-model+learning_rate=0.02", "din")
SEEDS = (0, 1)


def settings(root: Path, **changes: object) -> dict[str, Any]:
    given: dict[str, Any] = dict(
        dataset="generated", protocol="clean", model="din", variant="official", seed=0, steps=200
    )
    return given | {"data_dir": str(root / "data"), "out": str(root / "runs")} | changes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows with two seeds each, and a third with a run that failed."""
    root = tmp_path_factory.mktemp("root")
    for model in ROWS:
        for seed in SEEDS:
            train(settings(root, model=model, seed=seed))
    record_failure(RunConfig(**settings(root, model="pnn")), "the loss is nan at step 7", 6)
    return root


def folder(root: Path, model: str = "din", seed: int = 0) -> Path:
    return root / "runs" / "generated" / "clean" / f"{model}-official" / f"seed-{seed}"


def json_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_records_are_what_the_files_say(root: Path) -> None:
    frame = records(root / "runs")
    assert frame[["model", "seed", "status"]].values.tolist() == [
        *([ROWS[0], seed, "finished"] for seed in SEEDS),
        *(["din", seed, "finished"] for seed in SEEDS),
        ["pnn", 0, "failed"],
    ]
    for line in frame[frame.status == "finished"].to_dict("records"):
        file = json_of(Path(line["folder"]) / "record.json")
        flat = {f"settings_{name}": value for name, value in file.pop("settings").items()}
        flat |= {f"versions_{name}": value for name, value in file.pop("versions").items()}
        auc = file.pop("auc")
        flat |= {f"auc_{name}": value for name, value in auc.items()} | {"auc": auc["validation"]} | file
        assert {name: line[name] for name in flat} == flat
        assert {name for name in FIELDS if name not in line} == {"settings", "versions"}
    failed = frame.iloc[-1]
    assert failed.reason == "the loss is nan at step 7"
    assert np.isnan(failed.auc)
    assert frame.auc.dtype == frame.logloss.dtype == "float64"
    assert frame.best_step.tolist()[-1] is pd.NA


def test_records_of_a_checkout_are_its_board() -> None:
    frame = records(None)
    assert frame.equals(records())
    assert {"dien", "base-model"} <= set(frame.model)
    assert not frame.duplicated(["dataset", "protocol", "model", "variant", "seed"]).any()
    finished = frame[frame.status == "finished"]
    assert finished.auc.between(0, 1).all()
    reported = [line[f"auc_{line['selection']}"] for line in finished.to_dict("records")]
    assert finished.auc.tolist() == reported


def test_an_empty_folder_gives_frames_without_lines(tmp_path: Path) -> None:
    assert len(records(tmp_path)) == len(curves(tmp_path)) == 0
    assert {"dataset", "auc", "status"} <= set(records(tmp_path))
    assert list(curves(tmp_path)) == ["dataset", "protocol", "model", "variant", "seed", "step", "metric", "value"]
    with pytest.raises(UserError, match="no folder"):
        records(tmp_path / "gone")


def test_curves_are_the_filled_cells_of_the_files(root: Path) -> None:
    frame = curves(root / "runs")
    assert set(zip(frame.model, frame.seed, strict=True)) == {(model, seed) for model in ROWS for seed in SEEDS}
    for model in ROWS:
        for seed in SEEDS:
            with open(folder(root, model, seed) / "metrics.csv", encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            cells = {
                (int(line["step"]), name, float(value))
                for line in lines
                for name, value in line.items()
                if name != "step" and value
            }
            mine = frame[(frame.model == model) & (frame.seed == seed)]
            assert set(zip(mine.step, mine.metric, mine.value, strict=True)) == cells
            assert len(mine) == len(cells)
    assert curves(root / "runs", models=["din"], datasets=["generated"]).equals(
        frame[frame.model == "din"].reset_index(drop=True)
    )


@pytest.mark.parametrize(("field", "text"), [("models", "did you mean 'din'"), ("datasets", "unknown dataset 'dinn'")])
def test_curves_of_a_name_without_runs_are_refused(root: Path, field: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        curves(root / "runs", **{field: ["dinn"]})


@pytest.mark.parametrize("content", ["", "step,loss\n20,much\n", "loss\n0.5\n"])
def test_damaged_curves_are_refused(tmp_path: Path, root: Path, content: str) -> None:
    copy = tmp_path / "generated" / "clean" / "din-official" / "seed-0"
    copy.mkdir(parents=True)
    (copy / "record.json").write_bytes((folder(root) / "record.json").read_bytes())
    (copy / "metrics.csv").write_text(content, "utf-8")
    with pytest.raises(UserError, match=r"metrics\.csv"):
        curves(tmp_path)


def test_two_rows_are_compared_by_the_test_of_the_suite(root: Path) -> None:
    first, second = (("generated", "clean", model, "official") for model in ROWS)
    found = compare(first, second, root=root / "runs")
    tables = [[pd.read_parquet(folder(root, row, seed) / "predictions.parquet") for seed in SEEDS] for row in ROWS]
    means = [np.mean([roc_auc_score(table.label, table.score) for table in of_row]) for of_row in tables]
    assert found.difference == pytest.approx(means[1] - means[0], abs=1e-9)
    scores = [[pairs(*(t.score[t.label == label].to_numpy() for label in (0, 1))) for t in row] for row in tables]
    assert found.p == pytest.approx(comparison.compare(scores[0], scores[1]).p)
    assert found.interval.low < found.difference < found.interval.high


def test_rows_that_cannot_be_compared_are_refused(root: Path) -> None:
    row = ("generated", "clean", "din", "official")
    with pytest.raises(UserError, match="did you mean 'generated/clean/din/official'"):
        compare(row, ("generated", "clean", "dinn", "official"), root=root / "runs")
    with pytest.raises(UserError, match="0 finished seeds"):
        compare(row, ("generated", "clean", "pnn", "official"), root=root / "runs")
    with pytest.raises(UserError, match="different test users"):
        compare(*(("beauty", protocol, "din", "official") for protocol in ("clean", "arxiv-v1")))


@pytest.mark.parametrize("model", ROWS)
def test_a_loaded_run_predicts_what_it_did_when_it_was_trained(root: Path, model: str) -> None:
    run = load_run(folder(root, model))
    predictions = pd.read_parquet(folder(root, model) / "predictions.parquet")
    np.testing.assert_allclose(run.predict("test"), predictions.score, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(run.scores.reported.positive, predictions.score[predictions.label == 1])
    assert not run.model.training
    samples = run.data.ready
    for name in ("validation", "train"):
        split = getattr(samples, name)
        assert len(run.predict(name)) == len(split)
    assert roc_auc_score(samples.validation.label, run.predict("validation")) == pytest.approx(
        run.record.validation_auc, abs=1e-6
    )
    batch = next(iter(run.data.train_dataloader()))
    with torch.no_grad():
        assert run.predict(batch).tolist() == torch.sigmoid(run.model(batch).logit.double()).tolist()
    with pytest.raises(UserError, match="did you mean 'test'"):
        run.predict("tests")


def test_folders_without_a_model_are_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UserError, match="expected the folder of a finished run"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="failed: the loss is nan"):
        load_run(folder(root, "pnn"))
    copy = tmp_path / "generated" / "clean" / "din-official" / "seed-0"
    copy.mkdir(parents=True)
    (copy / "record.json").write_bytes((folder(root) / "record.json").read_bytes())
    with pytest.raises(UserError, match="keeps no models"):
        load_run(copy)
    (copy / "config.json").write_bytes((folder(root) / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"weights\.pt is missing"):
        load_run(copy, data_dir=root / "data")


def test_the_config_of_a_run_gives_it_again(tmp_path: Path, root: Path) -> None:
    first = train(folder(root) / "config.json")  # is there
    assert first.path == folder(root) / "record.json"
    again = train(json_of(folder(root) / "config.json") | {"out": str(tmp_path)})
    assert again.path.is_relative_to(tmp_path)
    assert (again.auc, again.logloss, again.settings) == (first.auc, first.logloss, first.settings)


def changed(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: given | changes


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (changed(step=3), "unknown field 'step', did you mean 'steps'"),
        (changed(steps="many"), "steps: Input should be a valid integer.*'many'"),
        (changed(variant="papers"), "variant: Input should be 'official' or 'paper'"),
        (changed(settings=7), "settings is 7"),
        (changed(settings={"shuffle": True}), "batch_size = None, which would have 128 now"),
        (lambda given: {key: given[key] for key in given if key != "dataset"}, "dataset: Field required"),
    ],
)
def test_a_config_that_is_none_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        train(change(settings(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_config_whose_model_file_has_changed_is_refused(tmp_path: Path) -> None:
    path, _ = new_model("mine", tmp_path)
    record = train(settings(tmp_path, model=f"{path}:Mine", steps=1))
    config = record.path.with_name("config.json")
    path.write_text(path.read_text("utf-8") + "\n# another state\n", "utf-8")
    for use in (train, lambda path: load_run(path.parent)):
        with pytest.raises(UserError, match=r"config\.json is of a run with model_sha256"):
            use(config)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("batch_size", 0, "a run with batch_size = 128, which would have 0"), ("steps", -1, "steps must be at least 1")],
)
def test_a_run_whose_config_has_impossible_sizes_is_not_loaded(
    root: Path, tmp_path: Path, name: str, value: int, said: str
) -> None:
    copy = shutil.copytree(folder(root), folder(tmp_path))
    config = json_of(copy / "config.json") | {name: value}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(UserError, match=said):
        load_run(copy)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["import benchmark.records.record", "import benchmark.api", "assert len(benchmark.records())"]
)
def test_records_is_the_function_whatever_was_imported_before(first: str) -> None:
    program = f"""
import sys
import benchmark
assert not {{"torch", "pandas", "numpy", "benchmark.api"}} & set(sys.modules), "import benchmark is to load nothing"
{first}
from benchmark import records
from benchmark.records import paper
assert "torch" not in sys.modules or "benchmark.api" in sys.modules
assert "pytorch_lightning" not in sys.modules, "only what trains is to wait for Lightning"
assert len(records()) and records is benchmark.records and paper.LABELS
try:
    benchmark.recods
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "module 'benchmark' has no attribute 'recods'\n"


def test_all_names_are_there() -> None:
    assert all(callable(getattr(benchmark, name)) for name in benchmark.__all__)
