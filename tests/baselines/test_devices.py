"""Every row off the CPU: nothing is made on the wrong device, nothing is read back; on a GPU, the same numbers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from baselines import MODELS, load
from baselines.contract import IMPRESSIONS, LENGTHS, make_batch
from baselines.lightning_module import CTRModule
from datamodules.batch import Batch

T = max(LENGTHS)

every_row = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in MODELS for variant in ("official", "paper")]
)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def module_for(name: str, variant: str) -> CTRModule:
    torch.manual_seed(0)
    return CTRModule(model=name, variant=variant, schema=IMPRESSIONS.as_dict(), steps=3)


def batch_on(device: str) -> Batch:
    """Two targets a history."""
    batch = make_batch(LENGTHS, T, schema=IMPRESSIONS, targets_each=2)
    moved = move_data_to_device(batch, torch.device(device))
    assert isinstance(moved, Batch)
    return moved


@every_row
def test_a_training_step_stays_on_its_device(name: str, variant: str) -> None:
    """The meta device holds shapes alone: an operation with a CPU tensor, or reading a number, is an error."""
    module, batch = module_for(name, variant).to("meta"), batch_on("meta")
    loss = module.training_step(batch, 0)
    loss.backward()
    assert {value.device.type for value in (loss, *module.losses[0].values())} == {"meta"}
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.device.type == "meta", key
    module.eval()
    with torch.inference_mode():
        assert module.model(batch).logit.shape == (12,)


def three_steps(name: str, variant: str, device: str) -> tuple[list[Tensor], Any]:
    """Loss, first gradients and parameters after three steps; and the optimiser."""
    module, batch = module_for(name, variant).to(device), batch_on(device)
    optimizer = module.configure_optimizers()["optimizer"]
    found = []
    for step in range(3):
        optimizer.zero_grad()
        loss = module.training_step(batch, step)
        loss.backward()
        if step == 0:
            found = [loss.detach(), *(parameter.grad.clone() for parameter in module.parameters())]
        optimizer.step()
    return [*found, *(parameter.detach() for parameter in module.parameters())], optimizer


@on_a_gpu
@every_row
def test_a_gpu_computes_what_the_cpu_does(name: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        (cpu, _), (gpu, optimizer), (again, _) = (three_steps(name, variant, d) for d in ("cpu", "cuda", "cuda"))
    finally:
        torch.use_deterministic_algorithms(False)
    gradients = 1 + len(list(module_for(name, variant).parameters()))
    for ours, expected in zip(gpu[:gradients], cpu[:gradients], strict=True):
        torch.testing.assert_close(ours.cpu(), expected, atol=1e-5, rtol=1e-3)
    assert all(torch.equal(first, second) for first, second in zip(gpu, again, strict=True))
    assert optimizer.param_groups[0]["fused"]
    assert all(state["step"].is_cuda for state in optimizer.state.values())


@on_a_gpu
def test_embeddings_of_a_gpu_are_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.lightning_module.LAZY_SIZE", 1)
    module = module_for("dien", "official").to("cuda")
    assert not module.configure_optimizers()["optimizer"].histories


def test_scoring_is_the_same_in_float64() -> None:
    """The loops that a device without a kernel takes, against the kernels of the CPU."""
    batch = batch_on("cpu")
    for name in MODELS:
        model = load(name)(IMPRESSIONS, variant="official").eval()
        with torch.inference_mode():
            compiled = model(batch).logit
            torch.testing.assert_close(F.sigmoid(model.double()(batch).logit).float(), F.sigmoid(compiled))
