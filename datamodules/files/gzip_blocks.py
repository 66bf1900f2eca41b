"""Reads gzip files in blocks of whole lines, decompressing one block while the last is worked on."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from gzip import BadGzipFile
from pathlib import Path
from typing import IO

from isal import igzip, isal_zlib

from datamodules.errors import UserError

BLOCK = 1 << 22  # bytes: fits the processor's last cache, so that the block is read from there
MOST_UNPACKED = 200  # bytes that a byte of a file may stand for; text has 3 to 20, a file made to fill a disk 1,000
FREE = 1 << 26  # bytes that any file may have
LONGEST_LINE = 1 << 20  # bytes; real lines stay far below, and a parser needs hundreds of bytes a byte


def mend(path: Path) -> str:
    """Return what to do about a damaged file."""
    return f"Delete {path} and run the command again, or put a sound copy in its place."


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a gzip file in blocks of whole lines, each of which ends with a newline.

    Of a line of more than `LONGEST_LINE` bytes perhaps only the beginning comes, at least so many bytes of it: the
    content of a file need not fit into memory. Raises `UserError` for a file that is empty, no gzip file, cut short,
    corrupted or made to fill the memory.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2)
        if not head:
            raise UserError(f"{path} is empty (0 bytes), expected a gzip file. {mend(path)}")
        if head != b"\x1f\x8b":
            raise UserError(f"{path} is not a gzip file: it begins with {head!r}, expected b'\\x1f\\x8b'. {mend(path)}")
        content = igzip.open(path, "rb")  # type: ignore[no-untyped-call]
        with content, closing(_read_ahead(content)) as blocks:
            rest, left = b"", FREE + MOST_UNPACKED * path.stat().st_size
            for block in blocks:
                if (left := left - len(block)) < 0:
                    raise UserError(f"{path} unpacks to more than {MOST_UNPACKED} times its size. {mend(path)}")
                end = block.rfind(b"\n") + 1
                if end:
                    yield b"".join((rest, memoryview(block)[:end]))
                    rest = block[end:]
                else:
                    rest = (rest + block)[:LONGEST_LINE]
            if rest:
                yield rest + b"\n"
    except EOFError:
        raise UserError(f"{path} is cut short: the gzip stream ends too early. {mend(path)}") from None
    except (BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]  # isal's stub gives no class
        raise UserError(f"{path} is corrupted: {error}. {mend(path)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_ahead(file: IO[bytes]) -> Generator[bytes, None, None]:
    """Yield the blocks of a file; a second thread reads the next one. isal decompresses without Python's lock."""
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(file.read, BLOCK)
        while block := ahead.result():
            ahead = thread.submit(file.read, BLOCK)
            yield block
