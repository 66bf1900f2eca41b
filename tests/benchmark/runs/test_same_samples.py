"""Every row of a table sees the same samples: committed records say so, and runs of all rows are watched doing it."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from baselines import MODELS
from baselines.contract.batch import tensors_of
from baselines.lightning_module import CTRModule
from benchmark.records.results import read_board, reading_once, scores_of
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from datamodules.batch import Batch
from datamodules.protocol import PROTOCOLS

BOARD = Path(__file__).parents[3] / "leaderboards"


@pytest.mark.slow
def test_committed_runs_of_a_protocol_have_the_same_samples() -> None:
    """One sum over split, histories, targets, negatives and pool for every row, variant and seed."""
    found = defaultdict(set)
    with reading_once():
        for record in read_board(BOARD):
            scores = scores_of(record)
            assert scores is not None
            seen = record.data_sha256, record.protocol_hash, scores.reported.users
            found[record.dataset, record.protocol].add(seen)
    assert found
    assert {place: len(several) for place, several in found.items()} == dict.fromkeys(found, 1)
    sums = [sha256 for several in found.values() for sha256, _, _ in several]
    assert len(set(sums)) == len(sums)  # and another for every data set and protocol
    for (_, protocol), several in found.items():
        assert {protocol_hash for _, protocol_hash, _ in several} == {PROTOCOLS[protocol].hash}


class Watch:
    """Sums over all that training and evaluation are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained, self.negatives, self.evaluated = (hashlib.sha256() for _ in range(3))
        train, evaluate = CTRModule.training_step, CTRModule.validation_step

        def training_step(module: CTRModule, batch: Batch, batch_idx: int) -> Tensor:
            for name, tensor in tensors_of(batch).items():
                add(self.negatives if name.startswith("negative") else self.trained, tensor)
            return train(module, batch, batch_idx)

        def validation_step(module: CTRModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
            for each in batch.batches():
                for tensor in tensors_of(each).values():
                    add(self.evaluated, tensor)
            evaluate(module, batch, batch_idx, dataloader_idx)

        monkeypatch.setattr(CTRModule, "training_step", training_step)
        monkeypatch.setattr(CTRModule, "validation_step", validation_step)


def add(digest: Any, tensor: Tensor) -> None:
    digest.update(str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_batches_negatives_and_order_depend_on_the_seed_alone(variant: str, tmp_path: Path) -> None:
    folders = {"data_dir": str(tmp_path / "data"), "out": str(tmp_path / "runs")}
    seen, sums = defaultdict(set), set()
    for model, seed in [*((model, 0) for model in MODELS), ("din", 1)]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            watch = Watch(monkeypatch)
            config = RunConfig("generated", "clean", model, variant, seed, steps=5, batch_size=64, **folders)
            sums.add(train_run(config)["data_sha256"])
        seen[seed].add((watch.trained.hexdigest(), watch.negatives.hexdigest(), watch.evaluated.hexdigest()))
    assert len(sums) == len(seen[0]) == 1
    ((trained, negatives, evaluated),), ((other_trained, other_negatives, other_evaluated),) = seen[0], seen[1]
    assert (trained == other_trained) is (variant == "official")  # whose order is that of the file
    assert negatives != other_negatives
    assert evaluated == other_evaluated
