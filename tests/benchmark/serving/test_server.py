"""The HTTP endpoint: answers, refusals with their reasons, overload, shutdown, hostile clients."""

import contextlib
import json
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from benchmark.bench.serving.malformed import send_malformed
from benchmark.serving.batcher import Batching
from benchmark.serving.request import Limits, Request
from benchmark.serving.server import listener
from datamodules.errors import UserError
from tests.benchmark.serving.local_server import FAIL, Fake, Local, expected, running, until

LIMITS = Limits(history=20, candidates=10, body=2_000)


@pytest.fixture(scope="module")
def server() -> Iterator[Local]:
    with running(Fake(), LIMITS) as local:
        yield local


def asking(history: list[Any], target: list[Any]) -> dict[str, Any]:
    return {"history": {"item": history}, "target": {"item": target}}


def post(local: Local, body: Any) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body)
    return requests.post(f"{local.url}/predict", data=data, timeout=30)


def counted(local: Local, status: int) -> float:
    """How many requests to /predict the server says had a status."""
    line = f'dien_requests_total{{status="{status}"}} '
    found = requests.get(f"{local.url}/metrics", timeout=30).text
    return float(found.partition(line)[2].split()[0]) if line in found else 0.0


def test_each_user_gets_the_answers_to_its_own_candidates() -> None:
    asked = [asking([1] * (i % 7), [i, i + 1, -5][: 1 + i % 3]) for i in range(40)]
    with running(Fake(), batching=Batching(window=0.05)) as local, ThreadPoolExecutor(20) as threads:
        found = [answer.json()["probabilities"] for answer in threads.map(lambda body: post(local, body), asked)]
        metrics = requests.get(f"{local.url}/metrics", timeout=30).text
    wanted = [Request(**body) for body in asked]
    assert found == [[expected(one, item) for item in one.target["item"]] for one in wanted]
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(lines['dien_requests_total{status="200"}']) == 40
    assert float(lines["dien_batch_requests_sum"]) == 40
    assert float(lines["dien_batch_requests_count"]) < 40  # batches were shared
    assert float(lines["dien_batch_candidates_sum"]) == sum(one.candidates for one in wanted)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "not JSON"),
        (b'{"history": NaN}', 400, "not JSON"),
        (b"[" * 1_500, 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 500 + b"]" * 500, 422, "the body must be an object, got deeply nested JSON"),
        (b'{"history": {"item": [' + b"[" * 255 + b"]" * 255 + b']}, "target": {"item": [1]}}', 422, "whole numbers"),
        (b" " * 3_000, 413, "2,000 bytes"),
        (b"[1]", 422, "the body must be an object, got [1]"),
        ({"history": {"item": []}}, 422, 'no "target"'),
        (asking([1], []), 422, "target.item must have 1 to 10 values, got 0"),
        (asking([1], [1] * 11), 422, "1 to 10 values, got 11"),
        (asking([1] * 21, [1]), 422, "history.item must have 0 to 20 values, got 21"),
        (asking([1], [1.5]), 422, "whole numbers, got 1.5"),
        (asking([True], [1]), 422, "history.item must hold whole numbers, got true"),
        (asking(["1"], [1]), 422, 'history.item must hold whole numbers, got "1"'),
        (asking([1], 1), 422, "must be a list"),  # type: ignore[arg-type]
        ({**asking([1], [1]), "context": {"hour": 3}}, 422, 'unknown field "hour"; known: none'),
        ({**asking([1], [1]), "user": {"user": [7]}}, 422, "user.user must hold"),
        ({"history": {"category": [1]}, "target": {"item": [1]}}, 422, 'history has no "item"'),
        ({"history": {"item": [1], "category": []}, "target": {"item": [1]}}, 422, "1 of item, 0 of category"),
    ],
)
def test_what_is_no_request_is_refused_with_a_reason(server: Local, body: Any, status: int, reason: str) -> None:
    answer = post(server, body)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_a_body_without_its_length_is_bounded_too(server: Local) -> None:
    answer = requests.post(f"{server.url}/predict", data=(b" " * 1_000 for _ in range(10)), timeout=30)
    assert answer.status_code == 413


def test_other_paths_and_methods(server: Local) -> None:
    before = counted(server, 405)
    answer = requests.get(f"{server.url}/predict", timeout=30)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert counted(server, 405) == before + 1
    assert "error" in requests.get(f"{server.url}/other", timeout=30).json()
    health = requests.get(f"{server.url}/health", timeout=30).json()
    assert (health["status"], health["run"], health["limits"]["history"]) == ("ok", {"model": "fake"}, 20)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_malformed_brings_it_down(server: Local, seed: int) -> None:
    found = send_malformed(300, seed, "127.0.0.1", server.port)
    assert {"400", "413", "422"} <= set(found)


