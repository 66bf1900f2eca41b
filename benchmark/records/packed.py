"""Runs in one file, to be sent: a zip archive of records, curves and predictions under the names of their folders.

A file that arrives is not trusted: nothing but these three files of run folders is taken from it, none beyond its
limit, and nothing is written outside the folder given. Whether the figures are true is said by `leaderboard add`,
which recomputes them. Probes are left out: they could not be recomputed without the data.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from benchmark.records.curves import CURVES
from benchmark.records.predictions import PREDICTIONS
from benchmark.records.record import FILE_NAME, Record, run_folder
from datamodules.errors import UserError, printable
from datamodules.files.atomic import replacing

LIMITS = {FILE_NAME: 1 << 20, CURVES: 1 << 24, PREDICTIONS: 1 << 30}  # bytes of each file of a run
MOST_FILES, MOST_BYTES = 30_000, 1 << 34  # of an archive, unpacked
ENDING = ".zip"
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the same runs give the same bytes
_CHUNK = 1 << 20


def pack(records: Sequence[Record], path: Path) -> int:
    """Write runs to one file, atomically; return its bytes. Raises `UserError` where a run lacks a file."""
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for record in records:
            place = run_folder(Path(), record.dataset, record.protocol, record.model, record.variant, record.seed)
            for name, most in LIMITS.items():
                source = record.path.parent / name
                if not source.is_file():
                    if record.status == "failed" and name != FILE_NAME:
                        continue
                    raise UserError(f"{record.place} lacks {name}, expected it beside the record. Train the run again.")
                if (size := source.stat().st_size) > most:
                    raise UserError(f"{source} has {size:,} bytes, expected at most {most:,}")
                entry = zipfile.ZipInfo((place / name).as_posix(), _DATE)
                entry.compress_type = zipfile.ZIP_STORED if name == PREDICTIONS else zipfile.ZIP_DEFLATED
                archive.writestr(entry, source.read_bytes())
    return path.stat().st_size


def unpack(path: Path, folder: Path) -> int:
    """Write the runs of a file that was sent to `folder`; return how many files they have.

    Raises `UserError` for what `pack` does not write: other names, a name twice, sizes beyond the limits, another
    compression, encryption, damage.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if not 0 < len(entries) <= MOST_FILES:
                raise _not_packed(path, f"it holds {len(entries):,} files, expected 1 to {MOST_FILES:,}")
            left, seen = MOST_BYTES, set[str]()
            for entry in entries:
                place = _place(path, entry)
                if entry.filename.casefold() in seen:
                    raise _not_packed(path, f"{_shown(entry)} stands in it twice")
                seen.add(entry.filename.casefold())
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as content, target.open("xb") as file:
                    size = _copy(content, file, min(LIMITS[place.name], left))
                left -= size
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error) as error:
        raise _not_packed(path, str(error)) from None
    except OSError as error:
        raise UserError(f"{path} cannot be unpacked: {error.strerror or error}") from error
    return len(entries)


def _place(path: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """Where a member goes, below the folder; raises `UserError` where that is no place of a run's file."""
    name = entry.orig_filename
    parts = name.split("/")
    sound = len(parts) == 5 and parts[4] in LIMITS and parts[3].startswith("seed-")
    sound = sound and all(part not in ("", ".", "..") and len(part.encode()) < 256 for part in parts)
    if not sound or "\\" in name or name != printable(name) or ":" in name or name != entry.filename:
        raise _not_packed(path, f"{_shown(entry)} is no file of a run")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise _not_packed(path, f"{_shown(entry)} is encrypted or packed in another way")
    return PurePosixPath(name)


def _shown(entry: zipfile.ZipInfo) -> str:
    return repr(printable(entry.orig_filename))[:120]


def _copy(content: IO[bytes], target: IO[bytes], most: int) -> int:
    """Copy bytes, whatever a header says of their number; raises ValueError beyond `most`."""
    size = 0
    while chunk := content.read(_CHUNK):
        size += len(chunk)
        if size > most:
            raise ValueError(f"a file in it has more than {most:,} bytes")
        target.write(chunk)
    return size


def _not_packed(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is not a file of packed runs ({reason}): expected what dien-bench leaderboard pack writes. "
        "Ask the sender for it again."
    )
