"""Random streams of a run: a purpose, a seed, and what else tells one stream from another."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for; it stands in front of the seed, so that no two purposes share numbers.

    The streams of samples are [data seed, 1 to 3] (`samples.py`), and every data seed is 0: no run's stream is theirs.
    """

    ORDER = 4  # of the samples of an epoch
    AUXILIARY_NEGATIVES = 5  # drawn for a batch
    AUXILIARY_ONCE = 6  # drawn once for a whole run


def generator(purpose: Stream, seed: int, *numbers: int) -> np.random.Generator:
    """Return the generator of a stream: of an epoch and a batch, for example, where `numbers` are these.

    The count of the numbers is part of the seed, since NumPy takes [1, 2] and [1, 2, 0] for the same.
    """
    return np.random.default_rng([purpose, seed, len(numbers), *numbers])
