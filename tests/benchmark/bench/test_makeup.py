"""Other make-ups of test batches: the same samples, and scores that only a batch's own statistics move."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.api import Run, load_run, train
from benchmark.bench.makeup import auc_of, other_batches
from benchmark.serving.runs import as_served


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("runs")
    config = {"dataset": "generated", "protocol": "clean", "model": "din", "seed": 0, "steps": 40, "batch_size": 8}
    places = {"data_dir": str(out / "data"), "out": str(out)}
    for variant in ("official", "paper"):
        train(config | places | {"variant": variant})
    return {path.parents[1].name: load_run(path.parent) for path in Path(out).rglob("record.json")}


@pytest.mark.parametrize("kind", ["together", "apart"])
def test_batches_have_the_same_samples_in_another_make_up(runs: dict[str, Run], kind: str) -> None:
    run = runs["din-official"]
    batches, split = other_batches(run, kind, seed=1), run.data.ready.test
    assert sorted(batches.order.tolist()) == list(range(len(split)))
    assert batches.order.tolist() != other_batches(run, kind, seed=2).order.tolist()
    users = split.user[batches.order]
    assert (users[0::2] == users[1::2]).all() == (kind == "together")


def test_only_statistics_of_a_batch_move_an_auc(runs: dict[str, Run]) -> None:
    auc = {
        row: {auc_of(run), *(auc_of(run, other_batches(run, "apart", seed)) for seed in range(4))}
        for row, run in runs.items()
    }
    assert np.ptp(list(auc["din-paper"])) < 1e-3  # the rounding of ties
    assert len(auc["din-official"]) > 1


def test_a_served_model_has_the_statistics_of_validation_samples(runs: dict[str, Run]) -> None:
    """And not those of training samples, on which a model that overfits has other activations."""
    run = runs["din-official"]
    by_default, of_validation, of_training = (
        {name: value for name, value in as_served(run, *split).model.named_buffers() if name.endswith("shift")}
        for split in ((), ("validation",), ("train",))
    )
    assert by_default
    assert all((by_default[name] == of_validation[name]).all() for name in by_default)
    assert any((by_default[name] != of_training[name]).any() for name in by_default)
