"""Memory that a server keeps: glibc otherwise hands every batch's large temporaries back and has them zeroed anew."""

import ctypes
import sys

# mallopt's numbers and what is set: no block by mmap, none handed back, one arena for all threads, since that of a
# second thread holds no block of more than 64 MB. Sums of 40 MB tensors in a thread: 22 ms of processor time, not 171.
OPTIONS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_ARENA_MAX": (-8, 1)}


def reuse_memory() -> bool:
    """Have this process keep freed memory for its next batch; return whether it could, which takes glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(*option) for option in OPTIONS.values())
