"""Arrays larger than memory: rows kept in many files by a key, .npy files that grow, and reading in blocks."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

BLOCK = 1 << 22  # rows


class Partitions:
    """Rows of one type in `count` files, each of which fits in memory; rows of one file keep their order."""

    def __init__(self, folder: Path, dtype: DTypeLike, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.dtype, self.count = np.dtype(dtype), count
        self._paths = [folder / f"part-{number:03d}" for number in range(count)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._files = [self._stack.enter_context(path.open("wb")) for path in self._paths]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, rows: NDArray[Any], part: NDArray[np.integer[Any]]) -> None:
        """Append each of the rows (N,) to the file `part` (N,) of it."""
        order = np.argsort(part.astype(np.uint8 if self.count <= 256 else np.uint16), kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=self.count))
        for file, some in zip(self._files, np.split(rows[order], ends[:-1]), strict=True):
            some.tofile(file)

    def take(self) -> Iterator[NDArray[Any]]:
        """Yield the rows of one file after the other; a file is removed when it was read."""
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            rows = np.fromfile(path, self.dtype)
            path.unlink()
            yield rows


class GrowingArray:
    """A .npy file of one dimension to whose end rows are written; the block's end completes its header."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.path, self.dtype, self.rows = path, np.dtype(dtype), 0

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        self._header()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.seek(0)
        self._header()  # as long as before: NumPy leaves room for the number of rows
        self._file.close()

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows (N,) behind those that are there."""
        rows.astype(self.dtype, copy=False).tofile(self._file)
        self.rows += len(rows)

    def mapped(self) -> NDArray[Any]:
        """The rows, mapped from the closed file."""
        return mapped(self.path)

    def _header(self) -> None:
        fields = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows,)}
        npy.write_array_header_1_0(self._file, fields)
        self._file.flush()


def mapped(path: Path) -> NDArray[Any]:
    """Return the array in a .npy file, mapped; one without rows is read, since nothing cannot be mapped."""
    with path.open("rb") as file:
        shape, dtype = header_of(file)
    if 0 in shape:
        return np.empty(shape, dtype)
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def header_of(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array in an open .npy file, and leave the file at its first row.

    Raises `ValueError` for what is no .npy file in C order with plain numbers.
    """
    version = npy.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"it is of format {version}, expected (1, 0)")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if (fortran and len(shape) > 1) or dtype.hasobject:
        raise ValueError("it does not hold plain numbers in C order")
    return shape, dtype


def blocks(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the rows of a .npy file in blocks of `BLOCK`, read rather than mapped, so that memory stays small."""
    with path.open("rb") as file:
        _, dtype = header_of(file)
        while len(rows := np.fromfile(file, dtype, BLOCK)):
            yield rows
