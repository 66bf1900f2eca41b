"""Samples on disk: one .npz file a data set and protocol, made once, and checked whenever it is read.

What is read back is what was written, or `UserError`: the arrays have a checksum, and the header beside it must be
that of the protocol asked for. A checksum does not stop somebody who computes it anew, so places and numbers are looked
at too: nothing may lead outside an array. All of it takes milliseconds.
"""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.datasets import get_dataset, prepare_interactions
from datamodules.errors import UserError
from datamodules.files.atomic import removing_when_terminated, replacing
from datamodules.files.lock import locked
from datamodules.files.manifest import MANIFEST, load_manifest
from datamodules.interactions import load_interactions
from datamodules.protocol import PROTOCOLS, Protocol, get_protocol
from datamodules.samples import SAMPLER_VERSION, Samples, Split, arrays_of, digest, make_samples

FORMAT = 1  # of the file
ARRAYS = {
    "items": np.int32,
    "offsets": np.int64,
    "item_category": np.int32,
    "catalogue_rank": np.int32,
    "pool": np.int32,
}
SPLITS = ("train", "validation", "test")
FIELDS = {"user": np.int32, "end": np.int64, "item": np.int32, "label": np.int8}


def save_samples(samples: Samples, path: Path) -> None:
    """Write samples to one .npz file, atomically."""
    arrays = {name: getattr(samples, name) for name in ARRAYS}
    for split in SPLITS:
        arrays |= {f"{split}_{field}": getattr(getattr(samples, split), field) for field in FIELDS}
    header = {
        "format": FORMAT,
        "sampler_version": SAMPLER_VERSION,
        "protocol": asdict(samples.protocol),
        "order_within_time": samples.order_within_time,
        "sha256": samples.sha256,
    }
    with replacing(path) as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def load_samples(path: Path) -> Samples:
    """Read samples back; raises `UserError` where the file is damaged, of another format or of another protocol."""
    again = "delete it, it is made again by itself"
    try:
        samples = _read(path)
        problem = _problem(samples)
    except Exception as error:  # whatever zipfile and NumPy meet in damaged bytes, and they meet much
        raise UserError(f"{path} cannot be read ({error}): {again}") from error
    if problem:
        raise UserError(f"{path} does not hold what was written there ({problem}): {again}")
    return samples


def prepare_samples(dataset: str, protocol_name: str, data_dir: Path) -> Samples:
    """Return the samples of a data set under a protocol, making whatever is not on disk yet."""
    protocol = get_protocol(protocol_name)
    spec = get_dataset(dataset, data_dir)
    folder = prepare_interactions(dataset, data_dir)
    manifest = load_manifest(folder)
    path = _path(folder, protocol)
    if not path.exists():
        lock = path.with_suffix(".lease")
        with removing_when_terminated(), locked(lock, lambda holder: print(f"{dataset}: waiting for {holder}")):
            if not path.exists():
                for left in folder.glob(f".{path.name}.*.tmp"):  # by a process that was killed
                    left.unlink(missing_ok=True)
                save_samples(make_samples(load_interactions(folder), protocol, spec.order_within_time), path)
    samples = load_samples(path)
    found = (samples.protocol, samples.order_within_time, samples.users, samples.item_count)
    counts = manifest.get("counts") or {}
    if found != (protocol, spec.order_within_time, counts.get("users"), counts.get("items")):
        raise UserError(
            f"{path} holds {samples.users:,} users and {samples.item_count:,} items under {samples.protocol.name}, "
            f"expected the {dataset} data under {protocol.name}: delete it, it is made again by itself"
        )
    return samples


def stored_sha256(dataset: str, protocol_name: str, data_dir: Path) -> str | None:
    """Return the hash that the samples on disk say they have, None where they are not made yet; nothing is made."""
    folder = data_dir / dataset
    if not (folder / MANIFEST).exists():
        return None
    path = _path(folder, get_protocol(protocol_name))
    if not path.exists():
        return None
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return str(json.loads(str(stored["header"]))["sha256"])


def _path(folder: Path, protocol: Protocol) -> Path:
    return folder / f"{protocol.name}-{protocol.hash}-{load_manifest(folder)['sha256'][:8]}.npz"


def _read(path: Path) -> Samples:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # np.load alone leaks a bad file
        if any(member.compress_type != zipfile.ZIP_STORED for member in stored.zip.infolist()):
            raise ValueError("it is compressed, which may hide any size")
        header = json.loads(str(stored["header"]))
        if header["format"] != FORMAT:
            raise ValueError(f"it has format {header['format']}, this is format {FORMAT}")
        version = header.get("sampler_version", 1)  # the first had no number
        if version != SAMPLER_VERSION:
            raise ValueError(f"it was made by sampler version {version}, this is version {SAMPLER_VERSION}")
        splits: dict[str, Any] = {
            name: Split(**{field: stored[f"{name}_{field}"] for field in FIELDS}) for name in SPLITS
        }
        return Samples(
            **{name: stored[name] for name in ARRAYS},
            **splits,
            protocol=Protocol(**header["protocol"]),
            order_within_time=header["order_within_time"],
            sha256=header["sha256"],
        )


def _problem(samples: Samples) -> str | None:
    """Return what is wrong with samples, or None."""
    if samples.protocol != PROTOCOLS.get(samples.protocol.name):
        return f"its protocol is not what {samples.protocol.name} is here"
    types = [*ARRAYS.values(), *(kind for _ in SPLITS for kind in FIELDS.values())]
    arrays = arrays_of(samples)
    if any(array.dtype != kind or array.ndim != 1 for array, kind in zip(arrays, types, strict=True)):
        return "an array has another type or shape"
    if digest(arrays) != samples.sha256:
        return "its checksum differs"
    if samples.users < 1 or samples.item_count < 1 or len(samples.catalogue_rank) != samples.item_count + 1:
        return "it has no users or no items"
    begins, last = samples.offsets[:-1], samples.offsets[1:]
    if begins[0] != 0 or last[-1] != len(samples.items) or np.any(last < begins):
        return "users do not lie one behind the other"
    inside = [
        (samples.items, 1, samples.item_count),
        (samples.pool, 1, samples.item_count),
        (samples.item_category, 0, samples.item_count),
        (samples.catalogue_rank, -1, samples.item_count),
    ]
    if not all(_within(*bounds) for bounds in inside) or not len(samples.pool):
        return "numbers go beyond their last value"
    problems = (_problem_of_split(getattr(samples, name), samples) for name in SPLITS)
    return next((problem for problem in problems if problem), None)


def _problem_of_split(split: Split, samples: Samples) -> str | None:
    if len({len(getattr(split, field)) for field in FIELDS}) > 1 or len(split) % 2:
        return "the samples of a split are not pairs"
    if np.any(split.label[::2] != 0) or np.any(split.label[1::2] != 1):
        return "labels are not one negative and one positive, side by side"
    if not _within(split.user, 0, samples.users - 1) or not _within(split.item, 1, samples.item_count):
        return "numbers go beyond their last value"
    if np.any(split.end < samples.offsets[split.user]) or np.any(split.end > samples.offsets[split.user + 1]):
        return "a history leaves its user"
    return None


def _within(numbers: NDArray[Any], lowest: int, highest: int) -> bool:
    return not len(numbers) or (int(numbers.min()) >= lowest and int(numbers.max()) <= highest)
