"""A click log as a stream of checked columns: CSV or Parquet, larger than memory if need be.

What a file is is told by its first bytes and not by its name: Parquet, or CSV, as it is or in gzip, bzip2, zstd, lz4 or
a zip archive. A row of a CSV file is one line: a quote that opens on one line and closes on another would swallow the
rows between, so it is refused, or the user says what quotes are.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from datamodules.errors import UserError, printable, unknown_name
from datamodules.sources.click_columns import Chunk, Columns, Times, checked

BLOCK = 1 << 24  # bytes of a CSV file that are parsed at once; a row must fit into it
ROWS = 1 << 18  # of a Parquet file that are read at once
CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
DATA = re.compile(r"(?!.*[^\W\d_]).*\d.*|\d{4}-\d\d-\d\d.*")  # a cell that names no column: digits without letters
Quotes = Literal[
    "line",  # text may stand in double quotes, which close on their line
    "none",  # a quote is a character like any other
    "multiline",  # text in double quotes may hold line breaks
]
REPAIR = (
    "If quotes are ordinary characters in this file, say --quotes none; if cells may hold line breaks, "
    "say --quotes multiline"
)


@dataclass(frozen=True)
class ClickFile:
    """A file, the names of its columns, and how a CSV file is written."""

    path: Path
    user: str = "user"
    item: str = "item"
    category: str = "category"
    time: str = "time"
    label: str | None = None  # None: "label" where the file has such a column, else every row is a click
    delimiter: str = ","
    columns: tuple[str, ...] | None = None  # the names of all columns, of a CSV file without a header
    quotes: Quotes = "line"


def read_chunks(file: ClickFile) -> Iterator[Chunk]:
    """Yield the rows of a click log; raises `UserError` at the first row, column or byte that is not as it must be."""
    try:
        with file.path.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise UserError(f"cannot read {file.path}: {error.strerror}. Expected a CSV or Parquet file.") from error
    if not start:
        raise UserError(f"{file.path} is empty, expected a header and rows")
    done, times = 0, Times(file.path, file.time)
    try:
        for batch, columns in _parquet(file) if start == b"PAR1" else _csv(file):
            yield checked(batch, file.path, columns, times, done)
            done += len(batch)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{file.path} cannot be read behind row {done:,}: {_reason(error)}") from error
    if not done:
        raise UserError(f"{file.path} has {'no rows' if file.columns else 'a header and no rows'}")


def _reason(error: Exception) -> str:
    text = printable(" ".join(str(error).split()))
    if "UTF8" in text or isinstance(error, UnicodeDecodeError):
        return f"{text}. Expected UTF-8: save the file anew as 'CSV UTF-8'"
    return f"{text}. Expected one row a line with as many cells as the header, text with the delimiter in double quotes"


def _parquet(file: ClickFile) -> Iterator[tuple[pa.RecordBatch, Columns]]:
    if file.columns:
        raise UserError(f"{file.path} is a Parquet file, which names its columns itself: leave out --columns")
    with pq.ParquetFile(file.path) as opened:
        columns = _check_columns(file, opened.schema_arrow.names)
        for batch in opened.iter_batches(ROWS, columns=columns.names):
            yield batch, columns


def _csv(file: ClickFile) -> Iterator[tuple[pa.RecordBatch, Columns]]:
    with _content(file.path) as stream:
        yield from _csv_of_any_rows(file, stream) if file.quotes == "multiline" else _csv_of_lines(file, stream)


@contextmanager
def _content(path: Path) -> Iterator[io.BufferedReader]:
    """Yield the text of a file, decompressed as its first bytes say; raises `UserError` where it is no UTF-8 text."""
    with path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        codec = next((name for magic, name in CODECS.items() if start.startswith(magic)), None)
        if start == b"PK\x03\x04":
            stream: IO[bytes] = _only_member(path, raw)
        else:
            stream = pa.CompressedInputStream(raw, codec) if codec else raw
        head = stream.read(1 << 16)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{path} is UTF-16, expected UTF-8: save it anew as 'CSV UTF-8'")
        if b"\0" in head:
            raise UserError(f"{path} holds no text: it begins with {head[:16]!r}, expected CSV in UTF-8 or Parquet")
        rest = io.BytesIO(head.removeprefix(b"\xef\xbb\xbf"))
        yield io.BufferedReader(_Joined(rest, stream), len(head) or 1)


class _Joined(io.RawIOBase):
    """Bytes that were read already, and those behind them."""

    def __init__(self, first: IO[bytes], second: IO[bytes]) -> None:
        self._parts = [first, second]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._parts:
            if content := self._parts[0].read(len(buffer)):
                buffer[: len(content)] = content
                return len(content)
            self._parts.pop(0)
        return 0


def _only_member(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Open the one file in a zip archive; what macOS adds is not counted."""
    archive = zipfile.ZipFile(raw)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise UserError(f"{path} is a zip archive of {len(names)} files (or a workbook), expected one CSV file in it")
    try:
        return archive.open(names[0])
    except (RuntimeError, NotImplementedError) as error:  # a password, an unknown method
        raise UserError(f"{path}: {error}. Unpack it first.") from error


