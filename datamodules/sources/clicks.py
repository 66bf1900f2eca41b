"""The user's own data set: a click log, imported once under a name, and from then on known by its manifest.

From rows to behaviours, in this order:

1. a row with label 0, an impression without a click, is no behaviour and is left out;
2. an item's category is the one that it has in most clicks, of equally many the smallest;
3. of several clicks of a user on one item the first counts, else a target could stand in its own history;
4. users with fewer than `min_behaviours` (2: one to predict, one to predict it from) are left out.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamodules.datasets import DATASETS, OWN_NAME, no_reader
from datamodules.errors import UserError, cannot_write
from datamodules.files.atomic import removing_when_terminated
from datamodules.files.lock import locked
from datamodules.files.manifest import file_sha256
from datamodules.interactions import write_interactions
from datamodules.protocol import BATCH_SIZE
from datamodules.sources.click_file import ClickFile, read_chunks
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.released.sets import FINISHED
from datamodules.sources.spec import PASSES, Counts, DatasetSpec, Int32, Int64, RawInteractions

LEAST_USERS = 10  # every tenth user is tested on
FEW_STEPS = 1_000  # DIEN's auxiliary loss begins to fall after about 800


@dataclass
class _Codes:
    """Numbers for texts, in the order in which they come."""

    number: dict[str, int] = field(default_factory=dict)

    def of(self, texts: pa.StringArray) -> Int32:
        """Return the numbers (n,) of texts (n,)."""
        encoded = texts.dictionary_encode()
        known = [self.number.setdefault(text, len(self.number)) for text in encoded.dictionary.to_pylist()]
        numbers: Int32 = np.array(known, np.int32)[encoded.indices.to_numpy()]
        return numbers

    @property
    def texts(self) -> list[str]:
        """The texts in the order of their numbers."""
        return list(self.number)


def read_clicks(file: ClickFile, min_behaviours: int = 2) -> RawInteractions:
    """Read a click log and turn it into behaviours, as described at the top of this file.

    Raises `UserError` for a damaged or ambiguous file, and where fewer than 10 users are left.
    """
    if min_behaviours < 1:
        raise UserError(f"the least number of behaviours a user must be at least 1, got {min_behaviours}")
    users, items, categories = _Codes(), _Codes(), _Codes()
    parts: list[list[npt.NDArray[Any]]] = []
    rows = 0
    for chunk in read_chunks(file):
        rows += len(chunk.click)
        codes = [
            codes.of(texts.filter(pa.array(chunk.click)))
            for codes, texts in ((users, chunk.user), (items, chunk.item), (categories, chunk.category))
        ]
        parts.append([*codes, chunk.time[chunk.click]])
    user, item, category, time = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    category_of, several = _categories(item, category, categories.texts)
    kept = _first_clicks(user, item, time)
    frequent = np.bincount(user[kept], minlength=len(users.number)) >= min_behaviours
    chosen = kept[frequent[user[kept]]]
    _check_users(file.path, int(frequent.sum()), min_behaviours)
    user_codes, user = np.unique(user[chosen], return_inverse=True)
    item_codes, item = np.unique(item[chosen], return_inverse=True)
    user_texts, item_texts, category_texts = users.texts, items.texts, categories.texts
    return RawInteractions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time[chosen],
        user_ids=[user_texts[code] for code in user_codes],
        item_ids=[item_texts[code] for code in item_codes],
        category_of={item_texts[code]: category_texts[category_of[code]] for code in item_codes},
        inputs=[
            {"file": file.path.name, "sha256": file_sha256(file.path), "bytes": file.path.stat().st_size},
        ],
        notes=_notes(rows, len(category), len(kept), len(users.number), int(frequent.sum()), several, min_behaviours),
    )


def _categories(item: Int32, category: Int32, names: list[str]) -> tuple[Int32, int]:
    """Return each item's category (items,), and how many items came with several."""
    by_name = np.empty(len(names), np.int64)
    by_name[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    pairs, rows = np.unique(item * np.int64(max(len(names), 1)) + category, return_counts=True)
    of_item, kind = np.divmod(pairs, max(len(names), 1))
    order = np.lexsort((by_name[kind], -rows, of_item))
    _, first, kinds = np.unique(of_item[order], return_index=True, return_counts=True)
    return kind[order][first].astype(np.int32), int((kinds > 1).sum())


def _first_clicks(user: Int32, item: Int32, time: Int64) -> npt.NDArray[np.intp]:
    """Return the rows that are a user's first click on an item; at equal times the first in the file."""
    order = np.lexsort((time, item, user))  # stable
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(user[order]) != 0) | (np.diff(item[order]) != 0)
    return order[first]


