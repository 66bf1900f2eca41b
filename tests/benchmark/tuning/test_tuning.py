"""Searches for options: what they read, that they repeat and go on, and what a board makes of their rows."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import datamodules.datamodule as datamodule
from baselines.spec import parse_spec
from benchmark import load_run
from benchmark.cli.app import app
from benchmark.executors.sweep import SweepResult
from benchmark.leaderboard.store import add_runs, verify
from benchmark.records.record import read_records
from benchmark.records.results import read_board
from benchmark.records.tuning import Tuning, read_tuning
from benchmark.report.ranking import rankings
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from benchmark.tuning.search import Outcome, Search, tune
from benchmark.tuning.space import Choices, Range, parse_space
from benchmark.tuning.trial import train_trial, without_test
from datamodules.errors import UserError
from datamodules.samples import Samples, Split
from tests.benchmark.boards import table

STEPS = 20


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def search(root: Path, data_dir: Path, trials: int = 4, space: str = "", **changes: Any) -> Search:
    config = RunConfig("generated", "clean", "base-model", "official", 0, steps=STEPS, data_dir=str(data_dir))
    config = replace(config, out=str(root / "runs"), **changes)
    return Search(config, parse_space(config.model, space), trials)


def here(configs: Sequence[RunConfig]) -> list[Outcome]:
    """Train in this process, which a monkeypatch reaches."""
    return [train_trial(config) for config in configs]


def fake(configs: Sequence[RunConfig]) -> list[Outcome]:
    """An AUC that the name of a run decides, as if it had been trained."""
    aucs = [float(np.random.default_rng(list(config.model.encode())).random()) for config in configs]
    return [{"auc": {"validation": auc}, "step": STEPS, "seconds": 1.0} for auc in aucs]


def without_seconds(found: Tuning) -> list[tuple[Any, ...]]:
    return [(trial.options, trial.validation_auc, trial.step) for trial in found.trials]


class Unread(Split):
    """A split that may not be looked at."""

    def __init__(self) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the test samples were read: {name}")


def test_a_search_never_reads_the_test_samples(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = tune(search(tmp_path / "a", data_dir, 2), train=here, say=len)
    prepare = datamodule.prepare_samples

    def poisoned(*arguments: Any) -> Samples:
        return replace(prepare(*arguments), test=Unread())

    monkeypatch.setattr(datamodule, "prepare_samples", poisoned)
    found = tune(search(tmp_path / "b", data_dir, 2), train=here, say=len)
    assert without_seconds(found) == without_seconds(undisturbed)
    assert found.name == undisturbed.name


def test_a_trial_is_worth_the_validation_auc_of_its_run(tmp_path: Path, data_dir: Path) -> None:
    """The same run, trained as any other, has that AUC at its reported step; and scikit-learn agrees."""
    config = replace(search(tmp_path, data_dir).config, model="din", steps=30, out=str(tmp_path))
    trial, record = train_trial(config), train_run(config)
    assert trial["auc"]["validation"] == record["validation_auc"]
    assert trial["step"] == record["best_step"]
    run = load_run(config.folder())
    labels = run.data.ready.validation.label
    assert roc_auc_score(labels, run.predict("validation")) == pytest.approx(record["validation_auc"], abs=1e-6)
    samples = without_test(run.data.ready)
    assert samples.test is run.data.ready.validation
    assert not len(samples.validation)


def test_a_search_repeats_goes_on_and_grows(tmp_path: Path, data_dir: Path) -> None:
    """Interrupted in the second round of two trials, then asked for more: the trials are those of one call."""
    whole = tune(replace(search(tmp_path / "a", data_dir, 14), at_once=2), train=fake, say=len)
    calls = 0

    def interrupted(configs: Sequence[RunConfig]) -> list[Outcome]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return fake(configs)

    part = replace(search(tmp_path / "b", data_dir, 4), at_once=2)
    with pytest.raises(KeyboardInterrupt):
        tune(part, train=interrupted, say=len)
    few = tune(part, train=fake, say=len)
    assert without_seconds(few) == without_seconds(whole)[:4]
    more = tune(replace(part, trials=14), train=fake, say=len)
    assert more == whole
    assert more == read_tuning(part.result)
    assert len({json.dumps(trial.options) for trial in more.trials}) == 14
    assert more.trials[0].options == {"embedding_size": 18, "learning_rate": 0.001}  # the defaults
    assert more.best.validation_auc == max(trial.validation_auc or 0 for trial in more.trials)
    other = tune(search(tmp_path / "c", data_dir, 14, seed=1), train=fake, say=len)
    assert other.trials[1].options != whole.trials[1].options
    with pytest.raises(UserError, match=r"trials.log is of a search with space = .*, asked for was"):
        tune(replace(part, space=parse_space("base-model", "learning_rate")), train=fake, say=len)


def test_trials_that_fail_are_kept_and_equal_ones_trained_once(tmp_path: Path, data_dir: Path) -> None:
    trained: list[str] = []

    def one_fails(configs: Sequence[RunConfig]) -> list[Outcome]:
        trained.extend(config.model for config in configs)
        return ["the loss is nan" if "=32" in config.model else fake([config])[0] for config in configs]

    found = tune(search(tmp_path, data_dir, 6, "embedding_size=18,32"), train=one_fails, say=len)
    assert sorted(trained) == ["base-model+embedding_size=18", "base-model+embedding_size=32"]
    assert len(found.trials) == 6
    assert {t.reason for t in found.trials if t.options["embedding_size"] == 32} == {"the loss is nan"}
    assert found.best.options == {"embedding_size": 18}
    with pytest.raises(UserError, match=r"no trial of base-model finished: the loss is nan"):
        _ = tune(search(tmp_path / "b", data_dir, 1, "embedding_size=32"), train=one_fails, say=len).best


@pytest.mark.parametrize(
    ("dataset", "protocol", "use"),
    [
        ("generated", "arxiv-v1", "clean"),
        ("generated", "aaai-2019", "clean"),
        ("generated", "din-2018", "clean"),
        ("market", "next-day-dmr", "next-day or next-day-random"),
        ("books-released", "released", "a data set of behaviours or impressions"),
    ],
)
def test_protocols_without_validation_samples_are_refused(
    dataset: str, protocol: str, use: str, tmp_path: Path, data_dir: Path
) -> None:
    """What is advised is for the data set that was asked for."""
    with pytest.raises(UserError, match=rf"no validation samples.*use {use}$"):
        tune(search(tmp_path, data_dir, protocol=protocol, dataset=dataset), train=fake)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("space", "defaults"),
    [
        ("embedding_size learning_rate shuffle=true,false", True),
        ("learning_rate=0.002..0.01", False),
        ("hidden_size=18..54", False),  # None: the model's choice
    ],
)
def test_the_auc_of_the_defaults_is_that_of_a_trial_with_them(
    space: str, defaults: bool, tmp_path: Path, data_dir: Path
) -> None:
    one = search(tmp_path, data_dir, 2, space, model="dien")
    found = tune(one, train=fake, say=len)
    assert one.of_defaults(found) == (found.trials[0] if defaults else None)
    if defaults:
        assert found.trials[0].options == {"embedding_size": 18, "learning_rate": 0.001, "shuffle": False}


def test_spaces() -> None:
    space = parse_space("dien", "learning_rate=0.001..0.004 hidden_size=18..54 auxiliary_head=mlp,inner-product")
    assert space == {
        "auxiliary_head": Choices(("mlp", "inner-product")),
        "hidden_size": Range(18, 54),
        "learning_rate": Range(0.001, 0.004),
    }
    assert (Range(1, 9).log, Range(1, 10).log, Range(0, 10).log, Range(0.0003, 0.003).log) == (False, True, False, True)
    for text, message in {
        "learning_rat=1..2": "did you mean 'learning_rate'",
        "hidden_size": "hidden_size = None has no default range",
        "embedding_size=9..9": "is no range",
        "embedding_size=9..big": "is no range",
        "embedding_size=9 embedding_size=8": "stands twice",
    }.items():
        with pytest.raises(UserError, match=message):
            parse_space("dien", text)


def test_a_space_that_the_row_does_not_take_is_refused_first(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"auxiliary_head must be 'mlp' or 'inner-product', got 'mpl'"):
        search(tmp_path, data_dir, model="dien", space="auxiliary_head=mpl").check()
    with pytest.raises(UserError, match="has options already"):
        search(tmp_path, data_dir, model="din+embedding_size=9").check()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A folder with two seeds of a row and of the same row tuned."""
    root = tmp_path_factory.mktemp("tuned")
    one = search(root, data_dir, 3, "embedding_size=9..12 learning_rate=0.01..0.02")
    found = tune(one, train=fake, say=len)
    for seed in (0, 1):
        train_run(replace(one.config, seed=seed))
        train_run(one.tuned(found, seed))
    return root / "runs"


