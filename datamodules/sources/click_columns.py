"""Columns of a click log as texts become columns of known types, each cell checked.

What is wrong is said with the number of the row, counted from 1 without the header. Nothing is guessed: a time is unix
seconds or ISO 8601, one form for the whole file, and a number that could be milliseconds or a date is refused.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from datamodules.errors import UserError

EARLIEST, LATEST = 315_532_800, 4_102_444_800  # 1980 and 2100: other numbers are hardly unix seconds
TIMES = (
    "expected unix seconds, as 1511544070 or 1511544070.5, or ISO 8601, as 2017-11-25, 2017-11-25T01:21:10 or "
    "2017-11-25 01:21:10Z"
)
CLICKS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?")
PLAIN = r"^[0-9]{1,18}(\.[0-9]*)?$"  # of a number of seconds; an exponent may have cost digits
Kinds = tuple[Callable[[pa.DataType], bool], ...]
ZONED = re.compile(r".*:[0-9]{2}.*(Z|[+-][0-9]{2}(:?[0-9]{2})?)")


class Columns(NamedTuple):
    """The names of the columns; `label` is None where every row is a click."""

    user: str
    item: str
    category: str
    time: str
    label: str | None

    @property
    def names(self) -> list[str]:
        """Those that are there."""
        return [name for name in self if name is not None]


class Chunk(NamedTuple):
    """Some rows in the order of the file."""

    user: pa.StringArray  # (n,) without blanks at its ends, never empty
    item: pa.StringArray  # (n,)
    category: pa.StringArray  # (n,)
    time: NDArray[np.int64]  # (n,) seconds since 1970, UTC
    click: NDArray[np.bool_]  # (n,)


def checked(batch: pa.RecordBatch, path: Path, columns: Columns, times: "Times", done: int) -> Chunk:
    """Turn a batch whose rows start behind `done` others into columns of known types."""

    def column(name: str, *also: Callable[[pa.DataType], bool]) -> pa.Array:
        return _text(batch.column(name), name, path, done, also)

    click = np.ones(len(batch), bool)
    if (label := columns.label) is not None:
        values = pc.utf8_lower(column(label, pa.types.is_floating, pa.types.is_boolean))
        known = pc.is_in(values, pa.array(list(CLICKS)))
        if (row := _first(pc.invert(known))) is not None:
            raise _wrong(path, done + row, f"{label} is {values[row].as_py()!r}, expected 1 (click) or 0 (none)")
        click = pc.is_in(values, pa.array([text for text, value in CLICKS.items() if value])).to_numpy(False)
    user, item, category = (column(name) for name in columns[:3])
    raw = batch.column(columns.time)
    if not _is_moment(raw.type):
        raw = column(columns.time, pa.types.is_float64)
    elif (row := _first(raw.is_null())) is not None:
        raise _wrong(path, done + row, f"{columns.time} is missing")
    return Chunk(user, item, category, times.seconds(raw, done), click)


def _text(array: pa.Array, name: str, path: Path, done: int, also: Kinds) -> pa.Array:
    """Return a column as text without blanks at its ends; raises `UserError` where a cell is empty."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    fits = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    if not (fits or any(is_kind(kind) for is_kind in also) or pa.types.is_null(kind)):
        raise UserError(f"{path}: the column {name!r} is of type {array.type}, expected text or whole numbers")
    text = pc.utf8_trim_whitespace(array.cast(kind).cast(pa.string()))
    if (row := _first(pc.equal(pc.fill_null(text, ""), ""))) is not None:
        raise _wrong(path, done + row, f"{name} is missing")
    return text


class Times:
    """Turns cells into seconds; the first cell of the file decides which form all have."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.form: str | None = None

    def seconds(self, cells: pa.Array, done: int) -> NDArray[np.int64]:
        """Return cells (n,), text or timestamps, as seconds (n,); raises `UserError` for what is ambiguous.

        Dates, too, are of 1980 to 2100: 0001-01-01 stands for none, and seconds taken for nanoseconds are all of 1970.
        """
        found = self._seconds(cells, done)
        outside = np.flatnonzero((found < EARLIEST) | (found >= LATEST))
        if len(outside):
            what = f"{self.name} is {str(cells[int(outside[0])])!r}, expected a time from 1980 to 2100"
            raise _wrong(self.path, done + int(outside[0]), what)
        return found

    def _seconds(self, cells: pa.Array, done: int) -> NDArray[np.int64]:
        if _is_moment(cells.type):
            return self._cast(cells)
        if not len(cells):
            return np.zeros(0, np.int64)
        first = cells[0].as_py()
        self.form = self.form or ("number" if NUMBER.fullmatch(first) else "zone" if ZONED.fullmatch(first) else "iso")
        if self.form == "number":
            return self._numbers(cells, done)
        kind = pa.timestamp("us", "UTC" if self.form == "zone" else None)
        try:
            return self._cast(cells.cast(kind))
        except pa.ArrowInvalid:
            row = next(row for row in range(len(cells)) if not _casts(cells[row], kind))
            zone = " with a time zone, as in the rows before" if self.form == "zone" else ""
            found = f"{self.name} is {cells[row].as_py()!r}"
            raise _wrong(self.path, done + row, f"{found}, {TIMES}{zone}; one form for all rows") from None

    def _numbers(self, cells: pa.Array, done: int) -> NDArray[np.int64]:
        def wrong(row: int, what: str) -> UserError:
            return _wrong(self.path, done + row, f"{self.name} is {cells[row].as_py()!r}, {what}; {TIMES}")

        if (row := _first(pc.invert(pc.match_substring_regex(cells, PLAIN)))) is not None:
            raise wrong(row, "no plain number of seconds as in the rows before")
        whole = pc.replace_substring_regex(cells, r"\..*", "")  # fractions are cut off
        numbers: NDArray[np.int64] = whole.cast(pa.int64()).to_numpy()
        outside = np.flatnonzero((numbers < EARLIEST) | (numbers >= LATEST))
        if len(outside):
            finer = numbers[outside[0]] >= LATEST
            what = "milliseconds, it seems" if finer else "before 1980 as seconds: a date as a number, or a count"
            raise wrong(int(outside[0]), what)
        return numbers

    @staticmethod
    def _cast(cells: pa.Array) -> NDArray[np.int64]:
        zone = cells.type.tz if pa.types.is_timestamp(cells.type) else None
        seconds: NDArray[np.int64] = cells.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64()).to_numpy()
        return seconds


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))  # no time of day, no duration


def _casts(cell: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        cell.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _first(flags: pa.BooleanArray) -> int | None:
    """Return the first row whose flag is set, None where none is."""
    row = pc.index(flags, True).as_py()
    return None if row < 0 else row


def _wrong(path: Path, row: int, what: str) -> UserError:
    return UserError(f"{path}, row {row + 1:,}: {what}. (Rows are counted from 1, the header is not one.)")
