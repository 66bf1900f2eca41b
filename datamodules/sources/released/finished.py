"""Finished samples: what a reader returns of them, and their form on disk, `rows.npz` with a `manifest.json`."""

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.files.manifest import file_sha256, load_manifest, prepare_again, preparing
from datamodules.sources.spec import FinishedSpec, Int32, Int64

FORMAT = "finished-1"
ROWS = "rows.npz"
TYPES = {"label": np.int8, "offsets": np.int64}  # of arrays; the others are int32


@dataclass(frozen=True, eq=False)
class FinishedSamples:
    """N samples in the order of the files, training rows first.

    An item is numbered 1..I, a user 0..U-1, a category 0..C, 0 for one that is not known.
    """

    user: Int32  # (N,)
    item: Int32  # (N,) the target
    label: NDArray[np.int8]  # (N,) 1 for a click
    offsets: Int64  # (N + 1,) where the history of each row begins
    history: Int32  # (K,) items, the oldest first
    category: Int32  # (I + 1,) of each item, 0 for item 0
    catalogue_rank: Int32  # (I + 1,) rank of the raw item id, -1 for item 0
    pool: Int32  # (P,) items of the reviews that define popularity
    user_code: Int32  # (U,) the row of the embedding table that was published for a user; empty where there is none
    training_rows: int
    users: int  # U
    cuts_test: bool = False  # whether test histories are cut as training histories are
    inputs: list[dict[str, Any]] = field(default_factory=list)  # file, url, sha256, bytes of each file read
    notes: tuple[str, ...] = ()  # lines that the user should see

    @property
    def counts(self) -> dict[str, int]:
        """How large it is, in words."""
        return {
            "training rows": self.training_rows,
            "test rows": len(self.user) - self.training_rows,
            "users": self.users,
            "items": len(self.category) - 1,
            "categories": int(self.category.max(initial=0)),
            "behaviours": len(self.history),
        }


ARRAYS = tuple(
    one.name
    for one in fields(FinishedSamples)
    if one.name not in ("training_rows", "users", "cuts_test", "inputs", "notes")
)


def write_finished(rows: FinishedSamples, spec: FinishedSpec, folder: Path) -> None:
    """Write samples and their manifest into `folder`; samples that are there stay until all of this is written."""
    manifest = {
        "format": FORMAT,
        **spec.described,
        "inputs": rows.inputs,
        "counts": rows.counts,
        "cuts_test": rows.cuts_test,
        "notes": list(rows.notes),
    }
    with preparing(folder, manifest) as partial:
        np.savez(partial / ROWS, **{name: getattr(rows, name) for name in ARRAYS})
        manifest["sha256"] = file_sha256(partial / ROWS)


def load_finished(folder: Path) -> FinishedSamples:
    """Read a prepared folder; raises `UserError` where it is damaged, or another reader version wrote it."""
    manifest = load_manifest(folder)
    try:
        if (found := file_sha256(folder / ROWS)) != manifest["sha256"]:
            raise ValueError(f"its sha256 is {found}, the manifest says {manifest['sha256']}")
        with (folder / ROWS).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if any(member.compress_type != zipfile.ZIP_STORED for member in stored.zip.infolist()):
                raise ValueError("it is compressed, which may hide any size")
            arrays = {name: stored[name] for name in ARRAYS}
        counts = manifest["counts"]
        rows = FinishedSamples(
            **arrays,
            training_rows=counts["training rows"],
            users=counts["users"],
            cuts_test=manifest["cuts_test"] is True,
        )
        problem = _problem(rows)
        if problem is None and rows.counts != counts:
            problem = f"it holds {rows.counts}, the manifest says {counts}"
    except (OSError, ValueError, KeyError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        problem = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
    if problem:
        raise UserError(f"{folder / ROWS} is damaged: {problem}. {prepare_again(folder)}")
    return rows


def _problem(rows: FinishedSamples) -> str | None:
    """Return what is wrong with the numbers, or None: nothing may lead outside an array."""
    arrays = {name: getattr(rows, name) for name in ARRAYS}
    if any(array.dtype != TYPES.get(name, np.int32) or array.ndim != 1 for name, array in arrays.items()):
        return "an array has another type or shape"
    count, items = len(rows.user), len(rows.category) - 1
    if not 0 < rows.training_rows < count or {len(rows.item), len(rows.label), len(rows.offsets) - 1} != {count}:
        return "it has no rows, or arrays of other lengths"
    if rows.offsets[0] != 0 or rows.offsets[-1] != len(rows.history) or np.any(np.diff(rows.offsets) < 0):
        return "histories do not lie one behind the other"
    if len(rows.catalogue_rank) != items + 1 or len(rows.user_code) not in (0, rows.users) or not len(rows.pool):
        return "the fields of items or users have other lengths"
    bounds = {
        "user": (0, rows.users - 1), "item": (1, items), "label": (0, 1), "history": (1, items), "pool": (1, items),
        "category": (0, 2**31 - 2), "catalogue_rank": (-1, items), "user_code": (0, 2**31 - 2),
    }  # fmt: skip
    for name, (lowest, highest) in bounds.items():
        if len(array := arrays[name]) and not lowest <= int(array.min()) <= int(array.max()) <= highest:
            return f"the array {name} has numbers beyond {lowest} to {highest}"
    return None
