"""Options behind a row's name: read, named in one way, passed on, and refused with the closest known one."""

import pytest

from baselines import load, model_label
from baselines.contract import SCHEMA
from baselines.spec import LEARNING_RATE, parse_spec
from benchmark.leaderboard import site_data
from datamodules.errors import UserError


def test_options_reach_the_model() -> None:
    model = load("dien+auxiliary_weight=0.25+auxiliary_head=inner-product+auxiliary_mean=users")(SCHEMA)
    assert model.auxiliary_weight == 0.25
    assert type(model.auxiliary).__name__ == "InnerProductAuxiliaryLoss"
    assert model.auxiliary.mean == "users"
    assert load("augru+hidden_size=8")(SCHEMA).evolver.hidden_size == 8
    assert load("dien+auxiliary_negatives=uniform")(SCHEMA).auxiliary_weight == 1.0


def test_one_row_has_one_name() -> None:
    for text in ("dien+b=1+a=0.50", "dien+a=.5+b=1"):
        assert model_label(text) == "dien+a=0.5+b=1"
    assert model_label("some+dir/mine.py:Mine+width=3") == "mine+width=3"
    assert parse_spec("a+b/mine.py:Mine").base == "a+b/mine.py:Mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dien+auxilary_weight=0.5", "auxiliary_weight"),
        ("dien+schema=5", "unknown option of dien 'schema'"),
        ("dien+auxiliary_weight=1+auxiliary_weight=2", "stands twice"),
        ("dien+auxiliary_weight=", "cannot read the option"),
        ("dein+auxiliary_weight=1", "dien"),
    ],
)
def test_mistakes_are_named(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(name)
    assert message in str(caught.value)


def test_the_page_knows_the_learning_rate_that_runs_have_by_default() -> None:
    assert site_data.LEARNING_RATE == LEARNING_RATE
