"""Errors that a user can mend. The command line shows them without a traceback and exits with code 2."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake or situation that the user can mend; its message says what was found, what was expected, what to do."""


# What stops every write alike, and says nothing of what was about to be written.
BLOCKS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


def blocks_writing(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a full disk, a read-only folder, missing rights or a broken device."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in BLOCKS:
            return True
        cause = cause.__cause__
    return False


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not among `known`, with one or two close names where there are any.

    >>> print(unknown_name("model", "diem", ["din", "dien"]))
    unknown model 'diem', did you mean 'dien' or 'din'? Known: din, dien
    """
    names = list(known)
    close = get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    hint = f", did you mean {' or '.join(map(repr, close))}?" if close else "."
    return UserError(f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}")
