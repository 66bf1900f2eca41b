"""The canonical table: every data set becomes one `interactions.parquet` with a `manifest.json` beside it.

`categories.json` beside them is the list of the categories' names, that of category k at place k - 1.

A row is one behaviour: `user` 0..U-1, `item` 1..I, `category` 1..C (int32), `time` in seconds (int64) and
`catalogue_rank` 0..I-1 (int32), the rank of the raw item id among all raw item ids sorted as strings. Item
and category 0 are left for padding. Rows are sorted by user, time and item number.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.errors import UserError
from datamodules.files.manifest import file_sha256, load_manifest, prepare_again, preparing
from datamodules.sources.spec import Counts, DatasetSpec, Int32, Int64, RawInteractions

TABLE, NAMES = "interactions.parquet", "categories.json"
SCHEMA = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("category", pa.int32(), nullable=False),
        pa.field("time", pa.int64(), nullable=False),
        pa.field("catalogue_rank", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, eq=False)
class Interactions:
    """The canonical table in memory: five arrays (N,) as described at the top, and the manifest."""

    user: Int32
    item: Int32
    category: Int32
    time: Int64
    catalogue_rank: Int32
    manifest: dict[str, Any]

    @property
    def users(self) -> int:
        """U: users are 0..U-1."""
        return int(self.manifest["counts"]["users"])

    @property
    def items(self) -> int:
        """I: items are 1..I."""
        return int(self.manifest["counts"]["items"])

    @property
    def categories(self) -> int:
        """C: categories are 1..C."""
        return int(self.manifest["counts"]["categories"])


def number_ids(ids: list[str], stream: int) -> tuple[Int32, Int32]:
    """Return for each raw id its rank in string order and its number, both 0..n-1.

    Numbers are a random permutation of the ranks, always the same for one `stream`, so that a number tells
    nothing about the catalogue. PCG64's raw bits are used since NumPy never changes them; its shuffles may.

    >>> rank, number = number_ids(["b", "a", "c"], stream=0)
    >>> rank.tolist(), sorted(number.tolist())
    ([1, 0, 2], [0, 1, 2])
    """
    rank = np.empty(len(ids), np.int32)
    rank[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids), dtype=np.int32)
    shuffled = np.argsort(np.random.PCG64(stream).random_raw(len(ids)), kind="stable").astype(np.int32)
    return rank, shuffled[rank]


def number_interactions(raw: RawInteractions) -> pa.Table:
    """Turn raw ids into numbers and sort the rows; returns the canonical table."""
    _, user_number = number_ids(raw.user_ids, stream=0)
    item_rank, item_number = number_ids(raw.item_ids, stream=1)
    number_of = {name: number for number, name in enumerate(category_names(raw), start=1)}
    item_category = np.array([number_of[raw.category_of[item]] for item in raw.item_ids], np.int32)

    user, item = user_number[raw.user], item_number[raw.item] + 1
    order = _sort(user, raw.time, item)
    rows = raw.item[order]
    columns = [user[order], item[order], item_category[rows], raw.time[order], item_rank[rows]]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)


def category_names(raw: RawInteractions) -> list[str]:
    """Return the names of the categories 1..C in the order of their numbers."""
    names = sorted(set(raw.category_of.values()))
    _, number = number_ids(names, stream=2)
    return [names[place] for place in np.argsort(number)]


def _sort(user: Int32, time: Int64, item: Int32) -> npt.NDArray[np.intp]:
    """Return the order of the rows by user, time and item.

    Where the three fit into one number of 63 bits, as they do with times in whole days, one sort is enough. Rows equal
    in all three may then stand in any order, for they are equal in all columns.
    """
    since = time - time.min()
    since //= max(np.gcd.reduce(since), 1)  # 0 where all times are the same
    users, times, items = (int(column.max()) + 1 for column in (user, since, item))
    if users * times * items >= 1 << 63:
        return np.lexsort((item, time, user))
    return np.argsort((user * np.int64(times) + since) * items + item)


def write_interactions(raw: RawInteractions, spec: DatasetSpec, folder: Path) -> Counts:
    """Write the canonical table and its manifest into `folder` and return the counts.

    A table that is there stays as it was until all of this is written.
    """
    table = number_interactions(raw)
    manifest = {
        **spec.described,
        "order_within_time": spec.order_within_time,
        "inputs": raw.inputs,
        "counts": asdict(raw.counts),
        "malformed_lines": raw.malformed,
        "items_without_category": raw.missing_categories,
        "notes": list(raw.notes),
        "content_sha256": _content_sha256(table),
    }
    with preparing(folder, manifest) as partial:
        pq.write_table(table, partial / TABLE, compression="zstd")
        manifest["sha256"] = file_sha256(partial / TABLE)
        (partial / NAMES).write_text(json.dumps(category_names(raw), indent=0) + "\n", "utf-8")
    return raw.counts


def load_interactions(folder: Path) -> Interactions:
    """Read a prepared folder.

    Raises `UserError` where there is none, where it is damaged, and where another reader version wrote it.
    """
    manifest = load_manifest(folder)
    try:
        found = file_sha256(folder / TABLE)
        if found != manifest["sha256"]:
            raise ValueError(f"its sha256 is {found}, the manifest says {manifest['sha256']}")
        counts = Counts(**manifest["counts"])
        with pq.ParquetFile(folder / TABLE) as file:  # its schema and rows first: a few bytes can stand for gigabytes
            problem = _problem_of_file(file, counts)
            table = SCHEMA.empty_table() if problem else file.read()
        problem = problem or _problem(table, counts)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException) as error:
        problem = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
    if problem:
        raise UserError(f"{folder / TABLE} is damaged: {problem}. {prepare_again(folder)}")
    # Copies, since what Arrow lends is read-only, and torch.from_numpy warns about such arrays.
    user, item, category, time, catalogue_rank = (column.to_numpy().copy() for column in table.columns)
    return Interactions(user, item, category, time, catalogue_rank, manifest)


def load_category_names(folder: Path) -> list[str]:
    """Return the names of the categories 1..C of a prepared folder, that of category k at place k - 1.

    Raises `UserError` where the folder has none, as one that was prepared by an older version, or damaged ones.
    """
    again, manifest = prepare_again(folder), load_manifest(folder)
    try:
        count = manifest["counts"]["categories"]
        names = json.loads((folder / NAMES).read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder / NAMES}, the names of the categories, is missing. {again}") from None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(f"{folder / NAMES} cannot be read: {error}. {again}") from None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise UserError(f"{folder / NAMES} does not hold {count} names. {again}")
    return names


def _content_sha256(table: pa.Table) -> str:
    """Return the sha256 of the numbers, which unlike the file's is the same for every version of Arrow."""
    digest = hashlib.sha256()
    for column in table.columns:
        digest.update(column.to_numpy().data)
    return digest.hexdigest()


