"""Work cut into as many pieces as torch has threads: compiled kernels release the interpreter's lock while they run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch

Result = TypeVar("Result")
SMALLEST = 32  # items (samples, or rows of an MLP) below which handing a piece over costs more than it saves


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


def in_chunks(run: Callable[[int, int], Result], count: int) -> list[Result]:
    """Return run(low, high) for consecutive pieces of range(count), computed side by side; in order.

    `run` keeps to NumPy and compiled code: a torch operation on another thread would start a second crew of OpenMP
    threads, and with more of them than cores every later operation waits longer. The pieces depend on count and
    torch's number of threads alone, so that sums over them are repeatable.
    """
    pieces = max(1, min(torch.get_num_threads(), count // SMALLEST))
    if pieces == 1:
        return [run(0, count)]
    edges = [count * piece // pieces for piece in range(pieces + 1)]
    others = [_pool(pieces - 1).submit(run, low, high) for low, high in pairwise(edges[1:])]
    return [run(edges[0], edges[1]), *(other.result() for other in others)]