def _check_users(path: Path, users: int, min_behaviours: int) -> None:
    if users < LEAST_USERS:
        raise UserError(
            f"{path} has {users} users with at least {min_behaviours} different items clicked, expected {LEAST_USERS} "
            "or more, since every tenth user is tested on: use a longer log"
        )


def _notes(
    rows: int, clicks: int, first: int, users: int, users_kept: int, several: int, min_behaviours: int
) -> tuple[str, ...]:
    notes = [f"{rows:,} rows"]
    if clicks < rows:
        notes.append(f"{rows - clicks:,} rows with label 0, impressions without a click, are no behaviours: left out")
    if several:
        notes.append(f"{several:,} items have several categories: the most frequent one counts")
    if first < clicks:
        notes.append(f"{clicks - first:,} clicks repeat an earlier one of the user on the item: left out")
    if users_kept < users:
        notes.append(f"{users - users_kept:,} of {users:,} users have fewer than {min_behaviours} behaviours: left out")
    return tuple(notes)


def _budget(users: int, steps: int | None) -> list[str]:
    """Return what to say of the budget that a run gets by itself: a pair of samples of each of 90 % of the users."""
    found = PASSES * -(-2 * round(0.9 * users) // BATCH_SIZE)
    if steps is not None or found >= FEW_STEPS:
        return []
    return [
        f"a run takes three passes over the training samples, about {found:,} steps of batch {BATCH_SIZE}, where one "
        "prediction a user trains: next to nothing is learned in so few. Give a budget: --steps 8100 is what Amazon's "
        "sets have"
    ]


def _check_absent(folder: Path) -> None:
    if folder.exists():
        raise UserError(
            f"{folder} is there already: another version of the data gets another name, so that records stay true. "
            "Delete the folder if nothing was run on it."
        )


def import_clicks(
    file: ClickFile,
    name: str,
    data_dir: Path,
    *,
    title: str | None = None,
    licence: str | None = None,
    min_behaviours: int = 2,
    steps: int | None = None,
    order_within_time: bool = True,
    report: Callable[[str], None] = print,
) -> Path:
    """Write the canonical table of a click log to `data_dir/<name>`, and return that folder.

    `steps` is the budget of a run, None: three passes over the training samples. `order_within_time=False` says that
    behaviours with one time have no known order. `report` is given the lines to show. Raises `UserError` for a name
    that is taken or impossible, for a log that `read_clicks` refuses, and where nothing can be written.
    """
    if not re.fullmatch(OWN_NAME, name) or name == "raw":
        raise UserError(f"a data set cannot be named {name!r}, expected small letters, digits, '-', '_': as my-clicks")
    if name in {*DATASETS, *FINISHED, *IMPRESSIONS}:
        raise UserError(f"{name} is a data set of the suite, expected a name of its own: as my-{name}")
    if steps is not None and steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    folder = Path(data_dir) / name
    _check_absent(folder)
    try:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        lock = Path(data_dir) / f".{name}.lease"
        with removing_when_terminated(), locked(lock, lambda holder: report(f"{name}: waiting for {holder}")):
            _check_absent(folder)  # another process may have imported it in the meantime
            raw = read_clicks(file, min_behaviours)
            for note in (*raw.notes, *_budget(len(raw.user_ids), steps)):
                report(f"{name}: {note}")
            spec = DatasetSpec(
                name=name, title=title or name, licence=licence or "not stated", steps=steps, expected=Counts(),
                read=no_reader, order_within_time=order_within_time,
            )  # fmt: skip
            report(f"{name}: {write_interactions(raw, spec, folder)}")
    except OSError as error:
        raise cannot_write(f"to {data_dir}", error, "choose another data directory") from error
    return folder
