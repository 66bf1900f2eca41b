"""Errors that a user can mend. The command line shows them without a traceback and exits with code 2."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 40  # known names in a message at most
# Characters that show as nothing or change how their neighbours show: control characters (escape sequences of a
# terminal begin with one), line separators, marks of writing direction, halves of a character.
UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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


def cannot_write(what: object, error: OSError, otherwise: str = "choose another folder") -> UserError:
    """Return the error for a file or folder that cannot be written, with what helps beside room and rights.

    >>> print(cannot_write("to data", OSError(28, "No space left on device")))
    cannot write to data: No space left on device. Make room, check the rights, or choose another folder.
    """
    return UserError(f"cannot write {what}: {error.strerror or error}. Make room, check the rights, or {otherwise}.")


def printable(text: str) -> str:
    r"""Return `text` with its line breaks, and every other character that does not show as its number.

    >>> print(printable("a\x1b[31m\nb"))
    a\x1b[31m
    b
    """
    return UNSHOWN.sub(lambda found: "\n" if found[0] == "\n" else ascii(found[0])[1:-1], text)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not among `known`, with one or two close names where there are any.

    >>> print(unknown_name("model", "diem", ["din", "dien"]))
    unknown model 'diem', did you mean 'dien' or 'din'? Known: din, dien
    """
    names = list(known)
    close = get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    hint = f", did you mean {' or '.join(map(repr, close))}?" if close else "."
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return UserError(f"unknown {kind} '{name}'{hint} Known: {', '.join(names[:SHOWN])}{more}")
