"""Load test in an open loop: requests leave at times drawn beforehand, however slow the answers are.

Arrivals are Poisson, and a latency counts from the scheduled time, so that a server that stalls is charged for all that
should have come meanwhile (as in MLPerf's server scenario). mlcommons-loadgen 6.0.17 has that scenario, but counts
neither refused nor failed requests, and calls a library in its own process: this one is checked against M/D/1 instead.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import aiohttp
import numpy as np
import orjson
from numpy.typing import NDArray

from datamodules.errors import UserError

Outcome = Literal["answered", "refused", "failed"]
Send = Callable[[int], Awaitable[Outcome]]  # sends the request of that number
PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "p99.9_ms": 99.9, "max_ms": 100}
REQUESTS = 25  # that a test of a rate has at least; the p99 of so few is nearly the slowest one
SPIN = 0.002  # seconds before a departure in which the generator does not sleep: a sleep ends up to 1 ms late


@dataclass(frozen=True)
class Load:
    """A load test: Poisson arrivals for `seconds`, those of the first `warmup` seconds sent but not counted."""

    rate: float  # requests a second
    seconds: float
    warmup: float = 2.0
    seed: int = 0

    def arrivals(self) -> NDArray[np.float64]:
        """Return the times (R,) of all requests, in seconds from the start, sorted; the seed decides them."""
        rng = np.random.default_rng(self.seed)
        end = self.warmup + self.seconds
        return np.sort(rng.uniform(0, end, rng.poisson(self.rate * end)))

    def lasting(self, requests: int = REQUESTS) -> "Load":
        """Return the same load test, or a longer one where less than so many requests that count would be due."""
        load = self
        while np.count_nonzero(load.arrivals() >= load.warmup) < requests:
            load = replace(load, seconds=max(1.1 * load.seconds, requests / load.rate))
        return load


@dataclass(frozen=True)
class Measured:
    """What a load test found; times in ms from the scheduled departure, of answered requests."""

    offered: float  # requests a second that were due
    achieved: float  # answers a second, from the first departure that counts to the last answer
    counts: dict[Outcome, int]
    latency: dict[str, float]  # mean_ms and PERCENTILES; NaN without an answer
    late_ms: float  # 99th percentile of how late the generator itself was

    def within(self, p99_ms: float) -> bool:
        """Whether every request was answered and the 99th percentile is at most `p99_ms`."""
        return self.counts["refused"] == self.counts["failed"] == 0 and self.latency["p99_ms"] <= p99_ms


async def measure(load: Load, send: Send, spin: float = SPIN) -> Measured:
    """Send all requests of a load test at their times and return what came of them."""
    loop = asyncio.get_running_loop()
    due = load.arrivals()
    sent, done, outcomes = np.empty_like(due), np.empty_like(due), [""] * len(due)

    async def one(number: int) -> None:
        sent[number] = loop.time() - start
        outcomes[number] = await send(number)
        done[number] = loop.time() - start

    start = loop.time()
    tasks = []
    for number, at in enumerate(due):
        if (rest := start + at - loop.time() - spin) > 0:
            await asyncio.sleep(rest)
        while loop.time() < start + at:
            await asyncio.sleep(0)
        tasks.append(loop.create_task(one(number)))
    await asyncio.gather(*tasks)
    counted = due >= load.warmup
    return summarise(due[counted], sent[counted], done[counted], np.array(outcomes)[counted], load)


def summarise(
    due: NDArray[np.float64],
    sent: NDArray[np.float64],
    done: NDArray[np.float64],
    outcomes: NDArray[np.str_],
    load: Load,
) -> Measured:
    """Return rates, counts and percentiles of the R requests that count; times in seconds from the start."""
    good = outcomes == "answered"
    latency = (done - due)[good] * 1e3
    names = {"mean_ms": float(latency.mean()) if len(latency) else np.nan}
    names |= {name: float(np.percentile(latency, q)) if len(latency) else np.nan for name, q in PERCENTILES.items()}
    span = max(load.seconds, float(done.max(initial=0)) - load.warmup)
    kinds: tuple[Outcome, ...] = ("answered", "refused", "failed")
    return Measured(
        offered=len(due) / load.seconds,
        achieved=float(good.sum()) / span,
        counts={kind: int((outcomes == kind).sum()) for kind in kinds},
        latency=names,
        late_ms=float(np.percentile((sent - due) * 1e3, 99)) if len(due) else np.nan,
    )


def holds_once(tested: Callable[[float], bool]) -> Callable[[float], bool]:
    """Return a test of a rate that fails only if it fails twice: what else the machine did may have failed it once.

    >>> answers = iter([False, True, False, False])
    >>> again = holds_once(lambda rate: next(answers))
    >>> again(1), again(1)
    (True, False)
    """
    return lambda rate: tested(rate) or tested(rate)


def largest_rate(holds: Callable[[float], bool], low: float, high: float, precision: float = 0.05) -> float:
    """Return the largest rate at which `holds`, to the given ratio, by bisection.

    It is 0 where it fails already at `low`, and `high` where it holds even there. Tests at low rates last longest, so
    `low` is only tried where the middle fails.

    >>> 66 < largest_rate(lambda rate: rate <= 70, 10, 1_000) <= 70
    True
    """
    if holds(high):
        return high
    middle = (low * high) ** 0.5
    if holds(middle):
        return _between(holds, middle, high, precision)
    return _between(holds, low, middle, precision) if holds(low) else 0.0


def largest_rate_near(holds: Callable[[float], bool], start: float, factor: float, precision: float = 0.1) -> float:
    """Return the largest rate at which `holds`, looked for around `start` in steps of `factor`.

    It is 0 where none does down to a tenth of `start`.

    >>> 66 < largest_rate_near(lambda rate: rate <= 70, 3, 2) <= 70
    True
    """
    if holds(start):
        low, high = start, start * factor
        while holds(high):
            low, high = high, high * factor
    else:
        lowest = start / 10
        low, high = max(start / factor, lowest), start
        while not holds(low):
            if low == lowest:
                return 0.0
            low, high = max(low / factor, lowest), low
    return _between(holds, low, high, precision)


def _between(holds: Callable[[float], bool], low: float, high: float, precision: float) -> float:
    while high / low > 1 + precision:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


async def closed_loop(url: str, bodies: Sequence[bytes], seconds: float, warmup: float = 0.5) -> list[float]:
    """Return the ms of each request of one client, who asks again once it has the answer; raises `UserError` for a
    request that is not answered.
    """
    loop, found = asyncio.get_running_loop(), list[float]()
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        start = loop.time()
        for number in itertools.count():
            began = loop.time()
            async with session.post(f"{url}/predict", data=bodies[number % len(bodies)]) as answer:
                said = await answer.read()
                if answer.status != 200:
                    raise UserError(f"{url} answered {answer.status} to a sound request: {said[:200]!r}")
            if began >= start + warmup:
                found.append(1e3 * (loop.time() - began))
            if found and loop.time() > start + warmup + seconds:
                break
    return found


async def over_http(load: Load, url: str, bodies: Sequence[bytes], timeout: float = 10.0) -> Measured:
    """Measure the server at `url`; request i is `bodies[i mod len(bodies)]`, without an answer in time it failed."""
    limits = aiohttp.ClientTimeout(total=timeout)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4), timeout=limits, headers=headers
    ) as session:

        async def send(number: int) -> Outcome:
            try:
                async with session.post(f"{url}/predict", data=bodies[number % len(bodies)]) as answer:
                    await answer.read()
                    return {200: "answered", 503: "refused"}.get(answer.status, "failed")  # type: ignore[return-value]
            except (aiohttp.ClientError, TimeoutError):
                return "failed"

        return await measure(load, send)


async def fields_of(url: str) -> dict[str, dict[str, int]]:
    """Return the fields of the requests of the server at `url`; raises UserError where it does not answer."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{url}/health") as answer,
        ):
            found: dict[str, dict[str, int]] = (await answer.json())["fields"]
            return found
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        raise UserError(f"no server of dien-bench serve at {url}: {error}. Start one, or give its --url") from error


def random_bodies(
    fields: dict[str, dict[str, int]], behaviours: int, candidates: int, count: int = 256, seed: int = 0
) -> list[bytes]:
    """Return requests whose numbers are drawn uniformly: T behaviours and N candidates of the first field, a user."""
    rng = np.random.default_rng(seed)

    def draw(part: str, size: int) -> dict[str, list[int]]:
        name, numbers = next(iter(fields[part].items()))
        return {name: rng.integers(0, numbers, size).tolist()}

    bodies = []
    for _ in range(count):
        user = {name: values[0] for name, values in draw("user", 1).items()} if fields["user"] else {}
        body = {"history": draw("history", behaviours), "target": draw("target", candidates), "user": user}
        bodies.append(orjson.dumps(body))
    return bodies
