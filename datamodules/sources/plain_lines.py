"""Takes named fields out of lines of JSON or of Python literals without making objects of the rest: compiled loops.

Only *plain* lines are read here; every other line is left to a full parser, so that nothing is decided twice. A plain
line is checked to its end, and what it is found to hold is what the full parser finds:

    line    {"key": value, ...}, then nothing but spaces and "\\r"; a key that occurs twice has its last value
    value   text, number, or [...] and {...} of such, nested less than 32 deep; spaces between all these
    text    printable ASCII between "quotes", or 'quotes' in Python; common escapes, but none in the line's own keys
    number  -12 or 3.25: at most 18 digits, no leading zeros, no exponent
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

ABSENT, TEXT, INTEGER, OTHER = range(4)  # what a field holds; TEXT is neither empty nor escaped, INTEGER has no sign
STEP = 32  # bytes that are looked at together inside a text
DEEPEST, MOST_DIGITS = 32, 18
NOT_PLAIN = 255

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]
Language = Literal["json", "python"]

_BACKSLASH, _FIRST, _LAST = np.frombuffer(b"\\ ~", np.uint8)  # of one byte each, as the loops need them
_jit = njit(cache=True, nogil=True, error_model="numpy")


def _escapes(single: bytes, hexadecimal: bytes, digits: int) -> Bytes:
    """Return how many hexadecimal digits follow a byte behind a backslash, `NOT_PLAIN` for all but the given bytes."""
    table = np.full(256, NOT_PLAIN, np.uint8)
    table[list(single)], table[list(hexadecimal)] = 0, digits
    return table


QUOTES = {"json": (ord('"'), ord('"')), "python": (ord('"'), ord("'"))}
ESCAPES = {"json": _escapes(b'"\\/bfnrt', b"u", 4), "python": _escapes(b"\"'\\nrt", b"x", 2)}


@dataclass(frozen=True, eq=False)
class Lines:
    """The L lines of a block and K fields of each; all positions are bytes from the block's beginning.

    `begins` and `ends` (L,) enclose a line without its newline. `kinds` (L, K) say what a field holds; a line that is
    not plain has only ABSENT. `field_begins` and `field_ends` (L, K) enclose its value, a text's without the quotes.
    """

    block: bytes
    begins: Positions
    ends: Positions
    kinds: Bytes
    field_begins: Positions
    field_ends: Positions

    def line(self, row: int) -> bytes:
        """Return a line with its newline."""
        return self.block[self.begins[row] : self.ends[row] + 1]

    def texts(self, field: int, rows: npt.NDArray[np.intp]) -> pa.StringArray:
        """Return the bytes of a field's value in the lines `rows`, where it must be present."""
        begins, ends = self.field_begins[rows, field], self.field_ends[rows, field]
        offsets = np.zeros(len(rows) + 1, np.int32)
        np.cumsum(ends - begins, out=offsets[1:])
        content = _gather(np.frombuffer(self.block, np.uint8), begins, offsets)
        return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(content))


def find_fields(block: bytes, names: tuple[str, ...], language: Language) -> Lines:
    """Find the fields `names` of the top level in each line of a block, whose last byte must be a newline."""
    if not block.endswith(b"\n"):
        raise ValueError("the block does not end with a newline")
    content = np.frombuffer(block, np.uint8)
    count = np.count_nonzero(content == ord("\n"))
    ends = np.empty(count, np.int64)
    kinds = np.empty((count, len(names)), np.uint8)
    field_begins, field_ends = np.zeros((2, count, len(names)), np.int64)
    wanted = np.frombuffer("".join(names).encode(), np.uint8)
    bounds = np.cumsum([0, *map(len, names)])
    _find(content, QUOTES[language], ESCAPES[language], wanted, bounds, ends, kinds, field_begins, field_ends)
    begins = np.concatenate([[0], ends[:-1] + 1])
    return Lines(block, begins, ends, kinds, field_begins, field_ends)


