"""The batcher in fake time: which requests share a batch, when it goes, what is refused, and that all is answered."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from benchmark.serving.batcher import Batcher, Batching, Probabilities
from benchmark.serving.request import Refused, Request
from tests.benchmark.serving.fake_time import run

WINDOW = 0.010


def request(number: int, candidates: int = 1) -> Request:
    return Request({"item": []}, {"item": [number] * candidates})


class Recorder:
    """A scorer that takes `seconds` a batch and answers each candidate with its own number."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[tuple[float, list[int]]] = []  # when each began, and the requests in it

    async def __call__(self, requests: Sequence[Request]) -> list[Probabilities]:
        numbers = [one.target["item"][0] for one in requests]
        self.batches.append((round(asyncio.get_running_loop().time(), 6), numbers))
        await asyncio.sleep(self.seconds)
        if -1 in numbers:
            raise ValueError("minus one")
        return [np.array(one.target["item"], float) for one in requests]


async def drive(
    scorer: Recorder, arrivals: Sequence[tuple[float, Request]], most_waiting: int = 100, **batching: float
) -> list[float | str]:
    """Submit requests at their times, close once all are answered; the first number, or the error, of each answer."""
    batcher = Batcher(scorer, Batching(**{"window": WINDOW, **batching}), most_waiting)  # type: ignore[arg-type]

    async def one(at: float, what: Request) -> float | str:
        await asyncio.sleep(at)
        try:
            answer = await batcher.submit(what)
        except (Refused, ValueError) as error:
            return str(error)
        assert answer.shape == (what.candidates,)
        return float(answer[0])

    found = await asyncio.gather(*(one(at, what) for at, what in arrivals))
    await batcher.close()
    return found


def test_the_window_counts_from_the_first_request_not_from_the_last_batch_or_request() -> None:
    scorer = Recorder()
    arrivals = [(0.103, request(1)), (0.109, request(2)), (0.112, request(3)), (0.114, request(4))]
    assert run(drive(scorer, arrivals)) == [1, 2, 3, 4]
    assert scorer.batches == [(0.113, [1, 2, 3]), (0.124, [4])]


def test_a_full_batch_goes_at_once() -> None:
    scorer = Recorder()
    run(drive(scorer, [(0.001 * i, request(i)) for i in range(5)], requests=2))
    assert scorer.batches == [(0.001, [0, 1]), (0.003, [2, 3]), (0.014, [4])]
    scorer = Recorder()
    run(drive(scorer, [(0.001 * i, request(i, 3)) for i in range(4)] + [(0.02, request(9, 50))], candidates=7))
    assert scorer.batches == [(0.002, [0, 1]), (0.012, [2, 3]), (0.02, [9])]  # never cut, never above 7 but alone


def test_a_request_that_nobody_waits_for_is_not_scored() -> None:
    scorer = Recorder(seconds=1.0)

    async def three() -> list[object]:
        batcher = Batcher(scorer, Batching(WINDOW), 100)
        tasks = [asyncio.create_task(batcher.submit(request(0)))]
        await asyncio.sleep(0.5)
        tasks += [asyncio.create_task(batcher.submit(request(i))) for i in (1, 2)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert [one.request.target["item"][0] for one in batcher.waiting] == [2]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        last = asyncio.create_task(batcher.submit(request(3)))
        await asyncio.sleep(0)
        last.cancel()  # the only one, within its window
        await asyncio.sleep(1.0)
        found.append((await batcher.submit(request(4))).tolist())
        await batcher.close()
        return found

    first, gone, second, after = run(three())
    assert isinstance(gone, asyncio.CancelledError)
    assert (first, second, after) == ([0.0], [2.0], [4.0])
    assert [numbers for _, numbers in scorer.batches] == [[0], [2], [4]]


def test_requests_gather_while_a_batch_is_scored() -> None:
    scorer = Recorder(seconds=0.1)
    run(drive(scorer, [(0.0, request(0)), (0.02, request(1)), (0.05, request(2)), (0.105, request(3))]))
    assert scorer.batches == [(0.01, [0]), (0.11, [1, 2, 3])]


def test_a_full_queue_refuses_and_serves_those_it_took() -> None:
    scorer = Recorder(seconds=1.0)
    found = run(drive(scorer, [(0.0, request(0))] + [(0.5, request(i)) for i in range(1, 6)], most_waiting=3))
    assert found[:4] == [0, 1, 2, 3]
    assert all("waiting already" in str(reason) for reason in found[4:])


def test_a_request_that_no_batch_takes_in_time_is_refused_and_one_that_is_being_scored_is_not() -> None:
    scorer = Recorder(seconds=1.0)

    async def three() -> list[tuple[object, float]]:
        batcher = Batcher(scorer, Batching(WINDOW, requests=1), 100, longest=0.7)

        async def one(number: int, at: float) -> tuple[object, float]:
            await asyncio.sleep(at)
            try:
                found: object = (await batcher.submit(request(number))).tolist()
            except Refused as refused:
                found = (refused.status, refused.reason)
            return found, round(asyncio.get_running_loop().time(), 3)

        found = await asyncio.gather(one(0, 0.0), one(1, 0.1), one(2, 0.5))
        await batcher.close()
        return found

    late = (503, "no batch took the request within 0.7 seconds, try again later")
    assert run(three()) == [([0.0], 1.0), (late, 0.8), ([2.0], 2.0)]
    assert [numbers for _, numbers in scorer.batches] == [[0], [2]]


def test_a_request_that_the_model_fails_on_fails_alone() -> None:
    assert run(drive(Recorder(), [(0.0, request(i)) for i in (5, -1, 6)])) == [5, "minus one", 6]


def test_a_wrong_number_of_answers_is_a_failure() -> None:
    class Short(Recorder):
        async def __call__(self, requests: Sequence[Request]) -> list[Probabilities]:
            return (await super().__call__(requests))[1:]

    assert all("zip" in str(error) for error in run(drive(Short(), [(0.0, request(1)), (0.0, request(2))])))


def test_closing_answers_what_was_taken_at_once_and_refuses_what_comes_later() -> None:
    async def scenario() -> tuple[list[float], float]:
        loop = asyncio.get_running_loop()
        batcher = Batcher(Recorder(seconds=1.0), Batching(window=60.0, requests=2), 100)
        taken = [loop.create_task(batcher.submit(request(i))) for i in range(5)]
        await asyncio.sleep(0.5)
        closing = loop.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="stopping") as refused:
            await batcher.submit(request(9))
        assert refused.value.status == 503
        await closing
        return [float(task.result()[0]) for task in taken], loop.time()

    answers, seconds = run(scenario())
    assert answers == [0, 1, 2, 3, 4]
    assert seconds == pytest.approx(3.0)  # three batches of a second, none waits for its window


def test_a_request_that_was_given_up_does_not_stop_the_others() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        batcher = Batcher(Recorder(), Batching(window=WINDOW), 100)
        first, second = (loop.create_task(batcher.submit(request(i))) for i in (1, 2))
        await asyncio.sleep(0.001)
        first.cancel()
        answer = await second
        await batcher.close()
        return float(answer[0])

    assert run(scenario()) == 2
