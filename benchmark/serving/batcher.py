"""Requests of different users in one batch: a queue that is bounded in number and time, a batch due from its first.

While one batch is scored the next one gathers, so that batches grow with the load and a lone request waits for the
window at most.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.serving.request import Limits, Refused, Request

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Batching:
    """When a batch goes: at one of these, and not before the scorer is free."""

    window: float = 0.002  # seconds since its first request came
    requests: int = 64
    candidates: int = 256  # a larger batch hardly takes less time a candidate, and all of it waits for its end


@dataclass(eq=False)
class _Waiting:
    request: Request
    due: float  # when its batch goes at the latest, by the clock of the event loop
    answer: asyncio.Future[Probabilities]


class Batcher:
    """Hands a scorer one batch at a time; used within one event loop.

    At most `most_waiting` requests wait, and each at most `longest` seconds until its batch goes.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Request]], Awaitable[Sequence[Probabilities]]],
        batching: Batching,
        most_waiting: int,
        longest: float = Limits.wait,
    ) -> None:
        self.score, self.batching, self.most_waiting, self.longest = score, batching, most_waiting, longest
        self.waiting: deque[_Waiting] = deque()
        self.closing = False
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def submit(self, request: Request) -> Probabilities:
        """Return the probabilities (N,) of a request; raises `Refused` where the queue is full, closed or too slow.

        A request whose caller is cancelled leaves the queue.
        """
        if self.closing:
            raise Refused(503, "the server is stopping")
        if len(self.waiting) >= self.most_waiting:
            raise Refused(503, f"{self.most_waiting} requests are waiting already, try again later")
        loop = asyncio.get_running_loop()
        one = _Waiting(request, loop.time() + self.batching.window, loop.create_future())
        self.waiting.append(one)
        self._changed.set()
        deadline = loop.call_later(self.longest, self._give_up, one)
        try:
            return await one.answer
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is being scored
                self.waiting.remove(one)
            raise
        finally:
            deadline.cancel()

    def _give_up(self, one: _Waiting) -> None:
        """Refuse a request that has waited too long, unless it is being scored."""
        if one in self.waiting:
            self.waiting.remove(one)
            reason = f"no batch took the request within {self.longest:g} seconds, try again later"
            one.answer.set_exception(Refused(503, reason))

    async def close(self) -> None:
        """Answer what waits, at once, and end; what comes from now on is refused."""
        self.closing = True
        self._changed.set()
        await self._task

    async def _run(self) -> None:
        while self.waiting or not self.closing:
            if self.waiting:
                await self._fill(self.waiting[0].due)
                if batch := self._take():  # those that waited may have left
                    await self._answer(batch)
            else:
                await self._change()

    async def _fill(self, due: float) -> None:
        """Wait until a batch is full or due."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                while not self._full() and not self.closing:
                    await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _full(self) -> bool:
        candidates = sum(one.request.candidates for one in self.waiting)
        return len(self.waiting) >= self.batching.requests or candidates >= self.batching.candidates

    def _fitting(self) -> int:
        """How many of the waiting requests fit into one batch, the first one in any case."""
        candidates = count = 0
        for one in self.waiting:
            candidates += one.request.candidates
            if count == self.batching.requests or (count and candidates > self.batching.candidates):
                break
            count += 1
        return count

    def _take(self) -> list[_Waiting]:
        return [self.waiting.popleft() for _ in range(self._fitting())]

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Score a batch; where that fails its requests are scored one by one, so that one fails alone."""
        try:
            answers = await self.score([one.request for one in batch])
            pairs = list(zip(batch, answers, strict=True))
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, answer in pairs:
            if not one.answer.done():  # nobody waits for it any more
                one.answer.set_result(answer)
