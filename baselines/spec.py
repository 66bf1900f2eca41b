"""What a row is called: a name or a file, and options that differ from its defaults.

"dien", "path/to/file.py:Class", "dien+auxiliary_weight=0.5+auxiliary_head=inner-product". An option is a keyword
argument of the model, or one of `TRAINING`, which decide how it is trained. Values are read as true, false, a whole
number, a number or text, and never evaluated.
"""

import re
from pathlib import Path
from typing import Literal, NamedTuple

from datamodules.errors import UserError

Value = bool | int | float | str
Epsilon = Literal[  # what Adam's eps is added to in step t; docs/variants.md 22
    "torch",  # sqrt(v / (1 - beta2^t)), as in algorithm 1 of the paper on Adam
    "tensorflow",  # sqrt(v), before the correction by 1 / sqrt(1 - beta2^t), as in the faster order of its section 2
]

LEARNING_RATE = 1e-3  # of Adam at the start, as in the released code, unless a run is told otherwise

TRAINING = {
    "auxiliary_negatives": "popularity, uniform, unclicked or own: what an auxiliary negative is drawn from",
    "auxiliary_draws": "fresh or once: whether every epoch draws auxiliary negatives anew",
    "shuffle": "true or false: whether every epoch has an order of its own",
    "learning_rate": "of Adam at the start",
    "pairs_together": "true or false: whether the samples of one history stay in one batch",
    "unknown_user": "most-frequent or own: whose row users have that training never saw",
    "adam_epsilon": "tensorflow or torch: whether Adam adds its epsilon before or after the bias correction",
}


class ModelSpec(NamedTuple):
    """A row's name or file:Class, and its options in the order of their names."""

    base: str
    options: dict[str, Value]

    def options_of(self, *, training: bool) -> dict[str, Value]:
        """The options that decide the training, or those of the model."""
        return {name: value for name, value in self.options.items() if (name in TRAINING) == training}


def parse_spec(text: str) -> ModelSpec:
    """Read "base+option=value+...". Raises `UserError` for what is no option, and for one given twice.

    >>> parse_spec("dien+shuffle=true+auxiliary_weight=0.5")
    ModelSpec(base='dien', options={'auxiliary_weight': 0.5, 'shuffle': True})
    """
    base, *parts = re.split(r"\+(?=[^/+]*=)", text)
    options: dict[str, Value] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if not name.isidentifier() or not re.fullmatch(r"[\w.-]+", value):
            raise UserError(
                f"cannot read the option {part!r} of {text!r}, expected a row as in dien+auxiliary_weight=0.5"
            )
        if name in options:
            raise UserError(f"the option {name!r} stands twice in {text!r}: name it once")
        options[name] = _value(value)
    return ModelSpec(base, dict(sorted(options.items())))


def _value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def model_label(text: str, rows: frozenset[str] | set[str]) -> str:
    """The name of a row in paths and tables: its own, or that of its class in lower case, and its options.

    A class with the name of one of `rows` goes under the name of its file too: its runs are not that row's.

    >>> model_label("models/mine.py:MyModel", {"dien"}), model_label("models/mine.py:DIEN", {"dien"})
    ('mymodel', 'mine-dien')
    >>> model_label("dien+shuffle=true+auxiliary_weight=1e-1", {"dien"})
    'dien+auxiliary_weight=0.1+shuffle=true'
    """
    spec = parse_spec(text)
    path, _, class_name = spec.base.rpartition(":")
    label = class_name.lower()
    if path and label in rows:
        label = f"{Path(path).stem.lower()}-{label}"
    return "+".join([label, *(f"{name}={_shown(value)}" for name, value in spec.options.items())])


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
