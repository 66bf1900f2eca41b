"""From columns of a raw file to codes."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from datamodules.errors import UserError

Int32 = NDArray[np.int32]
MOST_ID = 1 << 26  # raw ids are below this, so that a table with a place for each fits in memory


def ids(column: pa.Array | pa.ChunkedArray, what: str) -> Int32:
    """Return raw ids plus 1, and 0 for null; raises `UserError` where one is negative or beyond `MOST_ID`.

    >>> ids(pa.array([0, 7, None], pa.int32()), "brand").tolist()
    [1, 8, 0]
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    found: Int32 = pc.fill_null(column, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    if len(found) and (found.max() >= MOST_ID or int(pc.min(column).as_py() or 0) < 0):
        raise UserError(f"a {what} lies outside of 0 to {MOST_ID:,}: the file is not of this data set")
    return found + 1


def different(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return the different numbers, sorted; on millions many times as fast as np.unique, which hashes them.

    >>> different(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    together = np.sort(numbers)
    first = np.ones(len(together), bool)
    first[1:] = together[1:] != together[:-1]
    return together[first]


def ranks(values: NDArray[Any]) -> tuple[Int32, int]:
    """Return each value's rank among the different values, from 1, and how many these are; 0 (null) stays 0.

    >>> ranks(np.array([30, 0, 10, 30]))
    (array([2, 0, 1, 2], dtype=int32), 2)
    """
    known = different(values)
    known = known[known != 0]
    return np.where(values == 0, 0, np.searchsorted(known, values) + 1).astype(np.int32), len(known)


def text_ranks(column: pa.Array | pa.ChunkedArray) -> Int32:
    """Return each text's rank among the different texts, from 1; 0 for null.

    >>> text_ranks(pa.array(["b", None, "a"])).tolist()
    [2, 0, 1]
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    column = column.cast(pa.string())
    known = pc.unique(column.drop_null()).sort()
    found: Int32 = (
        pc.fill_null(pc.add(pc.index_in(column, known), 1), 0).to_numpy(zero_copy_only=False).astype(np.int32)
    )
    return found


def rows_of(keys: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.intp]:
    """Return the row of the first of the keys (K,) that is each wanted one (W,), -1 where there is none.

    >>> rows_of(np.array([5, 3, 5]), np.array([3, 4, 5])).tolist()
    [1, -1, 0]
    """
    known, first = np.unique(keys, return_index=True)
    place = np.searchsorted(known, wanted)
    found = np.append(known, -1)[place] == wanted
    return np.where(found, np.append(first, -1)[place], -1)


def values_at(values: NDArray[Any], row: NDArray[np.intp]) -> NDArray[Any]:
    """Return the values at rows (W,), 0 where the row is -1."""
    return np.append(values, values.dtype.type(0))[row]


def in_share(user: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Return which raw users (N,) belong to a share, 0 to 1, of all: always the same, and a larger share has them too.

    The bits of an id are mixed (the finaliser of splitmix64), so that neighbouring ids have nothing in common.
    """
    if share >= 1:
        return np.ones(len(user), bool)
    mixed = user.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed < np.uint64(int(share * 2**64))
