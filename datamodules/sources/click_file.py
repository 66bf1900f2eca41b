"""A click log as a stream of checked columns: CSV or Parquet, larger than memory if need be.

What is wrong with it is said with the number of the row, counted from 1 without the header. Nothing is guessed: a time
is unix seconds or ISO 8601, one form for the whole file, and a number that could be milliseconds or a date is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datamodules.errors import UserError, unknown_name

BLOCK = 1 << 24  # bytes of a CSV file that are parsed at once; a row must fit into it
ROWS = 1 << 18  # of a Parquet file that are read at once
EARLIEST, LATEST = 315_532_800, 4_102_444_800  # 1980 and 2100: other numbers are hardly unix seconds
TIMES = "expected unix seconds, as 1511544070, or ISO 8601, as 2017-11-25, 2017-11-25T01:21:10 or 2017-11-25 01:21:10Z"
CLICKS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?")
ZONED = re.compile(r".*:[0-9]{2}.*(Z|[+-][0-9]{2}(:?[0-9]{2})?)")


@dataclass(frozen=True)
class ClickFile:
    """A file, and the names of its columns."""

    path: Path
    user: str = "user"
    item: str = "item"
    category: str = "category"
    time: str = "time"
    label: str | None = None  # None: "label" where the file has such a column, else every row is a click
    delimiter: str = ","


class Chunk(NamedTuple):
    """Some rows in the order of the file."""

    user: pa.StringArray  # (n,) without blanks at its ends, never empty
    item: pa.StringArray  # (n,)
    category: pa.StringArray  # (n,)
    time: NDArray[np.int64]  # (n,) seconds since 1970, UTC
    click: NDArray[np.bool_]  # (n,)


def read_chunks(file: ClickFile) -> Iterator[Chunk]:
    """Yield the rows of a click log; raises `UserError` at the first row, column or byte that is not as it must be."""
    try:
        with file.path.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise UserError(f"cannot read {file.path}: {error.strerror}. Expected a CSV or Parquet file.") from error
    if not start:
        raise UserError(f"{file.path} is empty, expected a header and rows")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{file.path} is UTF-16, expected UTF-8: save it anew as 'CSV UTF-8'")
    parquet, done, times = start == b"PAR1", 0, _Times()
    try:
        label = _check_columns(file, pq.read_schema(file.path).names if parquet else _header(file))
        for batch in _parquet(file, label) if parquet else _csv(file, label):
            yield _checked(batch, file, label, times, done)
            done += len(batch)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file.path} cannot be read behind row {done:,}: {_reason(error)}") from error
    if not done:
        raise UserError(f"{file.path} has a header and no rows")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "UTF8" in text or isinstance(error, UnicodeDecodeError):
        return f"{text}. Expected UTF-8: save the file anew as 'CSV UTF-8'"
    return f"{text}. Expected one row a line with as many cells as the header, text with the delimiter in double quotes"


def _header(file: ClickFile) -> list[str]:
    names: list[str] = _open_csv(file, pa_csv.ConvertOptions()).schema.names
    return names


def _open_csv(file: ClickFile, convert: pa_csv.ConvertOptions) -> pa_csv.CSVStreamingReader:
    return pa_csv.open_csv(
        file.path,
        pa_csv.ReadOptions(use_threads=False, block_size=BLOCK),  # so that errors name the row
        pa_csv.ParseOptions(delimiter=file.delimiter, newlines_in_values=True),
        convert,
    )


def _wanted(file: ClickFile, label: str | None) -> list[str]:
    return [file.user, file.item, file.category, file.time, *([label] if label else [])]


def _csv(file: ClickFile, label: str | None) -> Iterator[pa.RecordBatch]:
    names = _wanted(file, label)
    text = pa_csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
    yield from _open_csv(file, text)


def _parquet(file: ClickFile, label: str | None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file.path) as opened:
        yield from opened.iter_batches(ROWS, columns=_wanted(file, label))


def _check_columns(file: ClickFile, found: list[str]) -> str | None:
    """Return the name of the label's column, None where there is none; every column must stand there once."""
    label = file.label or ("label" if "label" in found else None)
    for name in _wanted(file, label):
        if name not in found:
            raise UserError(
                f"{unknown_name('column', name, found)}. Name the columns of {file.path} with --user, --item, "
                "--category, --time, --label, and what stands between two cells with --delimiter."
            )
        if found.count(name) > 1:
            raise UserError(f"{file.path} has {found.count(name)} columns {name!r}, expected one: rename the others")
    if len(set(_wanted(file, label))) < len(_wanted(file, label)):
        raise UserError(f"a column is named twice among {', '.join(_wanted(file, label))}: each has one meaning")
    return label