def _problem_of_file(file: pq.ParquetFile, counts: Counts) -> str | None:
    """Return what is wrong with a table, as far as can be seen before it is read, or None."""
    if not file.schema_arrow.equals(SCHEMA):
        found, expected = (", ".join(f"{f.name} {f.type}" for f in s) for s in (file.schema_arrow, SCHEMA))
        return f"it has the columns {found}, expected {expected}"
    if (rows := file.metadata.num_rows) != counts.interactions or rows == 0:
        return f"it holds {rows:,} interactions, the manifest says {counts}"
    return None


def _problem(table: pa.Table, counts: Counts) -> str | None:
    """Return what is wrong with the rows of a table, or None."""
    if any(column.null_count for column in table.columns):
        return "it has empty cells"
    user, item, category, time, rank = (column.to_numpy() for column in table.columns)
    lowest = min(int(user.min()), int(item.min()) - 1, int(category.min()) - 1, int(rank.min()))
    if lowest < 0:
        return "numbers start below their first value (users and ranks 0, items and categories 1)"
    highest = (int(user.max()) + 1, int(item.max()), int(category.max()))
    if max(highest) > len(user):  # each number has a row
        return "numbers go beyond their last value"
    distinct = [np.count_nonzero(np.bincount(numbers)) for numbers in (user, item, category)]
    found_counts = Counts(len(user), *(int(n) for n in distinct))
    if found_counts != counts:
        return f"it holds {found_counts}, the manifest says {counts}"
    if highest != (counts.users, counts.items, counts.categories) or int(rank.max()) >= int(item.max()):
        return "numbers go beyond their last value"
    same_user = user[1:] == user[:-1]
    if np.any(user[1:] < user[:-1]) or np.any(same_user & (time[1:] < time[:-1])):
        return "its rows are not sorted by user and time"
    for name, numbers in (("category", category), ("catalogue rank", rank)):
        of_item = np.zeros(highest[1] + 1, np.int32)
        of_item[item] = numbers
        if np.any(of_item[item] != numbers):
            return f"an item has more than one {name}"
    if len(np.unique(of_item[1:])) < highest[1]:
        return "two items have one catalogue rank"
    return None
