"""Training runs again that are there: what they left is removed, for the loop of editing a model and training it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.records.record import FILE_NAME, read_record
from benchmark.runs.config import RunConfig, lock_of
from benchmark.runs.ended import check_same
from datamodules.errors import UserError
from datamodules.files.lock import Busy, take


def check_rest_of_rows(configs: Sequence[RunConfig]) -> None:
    """Raise `UserError` where a row keeps a seed that is not among these runs and was trained by other code."""
    folders = {config.folder() for config in configs}
    for config in configs:
        for path in sorted(config.folder().parent.glob(f"seed-*/{FILE_NAME}")):
            if path.parent not in folders:
                check_same(read_record(path), config)


def forget_runs(configs: Sequence[RunConfig], say: Callable[[str], None]) -> None:
    """Remove what these runs left in their folders, and nothing else; `say` is told of each folder before.

    Raises `UserError` before anything is removed where another process trains one of them, or where a row keeps a seed
    that was trained by other code.
    """
    check_rest_of_rows(configs)
    there = [config for config in configs if config.folder().is_dir() and any(config.folder().iterdir())]
    locks = []
    try:
        for config in there:
            locks.append(take(lock_of(config)))
        for config in there:
            say(f"{config.folder()}: this run is removed and trained again")
            _empty(config.folder(), lock_of(config))
    except Busy as busy:
        raise UserError(f"{config.folder()} cannot be trained again: it is being run by {busy}. Wait for it") from None
    finally:
        for lock in locks:
            lock.release()


def _empty(folder: Path, lock: Path) -> None:
    """Remove all of a folder but its lock; the record goes first, so that a kill leaves no finished run half there."""
    (folder / FILE_NAME).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != lock:
            path.unlink()
