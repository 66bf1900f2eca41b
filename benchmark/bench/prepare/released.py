"""Made-up files of the size and layout of Books as released: what their preparation is timed on.

    python -m benchmark.bench.prepare.released write FOLDER 1.0   # the share of the rows, items, reviews
    python -m benchmark.bench.prepare.released floor FOLDER       # seconds to decompress, and to parse, and no more
    python -m benchmark.bench.prepare.released prepare FOLDER     # seconds, peak memory, bytes

The archives lie in FOLDER/raw/books-released; FOLDER/release.json has their checksums and counts.
"""

import bz2
import hashlib
import json
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from benchmark.bench.prepare.child import peak_mb
from datamodules.protocol import RELEASED
from datamodules.samples.released import make_released_samples
from datamodules.sources.released import books
from datamodules.sources.released.books import BOOKS_RELEASED, EXPECTED, Release, read_books
from datamodules.sources.released.finished import load_finished, write_finished

REVIEWS, METADATA = 8_898_041, 2_370_585  # lines of reviews-info and item-info; the second is that of Books' metadata
ARCHIVES = {
    "data": ("local_train_splitByUser", "uid_voc.pkl"),
    "data1": ("local_test_splitByUser", "mid_voc.pkl", "cat_voc.pkl", "item-info"),
    "data2": ("reviews-info",),
}
CHUNK = 50_000  # users, or lines


