"""Batches in a .npz file, for processes that share nothing but NumPy: histories unpadded, one behind the other.

A batch is a dictionary of the arrays of `datamodules.batch.Batch`: one-dimensional ones (B,), and histories and
negatives (B, T) padded with 0 at the end.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
Arrays = dict[str, NDArray[Any]]
OF_SAMPLE = ("user", "item", "category", "lengths", "label")  # (B,)
OF_BEHAVIOUR = ("history_items", "history_categories", "negative_items", "negative_categories")  # (B, T)


def flatten(batches: Sequence[Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return the batches as flat arrays without padding: what is stored, and what a checksum is taken of.

    Samples (N,), behaviours (M,) in the samples' order, `batch_sizes` (K,). Ids become int64, labels float32.
    """
    flat = {name: np.concatenate([batch[name] for batch in batches]) for name in OF_SAMPLE}
    for name in OF_BEHAVIOUR:
        flat[name] = np.concatenate([batch[name][_real(batch["lengths"], batch[name].shape[1])] for batch in batches])
    flat["batch_sizes"] = np.array([len(batch["label"]) for batch in batches])
    return {name: values.astype(np.float32 if name == "label" else np.int64) for name, values in flat.items()}


def checksum(batches: Sequence[Mapping[str, NDArray[Any]]]) -> str:
    """Return the sha256 of all samples in their order and batches; padding makes no difference."""
    digest = hashlib.sha256()
    for name, values in sorted(flatten(batches).items()):
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def write_batches(path: Path, batches: Sequence[Mapping[str, NDArray[Any]]], tables: Mapping[str, int]) -> str:
    """Write batches and the rows of the embedding tables, row 0 included; return the checksum."""
    header = {"format": FORMAT, "tables": dict(tables), "sha256": checksum(batches)}
    np.savez(path, header=np.array(json.dumps(header)), **flatten(batches))  # type: ignore[arg-type]
    return str(header["sha256"])


def read_batches(path: Path, length: int | None = None) -> tuple[list[Arrays], dict[str, int]]:
    """Return the batches, padded to `length` or each to its longest history (at least 1), and the tables' rows.

    Raises ValueError where the file is of another format or damaged, or a history is longer than `length`.
    """
    with np.load(path, allow_pickle=False) as stored:
        header = json.loads(str(stored["header"]))
        flat = {name: stored[name] for name in (*OF_SAMPLE, *OF_BEHAVIOUR, "batch_sizes")}
    if header["format"] != FORMAT:
        raise ValueError(f"{path} has format {header['format']}, expected {FORMAT}: write it again")
    samples = np.concatenate([[0], np.cumsum(flat["batch_sizes"])])
    behaviours = np.concatenate([[0], np.cumsum(flat["lengths"])])
    batches = []
    for first, last in pairwise(samples):
        batch = {name: flat[name][first:last] for name in OF_SAMPLE}
        longest = max(int(batch["lengths"].max(initial=0)), 1)
        if length is not None and longest > length:
            raise ValueError(f"{path} holds a history of {longest} behaviours, expected at most {length}")
        real = _real(batch["lengths"], length or longest)
        for name in OF_BEHAVIOUR:
            batch[name] = np.zeros(real.shape, np.int64)
            batch[name][real] = flat[name][behaviours[first] : behaviours[last]]
        batches.append(batch)
    if checksum(batches) != header["sha256"]:
        raise ValueError(f"{path} does not hold what was written there: write it again")
    return batches, header["tables"]


def _real(lengths: NDArray[Any], length: int) -> NDArray[np.bool_]:
    """(B, T), true at behaviours."""
    real: NDArray[np.bool_] = np.arange(length) < lengths[:, None]
    return real
