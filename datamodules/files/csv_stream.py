"""Streams a csv table with Arrow: plain, inside .gz, .tar.gz or .zip, of any length in little memory."""

import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
from isal import igzip, isal_zlib

from datamodules.errors import UserError
from datamodules.files.gzip_blocks import LONGEST_LINE, mend

BLOCK = 1 << 25  # bytes of text that become one batch
TOLERATED = 1000  # one malformed line among so many is counted and left out, more stop the preparation
NULLS = ["", "NULL", "null"]


class Hashed(io.RawIOBase):
    """A file whose bytes go into a digest as they are read, once and in order."""

    def __init__(self, file: IO[bytes], digest: "hashlib._Hash") -> None:
        self.file, self.digest = file, digest

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self.file.read(size)
        self.digest.update(content)
        return content

    def readline(self, size: int | None = -1) -> Any:
        """The next line."""
        line = self.file.readline(-1 if size is None else size)
        self.digest.update(line)
        return line


@dataclass
class CsvTable:
    """One table: the wanted columns with their types, and once it was read its rows and malformed lines.

    Names in the header are taken without spaces around them. `aliases`: other name in a header -> name. `member`:
    pattern of the file's name in a .tar.gz or .zip. `md5`: of the text, where its source publishes it. A cell that is
    empty or NULL is null.
    """

    path: Path
    columns: Mapping[str, pa.DataType]
    aliases: Mapping[str, str] = field(default_factory=dict)
    member: str = "*.csv"
    md5: str | None = None
    rows: int = 0
    malformed: int = 0  # lines with another number of cells, left out

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, in batches of about `BLOCK` bytes of text.

        Raises `UserError` where the file is damaged, lacks a column or holds something else than its type says.
        """
        self.rows = self.malformed = 0
        try:
            with ExitStack() as stack:
                file = self._open(stack)
                digest = hashlib.md5(usedforsecurity=False)
                for batch in self._reader(Hashed(file, digest) if self.md5 else file):
                    self.rows += batch.num_rows
                    yield batch
                if self.md5 and (found := digest.hexdigest()) != self.md5:
                    raise UserError(
                        f"{self.path}: the md5 of {self.member} is {found}, expected {self.md5}. {mend(self.path)}"
                    )
        except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self.path} is cut short or no archive: {error}. {mend(self.path)}") from None
        except (BadGzipFile, isal_zlib.error, pa.ArrowInvalid, UnicodeDecodeError) as error:  # type: ignore[misc]
            raise UserError(f"{self.path} cannot be read as csv: {error}. {mend(self.path)}") from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror or error}. {mend(self.path)}") from None
        if self.malformed * TOLERATED > self.rows:
            raise UserError(
                f"{self.path}: {self.malformed:,} of {self.rows + self.malformed:,} lines have another number of cells "
                f"than the header, more than 1 in {TOLERATED:,}. {mend(self.path)}"
            )

    def read(self) -> pa.Table:
        """Return all rows; raises `UserError` as `batches` does."""
        batches = list(self.batches())
        return pa.Table.from_batches(batches, pa.schema(list(self.columns.items())))

    def _reader(self, file: IO[bytes] | Hashed) -> pa_csv.CSVStreamingReader:
        head = file.readline(LONGEST_LINE)
        names = [name.strip().strip('"').strip() for name in head.decode("utf-8-sig").split(",")]
        names = [self.aliases.get(name, name) for name in names]
        if missing := [name for name in self.columns if name not in names]:
            raise UserError(
                f"{self.path} lacks the columns {', '.join(missing)}: its header is {head[:200]!r}. {mend(self.path)}"
            )

        def leave_out(row: pa_csv.InvalidRow) -> str:
            self.malformed += 1
            return "skip"

        return pa_csv.open_csv(
            file,
            pa_csv.ReadOptions(column_names=names, block_size=BLOCK),
            pa_csv.ParseOptions(invalid_row_handler=leave_out),
            pa_csv.ConvertOptions(
                column_types=dict(self.columns),
                include_columns=list(self.columns),
                null_values=NULLS,
                strings_can_be_null=True,
            ),
        )

    def _open(self, stack: ExitStack) -> IO[bytes]:
        """Open the text; all that must be closed goes to `stack`."""
        name = self.path.name.lower()
        if name.endswith(".zip"):
            archive_of_zip = stack.enter_context(zipfile.ZipFile(self.path))
            inside = archive_of_zip.namelist()
            for one in inside:
                if fnmatch(PurePosixPath(one).name, self.member):
                    return io.BufferedReader(stack.enter_context(archive_of_zip.open(one)))  # type: ignore[type-var]
            raise UserError(
                f"{self.path} holds no file {self.member}, only {', '.join(inside[:20])}. {mend(self.path)}"
            )
        if not name.endswith((".gz", ".tgz")):
            return stack.enter_context(self.path.open("rb"))
        unpacked: IO[bytes] = stack.enter_context(igzip.open(self.path, "rb"))  # type: ignore[no-untyped-call]
        if not name.endswith((".tar.gz", ".tgz")):
            return io.BufferedReader(unpacked)  # type: ignore[type-var]
        found = []
        archive = stack.enter_context(tarfile.open(fileobj=unpacked, mode="r|"))  # noqa: SIM115
        for entry in archive:  # nothing of an archive is ever written to a folder
            plain = PurePosixPath(entry.name).name
            found += [entry.name]
            if entry.isfile() and fnmatch(plain, self.member) and not plain.startswith("."):
                content = archive.extractfile(entry)
                assert content is not None
                return stack.enter_context(content)
        raise UserError(f"{self.path} holds no file {self.member}, only {', '.join(found[:20])}. {mend(self.path)}")