def write(folder: Path, share: float, seed: int = 0) -> Release:
    """Write the archives, always the same ones, and what a reader must find in them."""
    rng, plain, target = np.random.default_rng(seed), folder / "plain", folder / "raw" / BOOKS_RELEASED.name
    plain.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    expected = {name: max(int(count * share), 20) // 2 * 2 + count % 2 for name, count in EXPECTED.items()}
    train, test = expected["training rows"] // 2, expected["test rows"] // 2
    items = [b"%010d" % number for number in rng.choice(10**7, expected["vocabulary items"] - 1, False)]
    kinds = [b"Category %d" % number for number in range(expected["vocabulary categories"] - 1)]
    of_item = rng.integers(0, len(kinds), len(items))
    users = [b"A%013d" % number for number in rng.choice(10**8, train + test, False)]
    lines = partial(_rows, items=items, kinds=[kinds[number] for number in of_item], rng=rng)
    _write(plain / books.TRAIN, lines(users[:train]))
    _write(plain / books.TEST, lines(users[train:]))
    _write(plain / books.ITEMS, (b"%s\t%s\n" % (one, kinds[kind]) for one, kind in zip(items, of_item, strict=True)))
    with (plain / books.ITEMS).open("ab") as file:  # of items without reviews
        file.writelines(b"B%09d\t%s\n" % (number, kinds[0]) for number in range(int(METADATA * share) - len(items)))
    reviewed = rng.integers(0, len(items), int(REVIEWS * share))
    _write(plain / books.REVIEWS, (b"%s\t%s\t5.0\t1400000000\n" % (users[0], items[one]) for one in reviewed))
    for name, ids in zip(
        books.VOCABULARIES, (users[:train], [b"default_mid", *items], [b"default_cat", *kinds]), strict=True
    ):
        entries = (b"S'%s'\np%d\nI%d\ns" % (raw, number + 2, number) for number, raw in enumerate(ids))
        _write(plain / name, [b"(dp1\n", *entries, b"."])
    with ThreadPoolExecutor(len(ARCHIVES)) as threads:
        md5 = dict(threads.map(lambda name: _pack(name, plain, target), ARCHIVES))
    shutil.rmtree(plain)
    release = Release(md5, expected)
    (folder / "release.json").write_text(json.dumps(asdict(release)), "utf-8")
    return release


def _rows(users: list[bytes], items: list[bytes], kinds: list[bytes], rng: np.random.Generator) -> Iterator[bytes]:
    """A negative and a positive line a user; histories of 13.7 behaviours in the mean, with a long tail."""
    for begin in range(0, len(users), CHUNK):
        some = users[begin : begin + CHUNK]
        lengths = np.minimum(4 + rng.pareto(1.4, len(some)) * 4.2, 3_000).astype(np.int64)
        drawn = rng.integers(0, len(items), (int(lengths.sum()) + 2 * len(some))).tolist()
        at = 0
        for user, length in zip(some, lengths.tolist(), strict=True):
            own = drawn[at : at + length]
            history = b"\x02".join([items[one] for one in own]) + b"\t" + b"\x02".join([kinds[one] for one in own])
            for label in (0, 1):
                target = drawn[at + length + label]
                yield b"%d\t%s\t%s\t%s\t%s\n" % (label, user, items[target], kinds[target], history)
            at += length + 2


def _write(path: Path, lines: Any) -> None:
    with path.open("wb") as file:
        file.writelines(lines)


def _pack(name: str, plain: Path, target: Path) -> tuple[str, str]:
    path = target / f"{name}.tar.gz"
    with bz2.open(path, "wb") as out, tarfile.open(fileobj=out, mode="w|") as archive:
        for member in ARCHIVES[name]:
            archive.add(plain / member, f"{name}/{member}")
    with path.open("rb") as file:
        return path.name, hashlib.file_digest(file, "md5").hexdigest()


def floor(folder: Path, release: Release) -> dict[str, dict[str, float]]:
    """Seconds that preparation cannot go below with these tools: archives to files, and text to columns of cells."""
    scratch = folder / "scratch"
    archives = [folder / "raw" / BOOKS_RELEASED.name / name for name in release.md5]

    def decompress() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        for archive in archives:
            books.unpack(archive, scratch)

    def parse() -> None:
        for name, columns in ((books.TRAIN, 6), (books.TEST, 6), (books.ITEMS, 2), (books.REVIEWS, 4)):
            for batch in books.batches_of(scratch / name, columns):
                for column in batch.columns[4:] if columns == 6 else ():
                    pc.split_pattern(column, books.BETWEEN)

    found = {"decompress": _seconds(decompress), "parse": _seconds(parse)}
    shutil.rmtree(scratch)
    return found


def prepare(folder: Path, release: Release) -> dict[str, Any]:
    """Prepare the archives; return seconds of each step, peak memory, bytes on disk and counts."""
    scratch, prepared = folder / "scratch", folder / "prepared"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    made: dict[str, Any] = {}
    before = peak_mb()
    steps: Mapping[str, Callable[[], None]] = {
        "read": lambda: made.update(rows=read_books(release, folder, scratch)),
        "write": lambda: write_finished(made.pop("rows"), BOOKS_RELEASED, prepared),
        "load": lambda: made.update(rows=load_finished(prepared)),
        "samples": lambda: made.update(samples=make_released_samples(made["rows"], RELEASED)),
    }
    seconds = {name: _seconds(step) for name, step in steps.items()}
    shutil.rmtree(scratch)
    size = sum(path.stat().st_size for path in prepared.iterdir())
    report = {"counts": made["rows"].counts, "seconds": seconds, "peak_mb": peak_mb(), "peak_before_mb": before}
    return report | {"prepared_mb": round(size / 1e6)}


def _seconds(work: Callable[[], None]) -> dict[str, float]:
    """Seconds that have passed, and those of the processor, which other programs do not lengthen."""
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    begin = {name: clock() for name, clock in clocks.items()}
    work()
    return {name: round(clock() - begin[name], 1) for name, clock in clocks.items()}


def main(work: str, folder: Path, share: str = "1.0") -> None:
    """Do the work and print its report."""
    if work == "write":
        report: Any = asdict(write(folder, float(share)))
    else:
        release = Release(**json.loads((folder / "release.json").read_text("utf-8")))
        report = prepare(folder, release) if work == "prepare" else floor(folder, release)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
