"""An event loop whose clock jumps to the next timer: seconds of waiting take none, and always come out the same."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
TICK = 1e-9  # seconds of a turn in which something is ready: a loop that waits for a time by turning ends


class _Selector(selectors.SelectSelector):
    clock = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        assert found or timeout is not None, "everything waits, for nothing"
        self.clock += timeout or TICK
        return found


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0."""

    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.clock


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in fake time."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(coroutine)