def _checked(batch: pa.RecordBatch, file: ClickFile, label: str | None, times: "_Times", done: int) -> Chunk:
    """Turn a batch whose rows start behind `done` others into columns of known types."""

    def column(name: str, *, any_type: bool = False) -> pa.Array:
        return _text(batch.column(name), name, file.path, done, any_type)

    click = np.ones(len(batch), bool)
    if label is not None:
        values = pc.utf8_lower(column(label, any_type=True))
        known = pc.is_in(values, pa.array(list(CLICKS)))
        if (row := _first(pc.invert(known))) is not None:
            raise _wrong(file.path, done + row, f"{label} is {values[row].as_py()!r}, expected 1 (click) or 0 (none)")
        click = pc.is_in(values, pa.array([text for text, value in CLICKS.items() if value])).to_numpy(False)
    user, item, category = (column(name) for name in (file.user, file.item, file.category))
    raw = batch.column(file.time)
    if not pa.types.is_temporal(raw.type):
        raw = column(file.time)
    elif (row := _first(raw.is_null())) is not None:
        raise _wrong(file.path, done + row, f"{file.time} is missing")
    return Chunk(user, item, category, times.seconds(raw, file, done), click)


def _text(array: pa.Array, name: str, path: Path, done: int, any_type: bool) -> pa.Array:
    """Return a column as text without blanks at its ends; raises `UserError` where a cell is empty."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    fits = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    if not (fits or any_type or pa.types.is_null(kind)):
        raise UserError(f"{path}: the column {name!r} is of type {array.type}, expected text or whole numbers")
    text = pc.utf8_trim_whitespace(array.cast(kind).cast(pa.string()))
    if (row := _first(pc.equal(pc.fill_null(text, ""), ""))) is not None:
        raise _wrong(path, done + row, f"{name} is missing")
    return text


class _Times:
    """Turns cells into seconds; the first cell of the file decides which form all have."""

    def __init__(self) -> None:
        self.form: str | None = None

    def seconds(self, cells: pa.Array, file: ClickFile, done: int) -> NDArray[np.int64]:
        """Return cells (n,), text or timestamps, as seconds (n,); raises `UserError` for what is ambiguous."""
        if pa.types.is_temporal(cells.type):
            return self._cast(cells)
        if not len(cells):
            return np.zeros(0, np.int64)
        first = cells[0].as_py()
        self.form = self.form or ("number" if NUMBER.fullmatch(first) else "zone" if ZONED.fullmatch(first) else "iso")
        if self.form == "number":
            return self._numbers(cells, file, done)
        kind = pa.timestamp("us", "UTC" if self.form == "zone" else None)
        try:
            return self._cast(cells.cast(kind))
        except pa.ArrowInvalid:
            row = next(row for row in range(len(cells)) if not _casts(cells[row], kind))
            zone = " with a time zone, as in the rows before" if self.form == "zone" else ""
            found = f"{file.time} is {cells[row].as_py()!r}"
            raise _wrong(file.path, done + row, f"{found}, {TIMES}{zone}; one form for all rows") from None

    @staticmethod
    def _numbers(cells: pa.Array, file: ClickFile, done: int) -> NDArray[np.int64]:
        def wrong(row: int, what: str) -> UserError:
            return _wrong(file.path, done + row, f"{file.time} is {cells[row].as_py()!r}, {what}; {TIMES}")

        if (row := _first(pc.invert(pc.match_substring_regex(cells, "^[0-9]{1,18}$")))) is not None:
            raise wrong(row, "no whole number of seconds as in the rows before")
        numbers: NDArray[np.int64] = cells.cast(pa.int64()).to_numpy()
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