def _csv_of_any_rows(file: ClickFile, stream: io.BufferedReader) -> Iterator[tuple[pa.RecordBatch, Columns]]:
    """Rows that may have line breaks in quotes."""
    reading = pa_csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=file.columns)  # errors name the row
    parsing = pa_csv.ParseOptions(delimiter=file.delimiter, newlines_in_values=True)
    columns = _check_columns(file, list(file.columns or _header(file, stream.peek())))
    for batch in pa_csv.open_csv(stream, reading, parsing, _as_text(columns)):
        yield batch, columns


def _as_text(columns: Columns) -> pa_csv.ConvertOptions:
    return pa_csv.ConvertOptions(include_columns=columns.names, column_types=dict.fromkeys(columns.names, pa.string()))


def _csv_of_lines(file: ClickFile, stream: io.BufferedReader) -> Iterator[tuple[pa.RecordBatch, Columns]]:
    """Rows that are one line each."""
    columns, names, done = None, list(file.columns or ()), 0
    for block in _blocks(file.path, stream):
        if not names:
            filled = block.lstrip(b"\r\n")
            line = filled.splitlines()[0] if filled else b""
            names, block = _header(file, line), filled[len(line) :]
        columns = columns or _check_columns(file, names)
        for batch in _Lines(file, names, columns).read(block, done):
            yield batch, columns
            done += len(batch)


