"""Reads a Python 2 pickle of one dict from text to int, and nothing else.

`pickle` would run what a hostile file says. Here its machine, in the form written in Python, knows only the operations
that such a dict needs (PEP 307, protocols 0 to 2): nothing is ever called, and nothing grows beyond the file.
"""

import io
import pickle
import struct
from typing import Any, ClassVar

OPERATIONS = (
    *(pickle.MARK, pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS, pickle.PROTO, pickle.STOP),
    *(pickle.STRING, pickle.SHORT_BINSTRING, pickle.BINSTRING, pickle.UNICODE, pickle.BINUNICODE),
    *(pickle.INT, pickle.LONG, pickle.LONG1, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
)
MOST = 2**31 - 2  # of a value: a table has one row more


class _Machine(pickle._Unpickler):
    """Every other operation is a KeyError."""

    dispatch: ClassVar[dict[int, Any]] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPERATIONS}


def read_vocabulary(content: bytes) -> dict[bytes, int]:
    """Return the dict that a pickle holds; its unicode keys as UTF-8, as the released code reads them.

    Raises `ValueError` for whatever is not one dict from text to ints in 0..2**31 - 2.
    """
    file = io.BytesIO(content)
    try:
        found = _Machine(file, encoding="bytes").load()
    except KeyError as error:
        what = f"the operation {bytes(error.args)!r}" if isinstance(error.args[0], int) else str(error)
        raise ValueError(f"{what} before byte {file.tell():,}, expected a dict from text to int") from error
    except (pickle.UnpicklingError, LookupError, TypeError, AttributeError, EOFError, struct.error) as error:
        raise ValueError(f"{type(error).__name__} before byte {file.tell():,}: {error}") from error
    if type(found) is not dict or file.tell() != len(content):
        raise ValueError(f"it holds a {type(found).__name__} that ends at byte {file.tell():,} of {len(content):,}")
    for key, value in found.items():
        if type(key) not in (bytes, str) or type(value) is not int or not 0 <= value <= MOST:
            raise ValueError(f"{key!r:.40} stands for {value!r:.40}, expected text for an int from 0 to {MOST:,}")
    return {key.encode("utf-8") if isinstance(key, str) else key: value for key, value in found.items()}
