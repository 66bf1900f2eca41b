"""Made-up files in the layouts of the released sets, and the released iterator's rules written out plainly."""

import bz2
import hashlib
import io
import random
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.sources.released.books import BOOKS_RELEASED, Release, read_books
from datamodules.sources.spec import FinishedSpec

Row = tuple[int, bytes, bytes, bytes, list[bytes], list[bytes]]  # label, user, item, category, items, categories


class Files(NamedTuple):
    """The content of the members, and the vocabularies that went into them."""

    members: dict[str, bytes]
    users: dict[bytes, int]
    items: dict[bytes, int]
    categories: dict[bytes, int]


def pickled(numbers: dict[bytes, int], *, puts: bool = True) -> bytes:
    """A dict as cPickle writes it under protocol 0: repr of Python 2's str; places from 1, or none."""
    text = [b"(dp1\n" if puts else b"(d"]
    for place, (key, number) in enumerate(numbers.items(), start=2):
        text.append(b"S" + repr(key)[1:].encode("ascii") + b"\n" + (b"p%d\n" % place if puts else b""))
        text.append(b"I%d\ns" % number)
    return b"".join(text) + b"."


def make_books(users: int = 60, longest: int = 12, seed: int = 0) -> Files:
    """Books files of so many users: every tenth tests; some histories are long, some ids are in no vocabulary."""
    rng = random.Random(seed)
    kinds = [b"Children's Books", b'"Quoted" & other\'s', b"Caf\xc3\xa9", b"Back\\slash", b"History", b"", b" Blank"]
    catalogue = {b"%010d" % rng.randrange(10**9): kinds[rng.randrange(5)] for _ in range(80)}
    names = list(catalogue)
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    for number in range(users):
        user = b"A%012X" % rng.randrange(16**12)
        length = rng.choice([1, 2, 3, 5, rng.randint(1, longest)])
        history = rng.choices(names, k=length)
        positive, negative = rng.sample(names, 2)
        part = rows["test" if number % 10 == 3 else "train"]
        for label, item in ((0, negative), (1, positive)):
            part.append((label, user, item, catalogue[item], history, [catalogue[one] for one in history]))
    stranger = (b"unseen item", b"unseen category")
    rows["test"].append((1, b"nobody", *stranger, [stranger[0], names[0]], [stranger[1], catalogue[names[0]]]))
    rows["test"].append((0, b"nobody", names[1], catalogue[names[1]], [b""], [b""]))  # an empty history
    trained = rows["train"]
    in_order = sorted({row[1] for row in trained}, key=hash_of)
    known_items = {row[2] for row in trained} | {one for row in trained for one in row[4]}
    known_kinds = {row[3] for row in trained} | {one for row in trained for one in row[5]}
    voc_users = {user: number for number, user in enumerate(in_order)}
    voc_items = {b"default_mid": 0} | {one: n for n, one in enumerate(sorted(known_items, key=hash_of), start=1)}
    voc_kinds = {b"default_cat": 0} | {one: n for n, one in enumerate(sorted(known_kinds, key=hash_of), start=1)}
    text = {
        f"local_{name}_splitByUser": b"".join(
            b"\t".join((b"%d" % label, user, item, kind, b"\x02".join(items), b"\x02".join(of_items))) + b"\n"
            for label, user, item, kind, items, of_items in part
        )
        for name, part in rows.items()
    }
    info = [(item, kind) for item, kind in catalogue.items()]
    info += [(names[0], b"a second line"), (b"never reviewed", b"History")]
    reviews = [(b"A0", rng.choice(names)) for _ in range(300)]
    return Files(
        text
        | {
            "item-info": b"".join(item + b"\t" + kind + b" \n" for item, kind in info),
            "reviews-info": b"".join(user + b"\t" + item + b"\t5.0\t1400000000\n" for user, item in reviews),
            "uid_voc.pkl": pickled(dict(sorted(voc_users.items()))),
            "mid_voc.pkl": pickled(dict(sorted(voc_items.items())), puts=False),
            "cat_voc.pkl": pickled(dict(sorted(voc_kinds.items()))),
        },
        voc_users,
        voc_items,
        voc_kinds,
    )


def hash_of(raw: bytes) -> bytes:
    """An order that is neither that of the ids nor that of the files."""
    return hashlib.md5(raw).digest()


def archives(files: Files, folder: Path) -> FinishedSpec:
    """Write the three archives, and return the data set that expects just these."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"data": ["local_train_splitByUser", "cat_voc.pkl"], "data1": ["reviews-info", "uid_voc.pkl"]}
    parts["data2"] = [name for name in files.members if name not in parts["data"] + parts["data1"]]
    md5 = {}
    for name, members in parts.items():
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for member in filter(files.members.get, members):
                entry = tarfile.TarInfo(f"{name}/{member}")
                entry.size = len(files.members[member])
                archive.addfile(entry, io.BytesIO(files.members[member]))
        packed = bz2.compress(content.getvalue())
        (folder / f"{name}.tar.gz").write_bytes(packed)
        md5[f"{name}.tar.gz"] = hashlib.md5(packed).hexdigest()
    train, test = (files.members[f"local_{name}_splitByUser"].count(b"\n") for name in ("train", "test"))
    expected = {"training rows": train, "test rows": test}
    expected |= {"vocabulary items": len(files.items), "vocabulary categories": len(files.categories)}
    read = partial(read_books, Release(md5, expected))
    return replace(BOOKS_RELEASED, expected=expected, read=read, files=(), steps=40)


def iterate(
    files: Files, part: str, batch_size: int, *, maxlen: int | None, sort: str = "stable"
) -> Iterator[list[tuple[Any, ...]]]:
    """The batches of the released iterator: lists of (user, item, category, items, categories, label).

    Windows of 20 batches, sorted by the length of the whole history with NumPy's `sort`, taken from the end; a history
    longer than `maxlen` keeps its newest (`prepare_data` of the released train.py). Nothing is skipped: an empty
    history splits into one empty id. Auxiliary negatives are left out.
    """
    lines = files.members[f"local_{part}_splitByUser"].split(b"\n")[:-1]
    for first in range(0, len(lines), 20 * batch_size):
        window = [line.split(b"\t") for line in lines[first : first + 20 * batch_size]]
        by_length = np.array([len(cells[4].split(b"\x02")) for cells in window]).argsort(kind=sort)
        waiting = [window[place] for place in by_length]
        while waiting:
            batch = []
            while waiting and len(batch) < batch_size:
                label, user, item, kind, history, kinds = waiting.pop()
                items = [files.items.get(one, 0) for one in history.split(b"\x02")]
                of_items = [files.categories.get(one, 0) for one in kinds.split(b"\x02")]
                keep = slice(None) if maxlen is None or len(items) <= maxlen else slice(len(items) - maxlen, None)
                numbers = (files.users.get(user, 0), files.items.get(item, 0), files.categories.get(kind, 0))
                batch.append((*numbers, items[keep], of_items[keep], int(label)))
            yield batch
