"""What a dry run says beforehand, against what a run then does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.executors import plan as plans
from benchmark.executors.plan import budget, describe_plan, plan, step_seconds
from benchmark.records.record import read_records
from benchmark.runs.config import RunConfig, data_of
from benchmark.runs.train import train_run
from datamodules.datasets import DATASETS
from datamodules.errors import UserError
from datamodules.protocol import OF_INTERACTIONS
from datamodules.sources.spec import Counts


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `generated` a data set without a budget of its own, as Electronics is."""
    counts = Counts(interactions=2_539, users=300, items=200, categories=12)
    monkeypatch.setitem(DATASETS, "generated", replace(DATASETS["generated"], steps=None, expected=counts))


def config(place: Path, **changes: Any) -> RunConfig:
    base = RunConfig("generated", "clean", "base-model", "official", 0, data_dir=f"{place}/data", out=f"{place}/runs")
    return replace(base, **changes)


def run(*words: str, place: Path, out: str = "") -> Any:
    where = ("--out", out or f"{place}/runs", "--data-dir", f"{place}/data", "--no-wandb", "--models", "base-model")
    return CliRunner().invoke(app, ["run", "--datasets", "generated", "--protocol", "clean", *where, *words])


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("protocol", OF_INTERACTIONS)
@pytest.mark.parametrize("batch_size", [128, 7])
def test_the_budget_is_known_before_the_data_are_prepared(place: Path, protocol: str, batch_size: int) -> None:
    asked = config(place, protocol=protocol, batch_size=batch_size)
    data = data_of(asked)
    data.prepare_data()
    data.setup()
    if protocol == "din-2018":  # some users have a single behaviour here; 5-core data have none such
        assert 0.99 * data.steps < budget(asked) <= data.steps
    else:
        assert budget(asked) == data.steps
    assert budget(replace(asked, steps=17)) == 17


def test_the_papers_budgets() -> None:
    """Three passes over 90 % of 192,403 and of 603,668 users, two samples each, in batches of 128."""
    assert budget(config(Path(), dataset="electronics", protocol="arxiv-v1")) == 8_118
    assert budget(config(Path(), dataset="books", protocol="arxiv-v1")) == 25_470
    assert budget(config(Path(), dataset="sports", protocol="arxiv-v1")) == 8_100


def test_a_speed_of_another_data_set_is_a_bound(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_run(config(place, seed=9, steps=40))
    (like,) = read_records(place / "runs")
    like = replace(like, train_seconds=10.0, evaluation_seconds=4.0, steps=100)
    monkeypatch.setattr(plans, "known_records", lambda out: [like])
    here = config(tmp_path, steps=200)
    assert step_seconds(here, like) == pytest.approx(0.1)
    # Electronics holds out 19,240.3 users under arxiv-v1, generated 60 under clean.
    there = replace(here, dataset="electronics", protocol="arxiv-v1")
    assert step_seconds(there, like) == pytest.approx((6 + 4 * 19_240.3 / 60) / 100)
    known, bound = plan([here, there])
    assert (known.time, known.at_least, bound.at_least) == ("20 s", False, True)
    assert bound.time.startswith("at least ")
    for runs, words in (([known], ": about 20 s"), ([known, bound], ": at least "), ([bound], ": at least ")):
        assert words in describe_plan(runs, 1)[1]


@pytest.mark.usefixtures("passes")
@pytest.mark.usefixtures("trains_here")
def test_a_run_that_trains_next_to_nothing_is_said(place: Path) -> None:
    said = "generated: 3 passes over its samples are 12 steps, in which next to nothing is trained"
    assert said in run("--seeds", "0", "--dry-run", place=place).output
    done = run("--seeds", "0", place=place)
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert "next to nothing" not in run("--seeds", "1", "--steps", "12", "--dry-run", place=place).output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "0 0"), "given more than once"),
        (("--seeds", "3-1"), "a range of seeds must go up"),
        (("--seeds", "0-99999999"), "name 1,000 at most"),
        (("--seeds", "one"), "whole numbers or ranges such as 0-4"),
        (("--seeds", "-1"), "whole numbers or ranges such as 0-4"),
        (("--seeds", ""), "nothing to run"),
        (("--seeds", "0", "--executor", "ray", "--devices", "2"), "leave out one"),
        (("--seeds", "0", "--workers", "0"), "must be 1 or more"),
        (("--seeds", "0", "--workers=--5"), "a whole number or 'auto', got '--5'"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    for more in ((), ("--dry-run",)):
        done = run(*words, *more, place=tmp_path)
        assert isinstance(done.exception, UserError), done.output
        assert message in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_seeds_can_be_a_range(tmp_path: Path) -> None:
    done = run("--seeds", "7 0-2", "--dry-run", "--quiet", place=tmp_path)
    assert [f"seed-{seed} " in done.output for seed in range(8)] == [True] * 3 + [False] * 4 + [True]


@pytest.mark.usefixtures("trains_here")
def test_advice_can_be_pasted_where_names_have_spaces(place: Path, tmp_path: Path) -> None:
    done = run("--seeds", "0", "--steps", "20", place=place, out=f"{tmp_path}/my runs")
    assert f"--out '{tmp_path}/my runs'" in done.output
