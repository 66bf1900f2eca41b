"""TargetAttention keeps the contract of every row, and its attention is the formula that the file names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines import load
from baselines.contract import RULES, SIZES, check_rule, make_batch

MODEL = f"{Path(__file__).with_name('target_attention.py')}:TargetAttention"


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("rule", RULES)
def test_contract(rule: str, variant: str) -> None:
    found = check_rule(rule, load(MODEL), variant)
    assert found.state != "broken", found.message


def test_attention_is_a_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    model: Any = load(MODEL)(**SIZES, variant="official").eval()
    batch = make_batch([4, 2, 0], 4)
    attention = model.explain(batch).attention.detach().numpy()
    vectors = {name: getattr(model, name).weight.detach().numpy() for name in ("item", "category")}

    def embed(item: int, category: int) -> np.ndarray:
        return np.concatenate([vectors["item"][item], vectors["category"][category]])

    for b, length in enumerate(batch.lengths.tolist()):
        target = embed(int(batch.item[b]), int(batch.category[b]))
        pairs = zip(batch.history_items[b, :length], batch.history_categories[b, :length], strict=True)
        scores = np.array([embed(int(item), int(category)) @ target for item, category in pairs])
        expected = np.exp(scores / np.sqrt(len(target)))
        np.testing.assert_allclose(attention[b, :length], expected / expected.sum(), rtol=1e-5)
        assert not attention[b, length:].any()
