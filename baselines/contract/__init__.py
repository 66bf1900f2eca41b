"""What every model must do, as rules that a test or `dien-bench check-model` runs over it; pytest is not needed.

A rule is a function of a way to build the model anew. `RULES` is all of them, in the order in which they are worth
reading.
"""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from baselines.contract.batch import IMPRESSIONS, LENGTHS, SCHEMA, make_batch
from baselines.contract.expect import BrokenRule, DoubtfulModel, Skipped, deterministic, seeded
from baselines.contract.rules import RULES

__all__ = ["IMPRESSIONS", "LENGTHS", "RULES", "SCHEMA", "Finding", "check_model", "check_rule", "make_batch", "meaning"]

# A model that breaks one of them would break most others for the same cause.
FIRST = ("constructor", "output", "finite")


class Finding(NamedTuple):
    """What came of one rule."""

    rule: str
    state: str  # "kept", "broken", "warning" or "skipped"
    message: str = ""


def check_model(make: Callable[..., nn.Module], variant: str) -> list[Finding]:
    """Run the rules over the model that `make(schema, variant=...)` gives.

    The check ends at a model that cannot be built, returns no prediction, or one that is NaN or infinite.
    """
    findings: list[Finding] = []
    for name in RULES:
        findings.append(check_rule(name, make, variant))
        if name in FIRST and findings[-1].state == "broken":
            break
    return findings


def check_rule(name: str, make: Callable[..., nn.Module], variant: str) -> Finding:
    """Run one rule; an exception of the model is a broken rule, told with its place in the model's file."""

    def build() -> nn.Module:
        return make(SCHEMA, variant=variant)

    try:
        with seeded(0), deterministic():
            RULES[name](build)
    except BrokenRule as error:
        return Finding(name, "broken", str(error))
    except DoubtfulModel as error:
        return Finding(name, "warning", str(error))
    except Skipped as error:
        return Finding(name, "skipped", str(error))
    except Exception as error:
        return Finding(name, "broken", f"{_place(error)} raised {type(error).__name__}: {error}")
    return Finding(name, "kept")


def _place(error: Exception) -> str:
    """Return where in the model an exception comes from: the last line outside torch and of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    others = tuple(str(Path(file).parent) for file in (torch.__file__, __file__))
    own = [frame for frame in frames if not frame.filename.startswith(others)]
    return f"{own[-1].filename}, line {own[-1].lineno}," if own else "the model"


def meaning(rule: str) -> str:
    """Return what a rule demands, in a sentence.

    >>> meaning("label")
    'The logit does not depend on the label.'
    """
    return inspect.getdoc(RULES[rule]) or ""