def test_a_server_that_says_nothing_to_a_complete_message_is_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close_all() -> None:
            with contextlib.suppress(OSError):  # the server is closed
                while True:
                    listening.accept()[0].close()

        thread = threading.Thread(target=close_all)
        thread.start()
        try:
            with pytest.raises(UserError, match=r"message \d+ got b'', expected 200, or 4xx with a reason"):
                send_malformed(20, 0, "127.0.0.1", listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_late_clients_are_refused() -> None:
    with running(Fake(), Limits(seconds=0.2)) as local:
        with local.connect() as slow_body:
            slow_body.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
            assert slow_body.recv(1_000).startswith(b"HTTP/1.1 408")
        with local.connect() as slow_headers:
            slow_headers.sendall(b"POST /predict HTTP/1.1\r\nHost:")
            assert slow_headers.recv(1_000) == b""  # closed
        assert post(local, asking([], [0])).json() == {"probabilities": [1.0]}


def test_a_failure_of_the_model_is_not_that_of_other_requests(caplog: pytest.LogCaptureFixture) -> None:
    scorer = Fake()
    with running(scorer, batching=Batching(window=0.05)) as local, ThreadPoolExecutor(3) as threads:
        bodies = [asking([], [item]) for item in (0, FAIL, 1)]
        found = [answer.status_code for answer in threads.map(lambda body: post(local, body), bodies)]
    assert found == [200, 500, 200]


def test_overload_is_refused_with_503_and_what_was_taken_is_answered() -> None:
    scorer = Fake()
    scorer.gate.clear()
    with running(scorer, Limits(waiting=2)) as local, ThreadPoolExecutor(8) as threads:
        first = threads.submit(post, local, asking([], [0]))
        scorer.entered.acquire()  # the scorer is busy with it
        more = [threads.submit(post, local, asking([], [1])) for _ in range(6)]
        until(lambda: sum(one.done() for one in more) == 4)
        scorer.gate.set()
        answers = [one.result() for one in [first, *more]]
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 4
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["Retry-After"] == "1"
    assert "waiting already" in refused.json()["error"]


def test_a_request_that_waits_too_long_is_refused_with_503() -> None:
    scorer = Fake()
    scorer.gate.clear()
    with running(scorer, Limits(wait=0.05)) as local, ThreadPoolExecutor(1) as threads:
        first = threads.submit(post, local, asking([], [0]))
        scorer.entered.acquire()  # the scorer is busy with it
        late = post(local, asking([], [1]))
        assert (late.status_code, late.headers["Retry-After"], counted(local, 503)) == (503, "1", 1)
        assert "within 0.05 seconds" in late.json()["error"]
        scorer.gate.set()
        assert first.result().status_code == 200


def test_more_connections_than_the_limit_are_refused_with_a_reason_and_counted() -> None:
    """Those that look after the server still see it."""
    with running(Fake(), Limits(connections=4, seconds=60)) as local, contextlib.ExitStack() as stack:
        assert post(local, asking([], [0])).status_code == 200
        for _ in range(4):
            stack.enter_context(local.connect())
        until(lambda: len(local.server.server_state.connections) == 4)
        refused = post(local, asking([], [0]))
        assert refused.status_code == 503
        assert (refused.headers["Retry-After"], refused.headers["Connection"]) == ("1", "close")
        assert refused.json()["error"] == "more than 4 connections are open, try again later"
        assert requests.get(f"{local.url}/health", timeout=30).json()["status"] == "ok"
        assert counted(local, 503) == 1
        stack.close()
        until(lambda: not local.server.server_state.connections)
        assert post(local, asking([], [0])).status_code == 200


def test_requests_of_clients_that_are_gone_are_not_scored() -> None:
    fake = Fake()
    with running(fake, batching=Batching(window=0.0, requests=1)) as local:
        fake.gate.clear()
        body = json.dumps(asking([1], [2])).encode()
        message = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

        def waiting() -> float:
            return float(requests.get(f"{local.url}/metrics", timeout=30).text.split("\ndien_waiting ")[1].split()[0])

        clients = [local.connect() for _ in range(5)]
        for client in clients:
            client.sendall(message)
        until(lambda: waiting() == 4)  # the first is being scored
        for client in clients:
            client.close()
        until(lambda: waiting() == 0)
        fake.gate.set()
        assert post(local, asking([1], [2])).status_code == 200
        counted = requests.get(f"{local.url}/metrics", timeout=30).text
    assert "dien_batch_requests_sum 2.0" in counted
    assert 'dien_requests_total{status="499"} 5.0' in counted


def test_shutdown_answers_what_was_taken() -> None:
    scorer = Fake()
    scorer.gate.clear()
    with running(scorer) as local, ThreadPoolExecutor(5) as threads:
        taken = [threads.submit(post, local, asking([], [i])) for i in range(5)]
        scorer.entered.acquire()
        until(lambda: len(local.server.server_state.tasks) == 5)
        local.server.should_exit = True
        until(lambda: not accepts(local))
        assert not any(one.done() for one in taken)
        scorer.gate.set()
        assert [one.result().json()["probabilities"] for one in taken] == [[1 / (1 + i)] for i in range(5)]


def accepts(local: Local) -> bool:
    try:
        local.connect().close()
    except ConnectionError:
        return False
    return True


def test_answers_do_not_wait_for_the_client_to_acknowledge_headers() -> None:
    with listener("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has it")
def test_memory_is_reused_in_the_thread_that_scores() -> None:
    """Page faults of blocks of 40 and 8 MB that are freed and asked for again: some 20,000 where they are not kept."""
    program = """
import resource, threading
import numpy as np
from benchmark.serving.memory import reuse_memory
assert reuse_memory()
def work():
    for number in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [np.ones(size) for size in (5_000_000, 5_000_000, 1_000_000)]
        del kept
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1_000
