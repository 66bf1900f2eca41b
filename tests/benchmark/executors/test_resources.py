"""Workers by cores, memory and GPUs, in a container too."""

import os

import pytest

from benchmark.executors import resources as capacity
from benchmark.executors.resources import available_bytes, available_cores, choose_workers
from datamodules.errors import UserError


@pytest.mark.parametrize(
    ("cores", "gigabytes", "workers"), [(4, 100, 4), (4, 3.1, 2), (4, 0.5, 1), (64, 100, 8), (4, None, 4)]
)
def test_workers_by_cores_and_memory(monkeypatch, cores, gigabytes, workers):
    monkeypatch.setattr(capacity, "available_cores", lambda: cores)
    available = None if gigabytes is None else int(gigabytes * 1e9)
    monkeypatch.setattr(capacity, "available_bytes", lambda: available)
    assert choose_workers(None) == workers
    assert choose_workers(3) == 3
    assert choose_workers(None, gpus=2) == 2
    assert choose_workers(3, gpus=2) == 3
    assert choose_workers(None, bytes_per_run=1e12) == (1 if gigabytes else workers)


def test_workers_asked_for_must_be_some():
    with pytest.raises(UserError, match="must be 1 or more, got 0"):
        choose_workers(0)


def test_memory_and_cores_of_the_machine_or_the_container(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal:  2000 kB\nMemAvailable:   1000 kB\nHugePages_Total:  0\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == 1_024_000
    assert available_bytes(tmp_path / "none", tmp_path) is None
    (tmp_path / "memory.max").write_text("900000\n")
    (tmp_path / "memory.current").write_text("200000\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == 1_024_000

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert available_cores(tmp_path) == 6
    for text, cores in (("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 6)):
        (tmp_path / "cpu.max").write_text(text + "\n")
        assert available_cores(tmp_path) == cores
