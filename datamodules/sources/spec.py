"""What a data set is, and what its reader returns."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datamodules.files.answers import RemoteFile
from datamodules.files.manifest import READER_VERSION
from datamodules.impressions import Impressions

UNKNOWN_CATEGORY = "unknown"  # of items without metadata
PASSES = 3  # over the training samples, where a data set names no budget of its own (released code: 3 epochs)
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """How large a data set is; None where it is not known beforehand."""

    interactions: int | None = None
    users: int | None = None
    items: int | None = None
    categories: int | None = None

    def __str__(self) -> str:
        return ", ".join(f"{'?' if n is None else format(n, ',')} {what}" for what, n in asdict(self).items())


@dataclass(frozen=True, eq=False)
class RawInteractions:
    """What a reader returns: behaviours under their raw ids, in any order.

    A raw id is held once; the rows `user` and `item` (N,) are positions in `user_ids` and `item_ids`, `time`
    (N,) is in seconds. Every id occurs in at least one row. `inputs` holds file, url, sha256 and bytes of
    each file read; `notes` are lines that the user should see.
    """

    user: Int32
    item: Int32
    time: Int64
    user_ids: list[str]
    item_ids: list[str]
    category_of: dict[str, str]
    inputs: list[dict[str, Any]]
    malformed: int = 0
    missing_categories: int = 0
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> Counts:
        """Rows, users, items and category names, `UNKNOWN_CATEGORY` being one of these."""
        categories = len(set(self.category_of.values()))
        return Counts(len(self.time), len(self.user_ids), len(self.item_ids), categories)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every data set says of itself, however it is stored."""

    name: str
    title: str
    licence: str
    source: str = "your own file"  # where the raw files come from, in words
    files: tuple[RemoteFile, ...] = ()  # raw files, each with the sources that are asked for it
    download_bytes: int | None = None  # of the raw files; None: not known
    source_version: int = 1  # raised whenever the reader makes other data of the same raw files
    steps: int | None = None  # optimiser steps of a run; None: passes over the training samples
    passes: int = PASSES  # over the training samples, where `steps` is None

    @property
    def described(self) -> dict[str, Any]:
        """What the manifest of its prepared folder says of it."""
        return {
            "dataset": self.name,
            "title": self.title,
            "licence": self.licence,
            "source": self.source,
            "steps": self.steps,
            "reader_version": READER_VERSION,
            "source_version": self.source_version,
        }


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """One data set of behaviours: how large it must be, and its reader."""

    expected: Counts
    read: Callable[[Path], RawInteractions]  # from the data directory, whose folder raw/ holds downloads
    order_within_time: bool = True  # False: behaviours with the same time have no known order
    categories_are_exact: bool = True  # False: printed in the paper, never counted: a difference is only reported

    @property
    def counts(self) -> dict[str, int | None]:
        """What is known of its size beforehand."""
        return asdict(self.expected)


class ImpressionReader(Protocol):
    """Reads a log of impressions from the data directory, whose folder raw/ holds downloads."""

    def __call__(self, data_dir: Path, scratch: Path, users: float = 1.0) -> Impressions:
        """Return what was read of a share of the users, 0 to 1; large arrays may be mapped from files in `scratch`."""
        ...


@dataclass(frozen=True, kw_only=True)
class PublishedSpec(Spec):
    """One data set whose size is published."""

    expected: Mapping[str, int]  # counts of the raw files; the reader compares them

    @property
    def counts(self) -> dict[str, int | None]:
        """What is known of its size beforehand."""
        return {**self.expected}


@dataclass(frozen=True, kw_only=True)
class ImpressionSpec(PublishedSpec):
    """One log of impressions, and its reader."""

    read: ImpressionReader
    least_share: float = 0.0  # of the users: results on a smaller share do not compare with others


@dataclass(frozen=True, kw_only=True)
class FinishedSpec(PublishedSpec):
    """One set of finished samples, and its reader."""

    read: Callable[[Path, Path], Any]  # from the data directory and a scratch folder; returns FinishedSamples


AnySpec = DatasetSpec | ImpressionSpec | FinishedSpec
