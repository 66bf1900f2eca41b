"""Days on which something outside the suite goes wrong: each has a message and an outcome."""

import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from baselines.lightning_module import NotFinite
from benchmark.cli import app as cli
from benchmark.cli.run import check_writable
from benchmark.executors.plan import bytes_per_run, describe_plan, plan
from benchmark.records.record import read_records
from benchmark.runs.config import RunConfig, lock_of
from benchmark.runs.ended import finished_record, forget_failure, record_failure
from benchmark.runs.train import train_run
from datamodules.batch import make_batch
from datamodules.errors import UserError, blocks_writing
from datamodules.files.lock import Busy
from datamodules.samples.file import prepare_samples
from tests.benchmark.boards import table

BAD = """
import torch
from baselines.base_model import BaseModel
from baselines.layers.prediction import Prediction

class Bad(BaseModel):
    calls = 0
    def forward(self, batch):
        self.calls += self.training
        factor = float("{value}") if self.training and self.calls == 33 else 1.0
        return Prediction(super().forward(batch).logit * factor)
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    prepare_samples("generated", "clean", folder)
    return str(folder)


def config(out: Path, data_dir: str, **changes: Any) -> RunConfig:
    base = RunConfig("generated", "clean", "base-model", "official", 0, steps=60, data_dir=data_dir, out=str(out))
    return replace(base, **changes)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_its_batch(tmp_path: Path, data_dir: str, value: str) -> None:
    (tmp_path / "bad.py").write_text(BAD.format(value=value))
    bad = config(tmp_path / "runs", data_dir, model=f"{tmp_path}/bad.py:Bad")
    with pytest.raises(NotFinite, match=r"the loss is (nan|inf) at step 33; its batch .*nan-batch\.pt"):
        train_run(bad)
    kept = torch.load(bad.folder() / "nan-batch.pt", weights_only=True)
    assert kept["step"] == 33
    batch, before = (make_batch(**kept[name]) for name in ("batch", "batch_before"))
    assert batch.target["item"].shape == (128,)
    assert not torch.equal(batch.target["item"], before.target["item"])
    assert pd.read_csv(bad.folder() / "metrics.csv").step.tolist() == [20]
    assert not (bad.folder() / "record.json").exists()


def test_a_failed_run_has_a_record_and_its_reason_in_the_table(tmp_path: Path, data_dir: str) -> None:
    failed = config(tmp_path, data_dir)
    record_failure(failed, "the loss is nan at step 33", 20)
    found = finished_record(failed)
    assert found is not None
    assert (found["status"], found["reason"], found["steps"]) == ("failed", "the loss is nan at step 33", 20)
    assert train_run(failed) == found  # it is not run again by itself
    train_run(replace(failed, seed=1))
    made = table(read_records(tmp_path), "4", ["generated"], "clean", "official").markdown()
    assert "(1 of 2, 1 failed)" in made
    assert "Failed: BaseModel, seed 0: the loss is nan at step 33." in made

    record_failure(replace(failed, seed=1), "too late")
    forget_failure(failed)
    forget_failure(replace(failed, seed=1))  # which has finished
    forget_failure(replace(failed, seed=2))  # which was never run
    assert [(r.seed, r.status) for r in read_records(tmp_path)] == [(1, "finished")]


def test_a_run_of_another_process_is_left_alone(tmp_path: Path, data_dir: str) -> None:
    mine = config(tmp_path, data_dir)
    mine.folder().mkdir(parents=True)
    lock_of(mine).write_text("filelock/2\npid=7\nhost=elsewhere\nmode=lease\ntoken=abc\nduration=60.0\n")
    with pytest.raises(Busy, match="process 7 on elsewhere"):
        train_run(mine)
    record_failure(mine, "a reason")
    assert not (mine.folder() / "record.json").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> RunConfig:
    run = config(tmp_path_factory.mktemp("finished"), data_dir)
    train_run(run)
    return run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["auc"].update(test=0.99), r"predictions .* give AUC 0\.\d+, claimed is 0.99"),
        (lambda record: record.update(gauc=0.99), r"predictions .* give GAUC 0\.\d+, claimed is 0.99"),
        (lambda record: record.update(gauc=None), r"predictions .* give GAUC 0\.\d+, claimed is None"),
        (lambda record: record.update(logloss=0.01), r"predictions .* give log loss 0\.\d+, claimed is 0.01"),
        (lambda record: record["auc"].update(test=1.5), r"'auc\.test' is .* expected"),
        (lambda record: record.update(seed=4), "the field 'seed' says 'seed-4', but its folder says 'seed-0'"),
        (lambda record: record["settings"].update(batch_size=64), "batch_size = 64, asked for was 128"),
        (lambda record: record.pop("status"), "lacks the field 'status'"),
    ],
)
def test_a_record_that_was_edited_is_noticed(finished: RunConfig, change: Any, message: str) -> None:
    path = finished.folder() / "record.json"
    before = path.read_text()
    record = json.loads(before)
    change(record)
    path.write_text(json.dumps(record))
    try:
        with pytest.raises(UserError, match=message):
            finished_record(finished)
    finally:
        path.write_text(before)
    assert finished_record(finished) is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB of its own, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_and_leaves_no_record(small_disk: Path, data_dir: str) -> None:
    (small_disk / "filler").write_bytes(b"x" * 50_000)
    said: list[str] = []
    full = config(small_disk, data_dir, steps=130, checkpoint_seconds=0)
    with pytest.raises((UserError, OSError), match="No space left") as raised:
        train_run(full, say=said.append)
    assert blocks_writing(raised.value)
    assert "the run goes on without it" in said[0]
    assert not (full.folder() / "record.json").exists()
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert train_run(full)["status"] == "finished"


def test_a_read_only_folder_is_said_before_the_work(small_disk: Path) -> None:
    check_writable(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"cannot write to .*: Read-only file system.*another folder"):
        check_writable(small_disk)
    with pytest.raises(UserError, match=r"cannot write to .*: Read-only file system"):
        check_writable(small_disk / "runs")


@pytest.mark.parametrize(("number", "words"), [(errno.EACCES, "Permission denied"), (errno.ENOSPC, "No space left")])
def test_no_permission_or_space_for_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refused)
    result = CliRunner().invoke(cli.app, f"run --datasets generated --models din --out {tmp_path}/runs")
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)


def test_errors_of_the_disk_are_told_from_others() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = UserError("cannot write")
    wrapped.__cause__ = full
    assert blocks_writing(full)
    assert blocks_writing(wrapped)
    assert not blocks_writing(UserError("no such model"))
    assert not blocks_writing(FileNotFoundError(errno.ENOENT, "no file"))


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, jumps = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: clock() + (-1) ** next(jumps) * 1e8)
    record = train_run(config(tmp_path, data_dir))
    assert 0 < record["train_seconds"] < 1e4
    assert record["samples_per_second"] > 0
    assert not lock_of(config(tmp_path, data_dir)).exists()


def test_the_plan_of_failed_runs_to_be_run_again_takes_what_the_command_takes(
    tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.executors.plan.BOARD", tmp_path / "no-board")
    failed = config(tmp_path / "runs", data_dir, learning_rate=1e30)
    failed.folder().mkdir(parents=True)
    record_failure(failed, "NotFinite: the loss is nan at step 1", 1)
    asked = replace(failed, learning_rate=1e-3)
    with pytest.raises(UserError, match=r"holds a run with learning_rate = 1e\+30"):
        plan([asked])
    (planned,) = plan([asked], retry_failed=True)
    assert (planned.state, planned.waits) == ("failed, to be run again", True)
    assert lock_of(failed).with_name("record.json").exists()  # nothing is removed


def test_the_plan_tells_what_is_there_and_what_the_rest_takes(
    finished: RunConfig, data_dir: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmark.executors.plan.BOARD", tmp_path / "no-board")
    (like,) = read_records(Path(finished.out))
    more, unknown = replace(finished, seed=1), replace(finished, model="din")
    there, next_one, never = plan([finished, more, unknown])
    assert (there.state, there.waits) == ("finished", False)
    assert next_one.seconds == pytest.approx(like.train_seconds)
    assert next_one.checkpoint == like.parameters * 12
    assert never.seconds is None
    table, text = describe_plan([there, next_one, never], 2)
    assert table.row_count == 3
    assert text.startswith("1 of 3 runs are there, 2 are to be run by 2 workers: at least ")
    assert text.endswith("; 1 of them of a kind that was never measured")
    assert plan([replace(finished, seed=1, steps=None)])[0].seconds == pytest.approx(like.train_seconds * 200 / 60)
    assert bytes_per_run([more], 1.5e9) == pytest.approx(like.peak_memory_mb * 1.25e6)
    assert bytes_per_run([unknown], 1.5e9) == 1.5e9
    assert not more.folder().exists()