def _blocks(path: Path, stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield a text in blocks of whole lines, which end with a newline, or with a return where there are no newlines."""
    rest = b""
    while piece := stream.read(BLOCK):
        block = rest + piece
        end = block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, -1) + 1
        if end:
            yield block[:end]
        elif len(block) > BLOCK:
            raise UserError(f"{path} has a line of more than {BLOCK:,} bytes, expected one row a line")
        rest = block[end:]
    if rest:
        yield rest + b"\n"


def _header(file: ClickFile, text: bytes) -> list[str]:
    """Return the cells of the first row of a text."""
    try:
        return _cells(file, text)
    except csv.Error as error:
        raise UserError(f"{file.path}: the header cannot be read ({error}). {REPAIR}.") from error


def _cells(file: ClickFile, text: bytes) -> list[str]:
    lines = io.StringIO(text.decode("utf-8", "strict" if file.quotes != "multiline" else "replace"), newline="")
    quoting: Any = csv.QUOTE_NONE if file.quotes == "none" else csv.QUOTE_MINIMAL
    return next(filter(None, csv.reader(lines, delimiter=file.delimiter, quoting=quoting, strict=True)), [])


@dataclass(frozen=True)
class _Lines:
    """Parses blocks of whole lines."""

    file: ClickFile
    names: list[str]
    columns: Columns

    def read(self, block: bytes, done: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a block that stand behind `done` others; raises `UserError` at a line that is no row."""
        lines = [line for line in block.splitlines(keepends=True) if line.strip(b"\r\n")]
        if not lines:
            return
        table = self._parse(lines)
        if table is None:
            least, most = 0, len(lines)  # so many lines are rows, so many are not
            while most - least > 1:
                middle = (least + most) // 2
                least, most = (least, middle) if self._parse(lines[:middle]) is None else (middle, most)
            raise self._wrong(lines[least], done + least)
        yield from table.to_batches()

    def _parse(self, lines: list[bytes]) -> pa.Table | None:
        """Return as many rows as lines, None where these are not all rows.

        One more row, of empty cells, follows them: a quote that is still open swallows it.
        """
        block = b"".join([*lines, b"" if lines[-1].endswith((b"\n", b"\r")) else b"\n", self._empty])
        try:
            table = self._table(block)
        except pa.ArrowInvalid:
            return None
        return table.slice(0, len(lines)) if len(table) == len(lines) + 1 else None

    @property
    def _empty(self) -> bytes:
        return self.file.delimiter.encode() * (len(self.names) - 1) + b"\n"

    def _table(self, block: bytes) -> pa.Table:
        return pa_csv.read_csv(
            pa.BufferReader(block),
            pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=self.names),
            pa_csv.ParseOptions(
                delimiter=self.file.delimiter,
                quote_char=False if self.file.quotes == "none" else '"',
                newlines_in_values=True,
            ),
            _as_text(self.columns),
        )

    def _wrong(self, line: bytes, row: int) -> UserError:
        """Return what is wrong with a line that is no row."""
        text = printable(line.decode("utf-8", "replace").rstrip("\r\n"))
        where, shown = f"{self.file.path}, row {row + 1:,}", text if len(text) <= 100 else text[:100] + "..."
        try:
            found = len(_cells(self.file, line))
        except UnicodeDecodeError as error:
            return UserError(f"{where} is not UTF-8 ({error}): {shown}\nSave the file anew as 'CSV UTF-8'.")
        except csv.Error:
            found = 0
        if found == len(self.names):
            try:
                self._table(line + self._empty)
            except pa.ArrowInvalid as error:
                return UserError(f"{where} cannot be read, {_reason(error)}: {shown}")
        if found and found != len(self.names):
            names = "--columns" if self.file.columns else "the header"
            what = f"has {found} cells, expected {len(self.names)} as in {names}"
            return UserError(f"{where} {what}: {shown}\nText that holds the delimiter stands in double quotes.")
        return UserError(f"{where} is not a line: a quote opens a cell and does not close there: {shown}\n{REPAIR}.")


def _check_columns(file: ClickFile, found: list[str]) -> Columns:
    """Return the names of the columns, each of which must stand there once."""
    label = file.label or ("label" if "label" in found else None)
    columns = Columns(file.user, file.item, file.category, file.time, label)
    for name in columns.names:
        if name not in found:
            if not file.columns and any(DATA.fullmatch(cell) for text in found for cell in re.split("[;|\t]", text)):
                raise UserError(
                    f"{file.path} has no header, it seems: its first row looks like data, {printable(str(found))}. "
                    "Name its columns in their order, with --columns user,item,category,time (any name for what is not "
                    "needed); --delimiter says what stands between two cells."
                )
            raise UserError(
                f"{unknown_name('column', name, found)}. Name the columns of {file.path} with --user, --item, "
                "--category, --time, --label, those of a file without a header with --columns, and what stands between "
                "two cells with --delimiter."
            )
        if found.count(name) > 1:
            raise UserError(f"{file.path} has {found.count(name)} columns {name!r}, expected one: rename the others")
    if len(set(columns.names)) < len(columns.names):
        raise UserError(f"a column is named twice among {', '.join(columns.names)}: each has one meaning")
    return columns
