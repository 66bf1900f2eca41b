"""The canonical form of a log of impressions: behaviours, and targets that were shown, clicked or not.

On disk it is a folder of .npy arrays with a `manifest.json`; in memory the arrays are mapped from there, so that a log
of hundreds of millions of behaviours needs little memory. Raw ids are codes from 1; 0 means not known.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
DAY = 86_400  # seconds


@dataclass(frozen=True, eq=False)
class Behaviours:
    """M behaviours, sorted by user, then time; behaviours of one time in the order of the log."""

    user: Int32  # (M,) 0..U-1
    item: Int32  # (M,) 1..I
    time: Int64  # (M,) unix seconds


@dataclass(frozen=True, eq=False)
class Shown:
    """N impressions, sorted by time, then user."""

    user: Int32  # (N,) 0..U-1
    item: Int32  # (N,) 1..I, what was shown
    time: Int64  # (N,) unix seconds
    label: NDArray[np.int8]  # (N,) 1 clicked
    target: dict[str, Int32] = field(default_factory=dict)  # (N,) codes of further fields of what was shown
    context: dict[str, Int32] = field(default_factory=dict)  # (N,) codes of the moment
    random: NDArray[np.bool_] | None = None  # (N,) true where the target was drawn at random, not by a policy
    probability: NDArray[np.float32] | None = None  # (N,) of a click, where it is known: in a simulated log

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Impressions:
    """Users 0..U-1, items 1..I and what happened between them.

    An item is what a behaviour or an impression is about. Where behaviours have no item ids of their own (Ali's
    display ads), an item is one combination of the behaviour fields that occurs.
    """

    catalogue: dict[str, Int32]  # (I + 1,) behaviour fields of an item, codes from 1; 0 for item 0
    profile: dict[str, Int32]  # (U,) user fields beside the user's number, codes from 1; 0 where not known
    behaviours: Behaviours
    shown: Shown
    users: int  # U
    first_midnight: int  # unix seconds at which day 0 begins, in the time zone of the log
    inputs: list[dict[str, Any]] = field(default_factory=list)  # file, url, sha256, bytes of each file read
    notes: tuple[str, ...] = ()  # lines that the user should see

    @property
    def items(self) -> int:
        """I."""
        return len(next(iter(self.catalogue.values()))) - 1

    def day(self, time: Int64) -> Int64:
        """The day (N,) of each time (N,), 0 for the first."""
        return (time - self.first_midnight) // DAY
