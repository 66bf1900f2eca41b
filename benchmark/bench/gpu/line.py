"""A line of a check's result."""

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal[
    "passed",  # as expected, or measured
    "failed",
    "skipped",  # not to be had here, or no time was left
    "pending",  # not yet run
]


@dataclass(frozen=True)
class Line:
    """What was looked at, how it went and, unless it passed, why; figures: numbers, texts and `timing.Summary`."""

    what: str
    status: Status
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def one_line(error: BaseException) -> str:
    """Return an error as one line: types and first lines of the messages, the error that it all began with first."""
    first = error
    while first.__context__ is not None:  # ending a failed capture is an error of its own
        first = first.__context__
    errors = [first] if first is error else [first, error]
    return ", then ".join(f"{type(each).__name__}: {(str(each).strip().splitlines() or [''])[0]}" for each in errors)
