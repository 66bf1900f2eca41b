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

from datamodules.datasets import check_fits, get_dataset, prepare_dataset
from datamodules.errors import UserError
from datamodules.files.atomic import removing_when_terminated, replacing
from datamodules.files.lock import locked
from datamodules.files.manifest import MANIFEST, load_manifest
from datamodules.impressions_file import load_impressions
from datamodules.interactions import load_interactions
from datamodules.protocol import PROTOCOLS, AnyProtocol, DayProtocol, Protocol, ReleasedProtocol, get_protocol
from datamodules.samples import (
    OF_TARGETS,
    SAMPLER_VERSION,
    SPLITS,
    Samples,
    Split,
    Unclicked,
    arrays_of,
    digest,
    make_samples,
    with_digest,
)
from datamodules.samples.impressions import make_impression_samples
from datamodules.samples.released import make_released_samples
from datamodules.sources.released.finished import load_finished
from datamodules.sources.spec import AnySpec, DatasetSpec

FORMAT = 2  # of the file
TYPES = {  # of arrays by the last part of their name; codes of any field are int32
    "times": np.int64, "time": np.int64, "offsets": np.int64, "begin": np.int64, "end": np.int64, "label": np.int8,
    "probability": np.float32,
}  # fmt: skip
MOST = 2**31 - 2  # of a code: a table has one row more


