"""The shares that processes take of a batch; `tests/benchmark/runs/test_ddp.py` trains with real processes."""

import pytest
import torch

from baselines import MODELS, distributed
from baselines.contract import IMPRESSIONS, LENGTHS, make_batch
from baselines.lightning_module import CTRModule
from datamodules.batch import Batch


def step(name: str, batch: Batch) -> list[torch.Tensor]:
    """The loss of a training step and all gradients."""
    torch.manual_seed(0)
    module = CTRModule(model=name, variant="paper", schema=IMPRESSIONS.as_dict(), steps=9).double()
    loss = module.training_step(batch, 0)
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in module.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("lengths", [LENGTHS, [4]])  # of one history alone, the second process gets nothing
@pytest.mark.parametrize("name", MODELS)
def test_the_mean_over_processes_is_the_step_of_the_whole_batch(
    name: str, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(lengths, 5, schema=IMPRESSIONS, targets_each=3)
    batch = batch.with_label(batch.label.double())
    expected, sums = step(name, batch), []
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed.dist, "get_rank", lambda rank=rank: rank)
        sums.append(step(name, batch))
    found = [(first + second) / 2 for first, second in zip(*sums, strict=True)]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
