"""Locks between processes, live, dead and on other machines, and clocks that jump."""

import multiprocessing
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from datamodules.files import lock
from datamodules.files.lock import Busy, locked, take


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE", 1.5)
    monkeypatch.setattr(lock, "POLL", 0.02)
    lock._lease.cache_clear()


def hold(path: Path, connection: object) -> None:
    take(path)
    connection.send("held")  # type: ignore[attr-defined]
    time.sleep(60)


def marker(host: str, pid: int = 4_000_000) -> str:
    return f"filelock/2\npid={pid}\nhost={host}\nmode=lease\ntoken=abc\nduration=1.5\n"


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    holder = context.Process(target=hold, args=(path, theirs))
    holder.start()
    assert mine.recv() == "held"
    with pytest.raises(Busy, match=rf"process {holder.pid} on {socket.gethostname()} \(lock "):
        take(path)
    holder.kill()
    holder.join()
    began = time.monotonic()
    take(path).release()
    assert time.monotonic() - began < 1
    assert not path.exists()


def test_another_machine_keeps_its_lock_while_it_shows_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.write_text(marker("elsewhere"))
    clock = time.time
    for wrong in (-1e9, 0, 1e9):  # neither our clock nor that of the file says anything
        monkeypatch.setattr(time, "time", lambda wrong=wrong: clock() + wrong)
        os.utime(path, (clock() - wrong, clock() - wrong))
        with pytest.raises(Busy, match="process 4000000 on elsewhere"):
            take(path)
    began = time.monotonic()
    with locked(path, lambda holder: None):
        assert 1.4 < time.monotonic() - began < 10
    assert not path.exists()


def test_a_lock_without_a_name_is_free_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    began = time.monotonic()
    with locked(path, lambda holder: None):
        assert 1.4 < time.monotonic() - began < 10


def take_as_a_new_process(path: Path) -> None:
    lock._lease.cache_clear()  # what a process remembers
    take(path).release()


def visits(path: Path, seconds: float, renew: bool = False) -> float | None:
    """Let a new process come every tenth of a second; returns when one got the lock, None if none did."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if renew:
            os.utime(path)
        try:
            take_as_a_new_process(path)
            return passed
        except Busy:
            time.sleep(0.1)
    return None


@pytest.mark.parametrize("content", ["", "filelock/2\npid=", marker("elsewhere")])
def test_processes_that_come_and_go_end_the_lease_of_a_dead_machine(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock"
    path.write_text(content)
    passed = visits(path, 20)
    assert passed is not None
    assert passed > 1.4
    assert list(tmp_path.iterdir()) == []


def test_processes_that_come_and_go_leave_a_live_machine_its_lease(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(marker("elsewhere"))
    assert visits(path, 3, renew=True) is None
    assert path.read_text() == marker("elsewhere")
    path.write_text(marker("a-third"))  # a new holder has a lease of its own
    passed = visits(path, 20)
    assert passed is not None
    assert passed > 1.4


def test_a_lock_seen_in_the_future_is_seen_anew(tmp_path: Path) -> None:
    """The file server's clock was set back: the lease then lasts from now on, and not for years."""
    path = tmp_path / "lock"
    path.write_text(marker("elsewhere"))
    assert visits(path, 0.05) is None
    os.utime(lock._seen(path), (4e9, 4e9))
    assert visits(path, 20) is not None


def take_once(path: Path, connection: object) -> None:
    lock._lease.cache_clear()
    try:
        take(path)
    except Busy:
        connection.send("busy")  # type: ignore[attr-defined]
    else:
        connection.send("held")  # type: ignore[attr-defined]
        time.sleep(60)


def test_of_many_processes_one_gets_the_lock_of_a_dead_machine(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(marker("elsewhere"))
    assert visits(path, 0.05) is None
    time.sleep(1.6)
    context = multiprocessing.get_context("fork")
    ends = [context.Pipe() for _ in range(8)]
    processes = [context.Process(target=take_once, args=(path, theirs)) for _, theirs in ends]
    for process in processes:
        process.start()
    try:
        answers = [ours.recv() for ours, _ in ends]
        assert answers.count("held") == 1
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_waiting_is_said_once(tmp_path: Path) -> None:
    path, said, order = tmp_path / "lock", [], []

    def second() -> None:
        with locked(path, said.append):
            order.append("second")

    with locked(path, said.append):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert len(said) == 1
    assert f"process {os.getpid()}" in said[0]
