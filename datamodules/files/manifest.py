"""What a prepared folder says of itself in `manifest.json`, and whether the raw files are still those of then."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datamodules.errors import UserError
from datamodules.files.atomic import this_process

READER_VERSION = 1  # raised whenever the same behaviours would give another table
MANIFEST = "manifest.json"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_input(path: Path, url: str, data_dir: Path) -> dict[str, Any]:
    """Return the manifest's entry of a raw file: what it is, where it lies and when it was changed last."""
    stat = path.stat()
    place = path.relative_to(data_dir) if path.is_relative_to(data_dir) else path.absolute()
    return {
        "file": path.name,
        "url": url,
        "sha256": file_sha256(path),
        "bytes": stat.st_size,
        "path": str(place),  # from the data directory, so that this can be moved
        "modified_ns": stat.st_mtime_ns,
    }


@contextmanager
def preparing(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Give a temporary folder for the files of a data set, which move into `folder` when the block ends.

    `manifest` may be filled in the block. It moves last, so that a folder with a manifest is always a prepared one.
    After an error in the block the folder is as before. Its files of other names are left alone.
    """
    for left in folder.parent.glob(f".{folder.name}.*partial"):  # by a preparation that was killed
        shutil.rmtree(left, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{this_process()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        names = sorted(path.name for path in partial.iterdir())
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)  # never an old manifest beside new files
        for name in (*names, MANIFEST):
            with (partial / name).open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial / name, folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Raises `UserError` where there is none, where it is damaged, and where another reader version wrote it.
    """
    again = prepare_again(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"no prepared data set in {folder}: {MANIFEST} is missing. Run: dien-bench prepare {folder.name}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / MANIFEST} cannot be read: {error}. {again}") from None
    version = manifest.get("reader_version") if isinstance(manifest, dict) else None
    if version != READER_VERSION:
        raise UserError(f"{folder} was written by reader version {version}, this is version {READER_VERSION}. {again}")
    if not isinstance(manifest.get("sha256"), str) or not re.fullmatch("[0-9a-f]{64}", manifest["sha256"]):
        raise UserError(f"{folder / MANIFEST} has no sha256 of the table, expected 64 hexadecimal digits. {again}")
    return dict(manifest)


def prepare_again(folder: Path) -> str:
    """Return what to do about a prepared folder that cannot be used."""
    return f"Delete the folder {folder} and prepare the data set again: dien-bench prepare {folder.name} (or import)"


def check_inputs(folder: Path, data_dir: Path) -> None:
    """Raise `UserError` where a raw file is not the one that `folder` was made of; what is gone is no matter.

    A file of the same size and time is taken for the same, as make does; any other is compared by its checksum.
    """
    try:
        for entry in load_manifest(folder)["inputs"]:
            if "path" not in entry or not (path := data_dir / entry["path"]).is_file():
                continue
            stat = path.stat()
            if (stat.st_size, stat.st_mtime_ns) == (entry["bytes"], entry["modified_ns"]):
                continue
            if stat.st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
                raise UserError(
                    f"{path} is not the file that {folder} was made of: {stat.st_size:,} bytes and another sha256 than "
                    f"{entry['sha256']}. Put that file back, or use the new one. {prepare_again(folder)}"
                )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the inputs in {folder / MANIFEST} cannot be read: {error}. {prepare_again(folder)}") from None