def save_samples(samples: Samples, path: Path) -> None:
    """Write samples to one .npz file, atomically."""
    arrays: dict[str, Any] = arrays_of(samples)
    header = {
        "format": FORMAT,
        "sampler_version": SAMPLER_VERSION,
        "protocol": asdict(samples.protocol),
        "order_within_time": samples.order_within_time,
        "sha256": samples.sha256,
        "checksum": digest(arrays.items()),
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
    check_fits(spec, protocol)
    folder = prepare_dataset(dataset, data_dir)
    manifest = load_manifest(folder)
    path = _path(folder, protocol)
    if not path.exists():
        lock = path.with_suffix(".lease")
        with removing_when_terminated(), locked(lock, lambda holder: print(f"{dataset}: waiting for {holder}")):
            if not path.exists():
                for left in folder.glob(f".{path.name}.*.tmp"):  # by a process that was killed
                    left.unlink(missing_ok=True)
                save_samples(_make(spec, folder, protocol), path)
    samples = load_samples(path)
    order = spec.order_within_time if isinstance(spec, DatasetSpec) else True
    found = (samples.protocol, samples.order_within_time, samples.users, samples.item_count)
    counts = manifest.get("counts") or {}
    if found != (protocol, order, counts.get("users"), counts.get("items")):
        raise UserError(
            f"{path} holds {samples.users:,} users and {samples.item_count:,} items under {samples.protocol.name}, "
            f"expected the {dataset} data under {protocol.name}: delete it, it is made again by itself"
        )
    return samples


def _make(spec: AnySpec, folder: Path, protocol: AnyProtocol) -> Samples:
    """The samples of what was prepared in a folder."""
    if isinstance(protocol, ReleasedProtocol):
        return make_released_samples(load_finished(folder), protocol)
    if isinstance(protocol, DayProtocol):
        return make_impression_samples(load_impressions(folder), protocol)
    assert isinstance(spec, DatasetSpec)  # check_fits
    return make_samples(load_interactions(folder), protocol, spec.order_within_time)


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


def _path(folder: Path, protocol: AnyProtocol) -> Path:
    return folder / f"{protocol.name}-{protocol.hash}-{load_manifest(folder)['sha256'][:8]}.npz"


def _read(path: Path) -> Samples:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # np.load alone leaks a bad file
        if any(member.compress_type != zipfile.ZIP_STORED for member in stored.zip.infolist()):
            raise ValueError("it is compressed, which may hide any size")
        header = json.loads(str(stored["header"]))
        if header["format"] != FORMAT:
            raise ValueError(f"it has format {header['format']}, this is format {FORMAT}")
        version = header["sampler_version"]
        if version != SAMPLER_VERSION:
            raise ValueError(f"it was made by sampler version {version}, this is version {SAMPLER_VERSION}")
        protocol = PROTOCOLS.get(header["protocol"]["name"])
        if protocol is None or asdict(protocol) != header["protocol"]:
            raise ValueError(f"its protocol is not what {header['protocol']['name']} is here")
        arrays = {name: stored[name] for name in stored.files if name != "header"}
    if digest(arrays.items()) != header["checksum"]:
        raise ValueError("its checksum differs")
    parts = _nested(arrays)
    splits: dict[str, Any] = {name: Split(**parts.pop(name)) for name in SPLITS}
    unclicked = Unclicked(**parts.pop("unclicked")) if "unclicked" in parts else None
    return Samples(
        **{"profile": {}} | parts,
        **splits,
        unclicked=unclicked,
        protocol=protocol,
        order_within_time=header["order_within_time"],
        sha256=header["sha256"],
    )


def _nested(arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays named "a.b.c" as dictionaries of dictionaries."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = array
    return tree


def _problem(samples: Samples) -> str | None:
    """Return what is wrong with samples, or None."""
    arrays = arrays_of(samples)
    if any(array.dtype != _type_of(name) or array.ndim != 1 for name, array in arrays.items()):
        return "an array has another type or shape"
    if with_digest(samples).sha256 != samples.sha256:
        return "its hash differs"
    if samples.users < 1 or samples.item_count < 1 or not samples.catalogue or len(samples.times) != len(samples.items):
        return "it has no users, no items or no times"
    if {len(codes) for codes in samples.catalogue.values()} != {samples.item_count + 1}:
        return "the fields of the items have other lengths"
    if any(len(codes) != samples.users for codes in samples.profile.values()):
        return "the fields of the users have other lengths"
    begins, last = samples.offsets[:-1], samples.offsets[1:]
    if begins[0] != 0 or last[-1] != len(samples.items) or np.any(last < begins):
        return "users do not lie one behind the other"
    unclicked = samples.unclicked or Unclicked(*(samples.offsets[:0],) * 3)  # type: ignore[arg-type]
    if len(unclicked.user) != len(unclicked.item) or len(unclicked.user) != len(unclicked.time):
        return "the impressions without a click have other lengths"
    inside = [
        (samples.items, 1, samples.item_count),
        (samples.pool, 1, samples.item_count),
        (unclicked.item, 1, samples.item_count),
        (unclicked.user, 0, samples.users - 1),
        (samples.catalogue_rank, -1, samples.item_count),
        *((codes, 0, MOST) for name, codes in arrays.items() if _is_code(name)),
    ]
    if not all(_within(*bounds) for bounds in inside) or not len(samples.pool):
        return "numbers go beyond their last value"
    problems = (_problem_of_split(getattr(samples, name), samples) for name in SPLITS)
    return next((problem for problem in problems if problem), None)


def _is_code(name: str) -> bool:
    return any(part in ("catalogue", "profile", *OF_TARGETS) for part in name.split(".")[:-1])


def _type_of(name: str) -> Any:
    return np.int32 if _is_code(name) else TYPES.get(name.rpartition(".")[2], np.int32)


def _problem_of_split(split: Split, samples: Samples) -> str | None:
    arrays = [array for part in (vars(split), split.target, split.context) for array in part.values()]
    if len({len(array) for array in arrays if isinstance(array, np.ndarray)}) > 1:
        return "the arrays of a split have other lengths"
    if isinstance(samples.protocol, Protocol) and (np.any(split.label[::2] != 0) or np.any(split.label[1::2] != 1)):
        return "labels are not one negative and one positive, side by side"
    if isinstance(samples.protocol, Protocol) and len(split) % 2:
        return "the samples of a split are not pairs"
    if not _within(split.user, 0, samples.users - 1) or not _within(split.item, 1, samples.item_count):
        return "numbers go beyond their last value"
    if not _within(split.label, 0, 1):
        return "a label is neither 0 nor 1"
    first, last = samples.offsets[split.user], samples.offsets[split.user + 1]
    if np.any(split.begin < first) or np.any(split.begin > split.end) or np.any(split.end > last):
        return "a history leaves its user"
    return None


def _within(numbers: NDArray[Any], lowest: int, highest: int) -> bool:
    return not len(numbers) or (int(numbers.min()) >= lowest and int(numbers.max()) <= highest)
