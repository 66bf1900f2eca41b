"""Logs of impressions on disk: what is read back is what was written, or a message."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules import impressions_file
from datamodules.errors import UserError
from datamodules.files import big_arrays
from datamodules.files.big_arrays import GrowingArray, Partitions, blocks
from datamodules.impressions import Behaviours, Impressions, Shown
from datamodules.impressions_file import counts_of, load_impressions, write_impressions
from datamodules.sources.impression_logs import IMPRESSIONS

SPEC = IMPRESSIONS["taobao-ad"]


def a_log(optional: bool = True) -> Impressions:
    return Impressions(
        catalogue={"category": np.array([0, 1, 1], np.int32), "brand": np.array([0, 2, 0], np.int32)},
        profile={"age": np.array([3, 0, 1], np.int32)},
        behaviours=Behaviours(
            np.array([0, 0, 2], np.int32), np.array([1, 2, 1], np.int32), np.array([5, 9, 7], np.int64)
        ),
        shown=Shown(
            user=np.array([2, 0, 1, 1], np.int32),
            item=np.array([1, 2, 2, 1], np.int32),
            time=np.array([8, 10, 10, 11], np.int64),
            label=np.array([1, 0, 0, 1], np.int8),
            target={"ad": np.array([1, 2, 3, 1], np.int32)},
            context={"hour": np.array([1, 1, 1, 1], np.int32)},
            random=np.array([False, True, False, False]) if optional else None,
            probability=np.array([0.5, 0.25, 0, 1], np.float32) if optional else None,
        ),
        users=3,
        first_midnight=0,
        inputs=[{"file": "a.csv", "url": "a", "sha256": "b", "bytes": 1}],
        notes=("a note",),
    )


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if hasattr(one, "__dataclass_fields__"):
        return equal(vars(one), vars(other))
    return bool(one == other)


@pytest.mark.parametrize("optional", [True, False])
def test_what_was_written_is_read(optional: bool, tmp_path: Path) -> None:
    log = a_log(optional)
    write_impressions(log, SPEC, tmp_path / "log")
    found = load_impressions(tmp_path / "log")
    assert equal(found, log)
    assert isinstance(found.behaviours.time, np.memmap)
    assert not found.behaviours.time.flags.writeable
    manifest = json.loads((tmp_path / "log" / "manifest.json").read_text())
    counts = {"users": 3, "items": 2, "behaviours": 3, "impressions": 4, "clicks": 2}
    assert manifest["counts"] == counts_of(log) == (counts | {"random_impressions": 1} if optional else counts)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    lines = "".join(  # as sha256sum *.npy prints them
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted((tmp_path / "log").glob("*.npy"), key=lambda path: path.stem)
    )
    assert manifest["sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_a_log_without_behaviours(tmp_path: Path) -> None:
    none = Behaviours(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
    log = replace(a_log(), behaviours=none)
    write_impressions(log, SPEC, tmp_path / "log")
    assert equal(load_impressions(tmp_path / "log"), log)


def test_mapped_arrays_are_linked(tmp_path: Path) -> None:
    with GrowingArray(tmp_path / "time.npy", np.int64) as growing:
        for rows in ([5, 9], [7]):
            growing.append(np.array(rows))
    log = a_log()
    of_file = replace(log, behaviours=replace(log.behaviours, time=growing.mapped()))
    write_impressions(of_file, SPEC, tmp_path / "log")
    assert (tmp_path / "log" / "behaviours.time.npy").samefile(tmp_path / "time.npy")
    (tmp_path / "time.npy").unlink()
    assert equal(load_impressions(tmp_path / "log"), log)
    part = np.load(tmp_path / "log" / "behaviours.time.npy", mmap_mode="r")[:2]  # not a whole file: written anew
    few = Behaviours(log.behaviours.user[:2], log.behaviours.item[:2], part)
    write_impressions(replace(log, behaviours=few), SPEC, tmp_path / "few")
    assert load_impressions(tmp_path / "few").behaviours.time.tolist() == [5, 9]


def test_a_failed_write_leaves_the_log_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_impressions(a_log(), SPEC, tmp_path / "log")

    def full(path: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(impressions_file, "file_sha256", full)
    with pytest.raises(OSError, match="No space left"):
        write_impressions(a_log(optional=False), SPEC, tmp_path / "log")
    monkeypatch.undo()
    assert equal(load_impressions(tmp_path / "log"), a_log())
    write_impressions(a_log(optional=False), SPEC, tmp_path / "log")
    assert equal(load_impressions(tmp_path / "log"), a_log(optional=False))
    assert not (tmp_path / "log" / "shown.random.npy").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def change(folder: Path, name: str, row: int, value: Any, honest: bool = False) -> None:
    """Change one number in a file; `honest`: with new checksums, as somebody does who knows them."""
    path = folder / f"{name}.npy"
    array = np.load(path)
    array[row] = value
    np.save(path, array)
    if honest:
        seal(folder, name)


def seal(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays"][name] = hashlib.sha256((folder / f"{name}.npy").read_bytes()).hexdigest()
    manifest["sha256"] = impressions_file._of_all(manifest["arrays"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit(folder: Path, **fields: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | fields))


def shorten(folder: Path) -> None:
    np.save(folder / "target.ad.npy", np.array([1, 2, 3], np.int32))
    seal(folder, "target.ad")


def retype(folder: Path) -> None:
    np.save(folder / "target.ad.npy", np.array([1, 2, 3, 1], np.int64))
    seal(folder, "target.ad")


def escape(folder: Path) -> None:
    np.save(folder.parent / "x.npy", np.zeros(4, np.int32))
    edit(folder, arrays={"../x": "0" * 64}, sha256=impressions_file._of_all({"../x": "0" * 64}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: change(folder, "behaviours.item", 0, 2), "the sha256 of behaviours.item.npy"),
        (lambda folder: change(folder, "behaviours.user", 2, 3, honest=True), "behaviours.user.npy holds 3 to 3"),
        (lambda folder: change(folder, "shown.item", 0, 0, honest=True), "shown.item.npy holds 0 to 2"),
        (lambda folder: change(folder, "shown.label", 0, 2, honest=True), "shown.label.npy holds 0 to 2"),
        (lambda folder: change(folder, "shown.label", 1, 1, honest=True), "the manifest says"),
        (lambda folder: change(folder, "shown.probability", 0, np.nan, honest=True), "holds nan"),
        (lambda folder: change(folder, "target.ad", 0, -1, honest=True), "target.ad.npy holds -1"),
        (lambda folder: change(folder, "catalogue.brand", 0, 1, honest=True), "item 0, which is padding"),
        (lambda folder: change(folder, "behaviours.time", 0, 10, honest=True), "sorted by behaviours.user"),
        (lambda folder: change(folder, "shown.time", 3, 9, honest=True), "sorted by shown.time"),
        (lambda folder: change(folder, "shown.user", 1, 2, honest=True), "sorted by shown.time"),
        (shorten, "target.ad.npy has 3 rows, expected 4"),
        (retype, "target.ad.npy has the type int64"),
        (escape, "is not an array of a log"),
        (lambda folder: (folder / "context.hour.npy").unlink(), "context.hour.npy"),
        (lambda folder: (folder / "context.hour.npy").write_bytes(b"\x93NUMPY"), "sha256 of context.hour.npy"),
        (lambda folder: edit(folder, first_midnight=None), "no users or no items"),
        (lambda folder: edit(folder, counts={}), "KeyError: 'users'"),
        (lambda folder: edit(folder, format="impressions-2"), "expected impressions-1"),
        (lambda folder: edit(folder, reader_version=0), "reader version 0"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
    ],
)
def test_damage(damage: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(big_arrays, "BLOCK", 2)  # rows, so that a row out of order is in another block
    write_impressions(a_log(), SPEC, tmp_path / "log")
    load_impressions(tmp_path / "log")
    damage(tmp_path / "log")
    with pytest.raises(UserError, match=message) as caught:
        load_impressions(tmp_path / "log")
    assert "prepare" in str(caught.value)


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Run: dien-bench prepare taobao-ad"):
        load_impressions(tmp_path / "taobao-ad")


def test_partitions_keep_rows_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(1_000)
    part = rng.integers(0, 7, 1_000)
    with Partitions(tmp_path / "parts", np.int64, 7) as partitions:
        for begin in range(0, 1_000, 300):
            partitions.add(rows[begin : begin + 300], part[begin : begin + 300])
        found = [taken.tolist() for taken in partitions.take()]
    assert found == [[row for row in range(1_000) if part[row] == number] for number in range(7)]
    assert not list((tmp_path / "parts").iterdir())


@pytest.mark.parametrize("size", [0, 1, 10**7])
def test_an_array_that_grows(size: int, tmp_path: Path) -> None:
    expected = (np.arange(size) % 7).astype(np.int8)
    with GrowingArray(tmp_path / "a.npy", np.int8) as growing:
        for begin in range(0, size, 3_000_000):
            growing.append(expected[begin : begin + 3_000_000].astype(np.int64))
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert np.array_equal(growing.mapped(), expected)
    assert sum(map(len, blocks(tmp_path / "a.npy"))) == size