@_jit
def _find(
    block: Bytes,
    quotes: tuple[int, int],
    escapes: Bytes,
    wanted: Bytes,
    bounds: Positions,
    ends: Positions,
    kinds: Bytes,
    field_begins: Positions,
    field_ends: Positions,
) -> None:
    at = 0
    for line in range(len(ends)):
        kinds[line] = ABSENT
        at, plain = _read_line(
            block, at, quotes, escapes, wanted, bounds, kinds[line], field_begins[line], field_ends[line]
        )
        if not plain:
            kinds[line] = ABSENT
        while _byte(block, at) != ord("\n"):
            at += 1
        ends[line] = at
        at += 1


@_jit
def _read_line(
    block: Bytes,
    at: int,
    quotes: tuple[int, int],
    escapes: Bytes,
    wanted: Bytes,
    bounds: Positions,
    kinds: Bytes,
    begins: Positions,
    ends: Positions,
) -> tuple[int, bool]:
    """Read one line from `at`; returns how far it was read, never beyond its newline, and whether it is plain.

    No rule accepts a newline, so none has to look for the line's end.
    """
    if _byte(block, at) != ord("{"):
        return at, False
    objects = np.uint64(1)  # bit d, from the lowest, tells whether the bracket at depth d from the innermost is a brace
    depth = 1
    field = -1  # the wanted field whose value is being read
    at += 1
    empty = True  # nothing yet behind the innermost opening bracket
    while True:
        at = _skip_spaces(block, at)
        closing = ord("}") if objects & np.uint64(1) else ord("]")
        opened = False
        if not (empty and _byte(block, at) == closing):
            if closing == ord("}"):
                begin = at + 1
                at, good, escaped = _read_text(block, at, quotes, escapes)
                if not good or (escaped and depth == 1):
                    return at, False
                if depth == 1:
                    field = _which(block, begin, at - 1, wanted, bounds)
                at = _skip_spaces(block, at)
                if _byte(block, at) != ord(":"):
                    return at, False
                at = _skip_spaces(block, at + 1)
            begin, kind = at, OTHER
            if _byte(block, at) == ord("{") or _byte(block, at) == ord("["):
                if depth == DEEPEST:
                    return at, False
                objects = (objects << np.uint64(1)) | np.uint64(_byte(block, at) == ord("{"))
                opened = True
                at += 1
            elif _byte(block, at) == quotes[0] or _byte(block, at) == quotes[1]:
                at, good, escaped = _read_text(block, at, quotes, escapes)
                if not good:
                    return at, False
                if not escaped and at - begin > 2:
                    kind = TEXT
            else:
                at, good, integer = _read_number(block, at)
                if not good:
                    return at, False
                if integer:
                    kind = INTEGER
            if depth == 1 and field >= 0:
                kinds[field] = kind
                begins[field], ends[field] = (begin + 1, at - 1) if kind == TEXT else (begin, at)
            if opened:
                depth += 1
                empty = True
                continue
        # Behind a value, or at the bracket that closes an empty one.
        at = _skip_spaces(block, at)
        while _byte(block, at) == (ord("}") if objects & np.uint64(1) else ord("]")):
            at += 1
            objects >>= np.uint64(1)
            depth -= 1
            if depth == 0:
                while _byte(block, at) == ord(" ") or _byte(block, at) == ord("\r"):
                    at += 1
                return at, _byte(block, at) == ord("\n")
            if depth == 1 and field >= 0:
                ends[field] = at
            at = _skip_spaces(block, at)
        if _byte(block, at) != ord(","):
            return at, False
        at += 1
        empty = False


@_jit
def _skip_spaces(block: Bytes, at: int) -> int:
    while _byte(block, at) == ord(" "):
        at += 1
    return at


