"""What a search may choose: which options of a row, between which values.

    learning_rate=0.0003..0.003    a range, on a log scale where its upper end is ten times the lower one or more
    embedding_size=9..36           whole numbers, where both ends are
    auxiliary_head=mlp,inner-product    any of these; one value alone is fixed
    learning_rate                  the default range of an option

The default range of a number d is d/4 to 4d, of a whole number d/2 to 2d, and of the learning rate 0.0003 to 0.003.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from baselines import load
from baselines.spec import LEARNING_RATE, Value, parse_spec
from datamodules.errors import UserError, unknown_name

GIVEN = ("schema", "variant")  # what a run gives every model
RATE = "learning_rate"
DEFAULT_RATE = "0.0003..0.003"
LOG_FROM = 10  # times the lower end
DIGITS = 3  # of a number that is tried


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included; whole ones where both ends are."""

    low: int | float
    high: int | float

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def log(self) -> bool:
        """Whether numbers are drawn on a log scale."""
        return 0 < self.low * LOG_FROM <= self.high

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a model has to take."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    ends: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.ends

    def __str__(self) -> str:
        return ",".join(map(shown, self.ends))


Space = Mapping[str, Range | Choices]


def options_of(model: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a model with their defaults, those that its row sets included; None: it has no default."""
    parameters = inspect.signature(model).parameters.values()
    return {one.name: None if one.default is one.empty else one.default for one in parameters if one.name not in GIVEN}


def defaults_of(model: str) -> dict[str, Any]:
    """Return what a row's options are without a search, the learning rate among them."""
    return {RATE: LEARNING_RATE, **options_of(load(model))}


def parse_space(model: str, text: str) -> Space:
    """Return the space that a text names for a row; an empty text: the default range of every number of the row.

    Raises UserError for an unknown option, a range that is none, and an option without a default range.

    >>> space = parse_space("dien", "learning_rate auxiliary_weight=0.1..3 hidden_size=18..54 auxiliary_head=mlp")
    >>> {name: str(values) for name, values in space.items()}
    {'auxiliary_head': 'mlp', 'auxiliary_weight': '0.1..3', 'hidden_size': '18..54', 'learning_rate': '0.0003..0.003'}
    >>> {name: str(values) for name, values in parse_space("dien", "").items()}
    {'auxiliary_weight': '0.25..4.0', 'embedding_size': '9..36', 'learning_rate': '0.0003..0.003'}
    """
    defaults = defaults_of(model)
    words = text.split() or [name for name, value in defaults.items() if _default_range(name, value)]
    space: dict[str, Range | Choices] = {}
    for word in words:
        name, _, values = word.partition("=")
        if name in space:
            raise UserError(f"the option {name!r} stands twice in the space {text!r}: name it once")
        known = [*defaults, "auxiliary_negatives", "auxiliary_draws", "shuffle", "unknown_user", "adam_epsilon"]
        if name not in known:
            raise unknown_name(f"option of {model}", name, known)
        values = values or _default_range(name, defaults.get(name))
        if not values:
            raise UserError(f"{name} = {defaults.get(name)} has no default range: give one, as in {name}=9..36")
        space[name] = _values(name, values)
    return dict(sorted(space.items()))


def with_options(model: str, options: Mapping[str, Value]) -> str:
    """Return a row with options, as `RunConfig.model` takes it.

    >>> with_options("dien", {"learning_rate": 0.0005, "shuffle": True})
    'dien+learning_rate=0.0005+shuffle=true'
    """
    return "+".join([model, *(f"{name}={shown(value)}" for name, value in options.items())])


def shown(value: Value) -> str:
    """Return a value as `parse_spec` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default_range(name: str, value: object) -> str:
    """The default range of an option, nothing where it has none."""
    if name == RATE:
        return DEFAULT_RATE
    match value:
        case bool():
            return ""
        case int() if value > 1:
            return f"{value // 2}..{2 * value}"
        case float() if value > 0:
            return f"{value / 4}..{4 * value}"
    return ""


def _values(name: str, text: str) -> Range | Choices:
    low, dots, high = text.partition("..")
    values = tuple(_value(name, part) for part in ((low, high) if dots else text.split(",")))
    if not dots:
        return Choices(tuple(dict.fromkeys(values)))
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        found = Range(*values)  # type: ignore[arg-type]
        if found.low < found.high:
            return found
    raise UserError(f"{name}={text} is no range, expected two numbers, the lower one first, as in {name}=0.1..3")


def _value(name: str, text: str) -> Value:
    if not re.fullmatch(r"[\w.-]+", text):
        raise UserError(f"cannot read the value {text!r} of {name}, expected a number or a word, as in {name}=0.1..3")
    return parse_spec(f"row+{name}={text}").options[name]
