"""Random streams: a purpose, a seed, and what else tells one stream from another."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for; it stands in front of the seed, so that no two purposes share numbers."""

    TIES = 1  # the order of behaviours of one time
    SPLIT = 2  # which users test
    TARGET_NEGATIVES = 3
    ORDER = 4  # of the samples of an epoch
    AUXILIARY_NEGATIVES = 5  # drawn for a batch
    AUXILIARY_ONCE = 6  # drawn once for a whole run


def generator(purpose: Stream, seed: int, *numbers: int) -> np.random.Generator:
    """Return the generator of a stream: of an epoch and a batch, for example, where `numbers` are these.

    The count of the numbers is part of the seed, since NumPy takes [1, 2] and [1, 2, 0] for the same.
    """
    return np.random.default_rng([purpose, seed, len(numbers), *numbers])