@_jit
def _which(block: Bytes, begin: int, end: int, wanted: Bytes, bounds: Positions) -> int:
    """Return which of the wanted names stands from `begin` to `end`, or -1."""
    for field in range(len(bounds) - 1):
        first = bounds[field]
        if bounds[field + 1] - first == end - begin:
            i = 0
            while i < end - begin and _byte(block, begin + i) == _byte(wanted, first + i):
                i += 1
            if i == end - begin:
                return field
    return -1


@_jit
def _read_text(block: Bytes, at: int, quotes: tuple[int, int], escapes: Bytes) -> tuple[int, bool, bool]:
    """Read a text from its opening quote; returns the position behind it, whether it is plain and has escapes."""
    quote = _byte(block, at)
    escaped = False
    if quote != quotes[0] and quote != quotes[1]:
        return at, False, escaped
    at += 1
    while True:
        ordinary = STEP
        while ordinary == STEP:
            ordinary = _count_ordinary(block, at, quote)
            at += ordinary
        if _byte(block, at) == quote:
            return at + 1, True, escaped
        if _byte(block, at) != ord("\\"):
            return at, False, escaped
        escaped = True
        digits = escapes[_byte(block, at + 1)]
        if digits == NOT_PLAIN:
            return at + 1, False, escaped
        at += 2
        for i in range(digits):
            if not _is_hexadecimal(_byte(block, at + i)):
                return at + i, False, escaped
        if digits == 4 and (_byte(block, at) | 32) == ord("d") and _byte(block, at + 1) >= ord("8"):  # half a character
            return at, False, escaped
        at += digits


@_jit
def _count_ordinary(block: Bytes, at: int, quote: int) -> Any:
    """Return how many of the next `STEP` bytes come before one that ends a text, escapes or is not printable ASCII."""
    if at + STEP > len(block):
        count = 0
        while _byte(block, at + count) != quote and not _is_special(_byte(block, at + count)):
            count += 1  # at most to the newline at the block's end
        return count
    first = np.uint8(STEP)
    for i in range(STEP):  # no early end: this way it becomes vector instructions
        byte = _byte(block, at + i)
        special = (byte == quote) | (byte == _BACKSLASH) | (byte < _FIRST) | (byte > _LAST)
        first = min(first, np.uint8(i) if special else np.uint8(STEP))
    return np.int64(first)


@_jit
def _is_special(byte: int) -> bool:
    return byte == ord("\\") or byte < ord(" ") or byte > ord("~")


@_jit
def _is_hexadecimal(byte: int) -> bool:
    return ord("0") <= byte <= ord("9") or ord("a") <= (byte | 32) <= ord("f")


@_jit
def _read_number(block: Bytes, at: int) -> tuple[int, bool, bool]:
    """Read a number; returns the position behind it, whether it is plain, and whether it is an integer without sign."""
    signed = _byte(block, at) == ord("-")
    begin = at + signed
    at = _skip_digits(block, begin)
    if at == begin or (_byte(block, begin) == ord("0") and at > begin + 1):
        return at, False, False
    integer = not signed
    if _byte(block, at) == ord("."):
        integer = False
        point = at
        at = _skip_digits(block, at + 1)
        if at == point + 1:
            return at, False, False
    return at, at - begin <= MOST_DIGITS, integer


@_jit
def _skip_digits(block: Bytes, at: int) -> int:
    while ord("0") <= _byte(block, at) <= ord("9"):
        at += 1
    return at


@_jit
def _gather(block: Bytes, begins: Positions, offsets: npt.NDArray[np.int32]) -> Any:
    """Return the pieces that begin at `begins` one behind the other, as long as `offsets` say."""
    content = np.empty(offsets[-1], np.uint8)
    for row in range(len(begins)):
        at = begins[row]
        for target in range(offsets[row], offsets[row + 1]):
            content[np.uintp(target)] = _byte(block, at)
            at += 1
    return content


@_jit
def _byte(block: Bytes, at: int) -> Any:
    """Return block[at] for at >= 0; without a sign no position can count from the end, which would cost a test each."""
    return block[np.uintp(at)]