def test_a_tuned_row_enters_the_board_with_its_search(tuned: Path, tmp_path: Path, data_dir: Path) -> None:
    place = tuned / "generated" / "clean" / "base-model+tuned-official"
    found = read_tuning(place / "tuning.json")
    record = next(r for r in read_records(tuned) if r.model == "base-model+tuned")
    assert {name: record.settings[name] for name in found.best.options} == found.best.options
    assert record.settings["tuned"] == found.name
    assert found.name.startswith("3-")
    assert load_run(place / "seed-1").record.seed == 1
    board = tmp_path / "board"
    assert add_runs(tuned, board) == (4, 0)
    assert add_runs(tuned, board) == (0, 4)
    assert verify(board) == (4, [])
    kept = board / "results" / "generated" / "clean" / "tuning" / "base-model+tuned-official.json"
    assert read_tuning(kept) == found
    shown = table(read_board(board), "2", ["generated"], "clean", "official", ["base-model", "base-model+tuned"])
    assert "BaseModel, tuned (3 trials)" in shown.markdown()
    labels = {line.label for line in rankings(read_board(board))[0].lines}
    assert labels == {"BaseModel", "BaseModel, tuned (3 trials)"}
    for change, message in {
        '"validation_auc": 0.': r"is the search 3-.*, expected 3-",
        "": "is missing",
    }.items():
        text = kept.read_text("utf-8")
        kept.write_text(text.replace(change, '"validation_auc": 0.1', 1)) if change else kept.unlink()
        with pytest.raises(UserError, match=message):
            verify(board)
        kept.write_text(text)


