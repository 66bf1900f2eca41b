"""Which arm of the test a user is in: a hash of the user and a salt, known before the test starts."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

Ints = NDArray[np.int64]
STEP, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ALARM = 0.001  # below this p the split is not the one that was planned


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64 bits (Steele, Lea and Flood 2014): the output of SplitMix64 from each state.

    >>> hex(splitmix64(np.zeros(1, np.uint64))[0])
    '0xe220a8397b1dcdaf'
    """
    z = state + np.uint64(STEP)  # wraps around
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def assign(users: Ints, arms: int, salt: str) -> Ints:
    """Return the arm (U,) below `arms` of each user (U,), all arms equally likely.

    Depends on the user's number and the salt alone: a user is in the same arm whoever else takes part.
    """
    key = int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")
    mixed = splitmix64(splitmix64(users.astype(np.uint64)) ^ np.uint64(key))
    uniform = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (uniform * arms).astype(np.int64)


class SampleRatio(NamedTuple):
    """Whether the arms have as many users as planned."""

    users: tuple[int, ...]  # of each arm
    p: float

    @property
    def as_planned(self) -> bool:
        """False where the split must be looked into before any result is read."""
        return self.p >= ALARM


def sample_ratio(users: Sequence[int]) -> SampleRatio:
    """Test users of each arm against equal shares by chi-square (Fabijan et al. 2019)."""
    return SampleRatio(tuple(users), float(chisquare(users).pvalue))
