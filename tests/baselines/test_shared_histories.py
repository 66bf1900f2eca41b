"""Histories that are encoded once for several targets and batches, against a copy of the history for each target."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from baselines import MODELS, load
from baselines.contract import IMPRESSIONS, LENGTHS, make_batch
from baselines.contract.expect import loss_of
from baselines.layers.two_stage import Splits, logits_of
from datamodules import batch as batches
from datamodules.batch import Batch, Fields
from datamodules.packing import spread

VARIANTS = pytest.mark.parametrize("variant", ["official", "paper"])
# Targets 3 u to 3 u + 2 have history u, of LENGTHS[u] behaviours: the parts have histories of up to 5, 4, 4 and 1.
PARTS = [[0, 3, 2, 17, 1], [12, 4], [5, 13, 15], [9, 6, 11, 8]]


def whole() -> Batch:
    batch = make_batch(LENGTHS, 5, schema=IMPRESSIONS, targets_each=3)
    return batch.with_label(batch.label.double())


def build(name: str, variant: str) -> nn.Module:
    torch.manual_seed(1)
    model = load(name)(IMPRESSIONS, variant=variant).double()
    assert isinstance(model, Splits)
    with torch.no_grad():
        for parameter in model.parameters():  # row 0 of the paper's tables too: it is looked up as any other
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def of(fields: Fields, which: torch.Tensor) -> Fields:
    return {name: tensor[which] for name, tensor in fields.items()}


def together() -> Batch:
    """All histories of `whole`, and its targets in the batches PARTS."""
    batch, which = whole(), torch.tensor([target for part in PARTS for target in part])
    owner = batch.history_of[which]
    packing, rows = spread(batch.histories.packing, owner.numpy())
    lengths = [[LENGTHS[target // 3] for target in part] for part in PARTS]
    padding = torch.tensor([max(of_part) - length for of_part in lengths for length in of_part])
    fields = {kind: of(getattr(batch, kind), which) for kind in ("target", "context")}
    own = {"history_of": owner, "packing": packing, "rows": rows, "padding": padding, "negatives": {}}
    sizes = tuple(map(len, PARTS))
    label, time = batch.label[which], batch.time[which]
    return Batch(batch.histories, replace(batch.targets, label=label, time=time, sizes=sizes, **fields, **own))


def copies(which: list[int]) -> Batch:
    """Targets of `whole` with a history each, padded to the longest of them."""
    batch, index = whole(), torch.tensor(which)
    owner = batch.history_of[index]
    lengths = batch.lengths[owner]
    history = {name: padded[owner, : max(int(lengths.max()), 1)] for name, padded in batch.history.items()}
    fields = {"target": of(batch.target, index), "context": of(batch.context, index)}
    user = of(batch.user, owner)
    return batches.make_batch(user=user, history=history, lengths=lengths, label=batch.label[index], **fields)


@VARIANTS
@pytest.mark.parametrize("name", MODELS)
def test_encode_and_score_of_batches_together_are_forward_of_each(name: str, variant: str) -> None:
    """Of Dice and sums over padding too: they remain the batches that they are."""
    model = build(name, variant).eval()
    with torch.inference_mode():
        expected = torch.cat([model(copies(which)).logit for which in PARTS])
        for logit in (logits_of(model, together()), torch.cat([model(each).logit for each in together().batches()])):
            torch.testing.assert_close(logit, expected, rtol=1e-9, atol=1e-9)


@VARIANTS
def test_the_auxiliary_loss_of_shared_histories_is_that_of_copies(variant: str) -> None:
    """Each target with negatives of its own, histories in unequal numbers; and so every gradient."""
    batch, found = whole().part(np.array([0, 1, 2, 4, 12, 14])), []
    assert batch.lengths.tolist() == [5, 3, 4]
    for each in (batch, batch.per_target()):
        model = build("dien", variant)
        auxiliary = model(each).losses["auxiliary"][1]
        loss_of(model, each).backward()
        found.append([auxiliary.detach(), *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
