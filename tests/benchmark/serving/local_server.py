"""A server of this process on a free port, and a model whose answers can be worked out."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import uvicorn
from numpy.typing import NDArray

from benchmark.serving.batcher import Batching
from benchmark.serving.request import Limits, Request, RequestSchema
from benchmark.serving.server import create_app, make_server

FAIL = 666


class Fake:
    """Answers 1 / (1 + T + number) to a candidate of that number; fails on FAIL."""

    schema = RequestSchema(
        history={"item": 9, "category": 9},
        target={"item": 9, "category": 9},
        user={"user": 9},
        optional=frozenset({"category", "user"}),
    )
    about: dict[str, str] = {"model": "fake"}  # noqa: RUF012

    def __init__(self) -> None:
        self.entered, self.gate = threading.Semaphore(0), threading.Event()
        self.gate.set()

    def score(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        self.entered.release()
        self.gate.wait(30)
        if any(FAIL in one.target["item"] for one in requests):
            raise ValueError("fail")
        return [np.array([expected(one, item) for item in one.target["item"]]) for one in requests]


def expected(request: Request, item: int) -> float:
    return 1 / (1 + request.behaviours + abs(item))


@dataclass
class Local:
    port: int
    server: uvicorn.Server
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextlib.contextmanager
def running(scorer: Fake, limits: Limits | None = None, batching: Batching | None = None) -> Iterator[Local]:
    """A server that is up; at the end it is stopped, and its thread has ended."""
    limits = limits or Limits()
    server = make_server(create_app(scorer, limits, batching or Batching(window=0.0)), limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            until(lambda: server.started)
            yield Local(listening.getsockname()[1], server, thread)
        finally:
            scorer.gate.set()
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition; half a minute is for a machine that is busy, not a measurement."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)
