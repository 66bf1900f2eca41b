"""A log of impressions on disk: a folder of .npy files, one an array, and `manifest.json`, which moves there last.

What is read back is what was written, or `UserError`: every array has a checksum, and since a checksum does not stop
somebody who computes it anew, all numbers are looked at too: none may lead outside an array. Arrays are read once for
this, in blocks, then mapped.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.files.big_arrays import blocks, header_of, mapped
from datamodules.files.manifest import MANIFEST, file_sha256, load_manifest, prepare_again, preparing
from datamodules.impressions import Behaviours, Impressions, Shown
from datamodules.sources.spec import ImpressionSpec

FORMAT = "impressions-1"
BEHAVIOURS = {"user": np.int32, "item": np.int32, "time": np.int64}
SHOWN = BEHAVIOURS | {"label": np.int8}
OPTIONAL = {"random": np.bool_, "probability": np.float32}
CODES = ("catalogue", "profile", "target", "context")  # groups of fields, all of int32
SORTED = {"behaviours": ("user", "time"), "shown": ("time", "user")}
NAME = r"(behaviours|shown|catalogue|profile|target|context)\.[a-z][a-z0-9_]*"


def counts_of(log: Impressions) -> dict[str, int]:
    """Return how large a log is, in words."""
    shown = log.shown
    counts = {"users": log.users, "items": log.items, "behaviours": len(log.behaviours.user)}
    counts |= {"impressions": len(shown), "clicks": int(np.count_nonzero(shown.label))}
    return counts if shown.random is None else counts | {"random_impressions": int(np.count_nonzero(shown.random))}


def write_impressions(log: Impressions, spec: ImpressionSpec, folder: Path) -> None:
    """Write a log and its manifest into `folder`; a log that is there stays as it was until all of this is written.

    Arrays that are mapped from a whole .npy file are linked, or copied where the file system has no links.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        **spec.described,
        "inputs": log.inputs,
        "counts": counts_of(log),
        "first_midnight": log.first_midnight,
        "notes": list(log.notes),
    }
    sha256 = {}
    with preparing(folder, manifest) as partial:
        for name, array in sorted(_arrays(log).items()):
            _save(array, partial / f"{name}.npy")
            sha256[name] = file_sha256(partial / f"{name}.npy")
        manifest |= {"sha256": _of_all(sha256), "arrays": sha256}
    for path in folder.glob("*.npy"):  # of an older version, with other fields
        if path.stem not in sha256 and re.fullmatch(NAME, path.stem):
            path.unlink()


