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
    """Return an error as one line: its type and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