def test_runs_that_a_search_does_not_bear_out_are_refused(tuned: Path, tmp_path: Path) -> None:
    """Other options under the name of the search, as its record would have to say."""
    runs = tmp_path / "runs"
    shutil.copytree(tuned, runs)
    for path in runs.glob("generated/clean/base-model+tuned-official/seed-*/record.json"):
        record = json.loads(path.read_text("utf-8"))
        record["settings"]["embedding_size"] = 99
        path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"has embedding_size = 99, but the search .* has "):
        add_runs(runs, tmp_path / "board")
    assert read_board(tmp_path / "board") == []


def test_runs_of_an_earlier_search_are_not_taken_over(tuned: Path, data_dir: Path) -> None:
    longer = search(tuned.parent, data_dir, 9, "embedding_size=9..12 learning_rate=0.01..0.02")
    before = longer.result.read_bytes()
    trained: list[RunConfig] = []
    with pytest.raises(UserError, match="holds runs of another search"):
        tune(longer, train=lambda configs: trained.extend(configs) or fake(configs), say=len)
    assert not trained
    assert longer.result.read_bytes() == before


def test_the_best_runs_are_spread_over_the_gpus(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def swept(configs: Sequence[RunConfig], **options: Any) -> SweepResult:
        given.update(options)
        return SweepResult([], {}, 0)

    monkeypatch.setattr("benchmark.tuning.search.train_in_processes", fake)
    monkeypatch.setattr("benchmark.executors.sweep.sweep", swept)
    monkeypatch.setattr("benchmark.runs.device.visible_gpus", lambda device: ["0", "1"])
    words = ["tune", "--models", "din", "--dataset", "generated", "--trials", "2", "--seeds", "0 1", "--workers", "2"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path), "--data-dir", str(data_dir), "--steps", "20"])
    assert done.exit_code == 0, done.output
    assert given["gpus"] == ["0", "1"]


def test_the_command(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.tuning.search.train_in_processes", fake)
    words = ["tune", "--models", "base-model din", "--dataset", "generated", "--trials", "3", "--seeds", ""]
    words += ["--out", str(tmp_path / "runs"), "--data-dir", str(data_dir), "--steps", str(STEPS), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    for line, path in zip(shown["searches"], shown["files"], strict=True):
        found = read_tuning(Path(path))
        assert (line["model"], line["trials"], line["failed"]) == (found.model, 3, 0)
        assert line["options"] == found.best.options
        assert parse_spec(line["row"]) == (
            found.model,
            dict(sorted({**found.best.options, "tuned": found.name}.items())),
        )
        assert line["validation AUC"] == f"{found.best.validation_auc:.4f}"
    assert not list(tmp_path.rglob("record.json"))
    refused = CliRunner().invoke(app, [*words, "--protocol", "arxiv-v1"])
    assert isinstance(refused.exception, UserError)

    def searched(configs: Sequence[RunConfig]) -> list[Outcome]:
        raise AssertionError("searched")

    monkeypatch.setattr("benchmark.tuning.search.train_in_processes", searched)
    for more in (["--seeds", "0 x"], ["--seeds", "0 0"], ["--models", "din din"]):
        late = CliRunner().invoke(app, [*words, *more, "--trials", "5"])
        assert isinstance(late.exception, UserError), late.exception
    nothing = CliRunner().invoke(app, ["tune"])
    assert "no row to tune" in str(nothing.exception)