def load_impressions(folder: Path) -> Impressions:
    """Return the log in a prepared folder, its arrays mapped from there.

    Raises `UserError` where there is none, where it is damaged, and where another reader version wrote it.
    """
    manifest = load_manifest(folder)
    try:
        if manifest["format"] != FORMAT:
            raise ValueError(f"it is of format {manifest['format']}, expected {FORMAT}")
        arrays = _open(folder, manifest)
        groups: dict[str, dict[str, Any]] = {group: {} for group in (*CODES, *SORTED)}
        for name, array in arrays.items():
            group, _, field = name.partition(".")
            groups[group][field] = array
        log = Impressions(
            catalogue=groups["catalogue"],
            profile=groups["profile"],
            behaviours=Behaviours(**groups["behaviours"]),
            shown=Shown(**groups["shown"], target=groups["target"], context=groups["context"]),
            users=manifest["counts"]["users"],
            first_midnight=manifest["first_midnight"],
            inputs=manifest["inputs"],
            notes=tuple(manifest["notes"]),
        )
        if not log.users > 0 or not log.items > 0 or not isinstance(log.first_midnight, int):
            raise ValueError("it has no users or no items")
        _check_lengths(log, arrays)
        for name, array in arrays.items():
            _check_range(name, folder / f"{name}.npy", array, log)
        for group, keys in SORTED.items():
            _check_sorted(*(folder / f"{group}.{key}.npy" for key in keys))
        if counts_of(log) != manifest["counts"]:
            raise ValueError(f"it holds {counts_of(log)}, the manifest says {manifest['counts']}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, MemoryError) as error:
        problem = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{folder} is damaged: {problem}. {prepare_again(folder)}") from None
    return log


def _arrays(log: Impressions) -> dict[str, NDArray[Any]]:
    """Return all arrays by the names of their files."""
    arrays = {f"behaviours.{name}": getattr(log.behaviours, name) for name in BEHAVIOURS}
    arrays |= {f"shown.{name}": getattr(log.shown, name) for name in SHOWN}
    arrays |= {f"shown.{name}": found for name in OPTIONAL if (found := getattr(log.shown, name)) is not None}
    for group, fields in zip(CODES, (log.catalogue, log.profile, log.shown.target, log.shown.context), strict=True):
        arrays |= {f"{group}.{field}": codes for field, codes in fields.items()}
    for name, array in arrays.items():
        if not re.fullmatch(NAME, name) or array.dtype != _type(name) or array.ndim != 1:
            raise ValueError(f"the array {name} has the type {array.dtype} and {array.ndim} axes, or no such name")
    return arrays


def _type(name: str) -> type[Any]:
    group, _, field = name.partition(".")
    types: dict[str, dict[str, type[Any]]] = {"behaviours": {**BEHAVIOURS}, "shown": {**SHOWN, **OPTIONAL}}
    return types[group][field] if group in types else np.int32


def _save(array: NDArray[Any], path: Path) -> None:
    """Write an array; one that is a whole .npy file already is linked or copied, which takes no memory."""
    source = getattr(array, "filename", None)
    if isinstance(array, np.memmap) and source and Path(source).suffix == ".npy":
        with Path(source).open("rb") as file:
            whole = header_of(file) == (array.shape, array.dtype)
        if whole:
            try:
                os.link(source, path)
            except OSError:
                shutil.copyfile(source, path)
            return
    with path.open("wb") as file:
        np.save(file, array)


def _of_all(sha256: dict[str, str]) -> str:
    """The checksum of the whole log: that of its arrays' names and checksums, as `sha256sum` prints them."""
    lines = "".join(f"{digest}  {name}.npy\n" for name, digest in sorted(sha256.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _open(folder: Path, manifest: dict[str, Any]) -> dict[str, NDArray[Any]]:
    sha256 = manifest["arrays"]
    if _of_all(sha256) != manifest["sha256"]:
        raise ValueError(f"the checksums in {MANIFEST} differ from their own checksum")
    arrays = {}
    for name, expected in sha256.items():
        path = folder / f"{name}.npy"
        if not re.fullmatch(NAME, name):
            raise ValueError(f"{name} is not an array of a log")
        if (found := file_sha256(path)) != expected:
            raise ValueError(f"the sha256 of {path.name} is {found}, the manifest says {expected}")
        arrays[name] = array = mapped(path)
        if array.dtype != _type(name) or array.ndim != 1:
            raise ValueError(f"{path.name} has the type {array.dtype} and {array.ndim} axes")
    return arrays


def _check_lengths(log: Impressions, arrays: dict[str, NDArray[Any]]) -> None:
    lengths = {"behaviours": len(log.behaviours.user), "catalogue": log.items + 1, "profile": log.users}
    for name, array in arrays.items():
        group = name.partition(".")[0]
        if len(array) != lengths.get(group, len(log.shown)):
            raise ValueError(f"{name}.npy has {len(array):,} rows, expected {lengths.get(group, len(log.shown)):,}")


def _check_range(name: str, path: Path, array: NDArray[Any], log: Impressions) -> None:
    """Raise `ValueError` where a number leads outside an array."""
    limits = {"user": (0, log.users - 1), "item": (1, log.items), "label": (0, 1), "probability": (0, 1)}
    group, _, field = name.partition(".")
    if group in CODES:
        lowest, highest = 0, np.iinfo(np.int32).max - 1  # so that rows of a table can be counted
        if group == "catalogue" and array[0] != 0:
            raise ValueError(f"{name}.npy gives item 0, which is padding, the code {array[0]}")
    elif field in limits:
        lowest, highest = limits[field]
    else:
        return
    for block in blocks(path):
        if not (block.min() >= lowest and block.max() <= highest):  # also where one is not a number
            raise ValueError(f"{name}.npy holds {block.min()} to {block.max()}, expected {lowest} to {highest}")


def _check_sorted(first: Path, second: Path) -> None:
    """Raise `ValueError` where rows are not sorted by the first array, then the second."""
    for one, two in zip(_overlapping(first), _overlapping(second), strict=True):
        if np.any(one[1:] < one[:-1]) or np.any((one[1:] == one[:-1]) & (two[1:] < two[:-1])):
            raise ValueError(f"its rows are not sorted by {first.stem}, then {second.stem}")


def _overlapping(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the rows in blocks that begin with the last row of the block before."""
    last = None
    for block in blocks(path):
        yield block if last is None else np.concatenate((last, block))
        last = block[-1:]
