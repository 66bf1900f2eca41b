"""TargetAttention keeps the contract of every row, and its attention is the formula that the file names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines import load
from baselines.contract import RULES, SCHEMA, check_rule, make_batch
from datamodules.batch import Fields

MODEL = f"{Path(__file__).with_name('target_attention.py')}:TargetAttention"


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("rule", RULES)
def test_contract(rule: str, variant: str) -> None:
    found = check_rule(rule, load(MODEL), variant)
    assert found.state != "broken", found.message


def test_attention_is_a_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    model: Any = load(MODEL)(SCHEMA, variant="official").eval()
    batch = make_batch([4, 2, 0], 4)
    attention = model.explain(batch).attention.detach().numpy()
    vectors = {name: table.weight.detach().numpy() for name, table in model.tables.items()}

    def embed(fields: Fields, *place: int) -> np.ndarray:
        return np.concatenate([vectors[name][int(numbers[place])] for name, numbers in fields.items()])

    for b, length in enumerate(batch.lengths.tolist()):
        target = embed(batch.target, b)
        scores = np.array([embed(batch.history, b, t) @ target for t in range(length)])
        expected = np.exp(scores / np.sqrt(len(target)))
        np.testing.assert_allclose(attention[b, :length], expected / expected.sum(), rtol=1e-5)
        assert not attention[b, length:].any()
