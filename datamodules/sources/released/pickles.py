"""Reads a Python 2 pickle of one dict from text to int, and nothing else.

Not `pickle`: it would run what a hostile file says, or fill the memory with what a few bytes ask for. Here an operation
that such a dict does not need is an error, so nothing is ever called and nothing grows beyond the file. The operations
are those of `pickle` and `cPickle` under protocols 0, 1 and 2 (PEP 307).
"""

import re
from collections.abc import Callable

_MARK, _DICT = object(), object()  # on the stack
_INDEX, _NUMBER = re.compile(rb"\d{1,9}"), re.compile(rb"0|[1-9]\d{0,9}")
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.?)")
_ESCAPED = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}  # by repr of Python 2
# A key and its value as nearly all stand under protocol 0, taken at once: text, its place in the memo, number.
_ENTRY = re.compile(rb"S'([^'\\\n]*)'\n(?:p(\d{1,9})\n)?I(0|[1-9]\d{0,9})\ns")
MOST = 2**31 - 2  # of a value: a table has one row more


def read_vocabulary(content: bytes) -> dict[bytes, int]:
    """Return the dict that a pickle holds; its unicode keys as UTF-8, as the released code reads them.

    Raises `ValueError` for whatever is not one dict from text to different keys and ints in 0..2**31 - 2.
    """
    return _Machine(content).run()


class _Machine:
    """The stack machine that a pickle is a program for, without all that makes other objects."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.found: dict[bytes, int] = {}
        self.begun = False  # whether there is a dict: one is all that is wanted

    def run(self) -> dict[bytes, int]:
        content, operations = self.content, _OPERATIONS
        while True:
            if self.stack == [_DICT]:
                self.entries()
            code = content[self.at : self.at + 1]
            self.at += 1
            if code == b".":
                break
            operation = operations.get(code)
            if operation is None:
                found = f"the operation {code!r}" if code else "its end"
                raise ValueError(f"{found} at byte {self.at - 1:,}, expected a dict from text to int")
            operation(self)
        if self.stack != [_DICT] or self.at != len(content):
            raise ValueError("it holds more or less than one dict")
        return self.found

    def entries(self) -> None:
        """Take the entries that lie ahead in their usual form."""
        while found := _ENTRY.match(self.content, self.at):
            key, place, value = found.groups()
            if place is not None:
                self.keep(key, int(place))
            self.set_all([key, int(value)])
            self.at = found.end()

    def line(self) -> bytes:
        """The bytes up to the next line break."""
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise ValueError("it is cut short")
        line, self.at = self.content[self.at : end], end + 1
        return line

    def take(self, count: int) -> bytes:
        """The next bytes."""
        taken = self.content[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("it is cut short")
        self.at += count
        return taken

    def number(self, count: int) -> int:
        """The number in the next bytes, the smallest first."""
        return int.from_bytes(self.take(count), "little")

    def index(self) -> int:
        """The place in the memo that a line names."""
        line = self.line()
        if not _INDEX.fullmatch(line):
            raise ValueError(f"{line[:20]!r} is no place")
        return int(line)

    def pop(self) -> object:
        if not self.stack:
            raise ValueError("an operation lacks what it works on")
        return self.stack.pop()

    def put(self, place: int) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("nothing is there to be kept")
        self.keep(self.stack[-1], place)

    def keep(self, what: object, place: int) -> None:
        if place > len(self.content):  # places are numbered one by one
            raise ValueError(f"it keeps something at place {place:,}")
        self.memo[place] = what

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise ValueError(f"nothing was kept at place {place:,}")
        self.stack.append(self.memo[place])

    def string(self) -> None:
        quoted = self.line()
        if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[:1] != quoted[-1:]:
            raise ValueError(f"{quoted[:40]!r} is no quoted string")
        self.stack.append(_ESCAPE.sub(_unescaped, quoted[1:-1]))

    def integer(self, end: bytes = b"") -> None:
        line = self.line().removesuffix(end)
        if not _NUMBER.fullmatch(line):  # 00 and 01 are False and True, other zeros in front mean octal
            raise ValueError(f"{line[:20]!r} is no whole number of at least 0")
        self.stack.append(int(line))

    def signed(self, count: int) -> None:
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def begin(self) -> None:
        if self.begun:
            raise ValueError("it holds a second dict")
        self.begun = True
        self.stack.append(_DICT)

    def filled(self) -> None:
        """The dict of what stands above the mark."""
        items = self.above_mark()
        self.begin()
        self.set_all(items)

    def above_mark(self) -> list[object]:
        items: list[object] = []
        while (top := self.pop()) is not _MARK:
            items.append(top)
        return items[::-1]

    def set_items(self) -> None:
        self.set_all(self.above_mark())

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_all([key, value])

    def set_all(self, items: list[object]) -> None:
        if not self.stack or self.stack[-1] is not _DICT or len(items) % 2:
            raise ValueError("keys and values do not belong to a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, bytes) or not isinstance(value, int) or not 0 <= value <= MOST:
                raise ValueError(f"{key!r:.40} stands for {value!r:.40}, expected text for an int from 0 to {MOST:,}")
            if key in self.found:
                raise ValueError(f"the key {key!r:.40} stands twice")
            self.found[key] = value

    def version(self) -> None:
        if (version := self.number(1)) > 2:
            raise ValueError(f"it is of pickle protocol {version}, expected one of Python 2: 0, 1 or 2")

    def unicode(self, raw: bytes, encoding: str) -> None:
        self.stack.append(raw.decode(encoding).encode("utf-8"))


def _unescaped(escape: re.Match[bytes]) -> bytes:
    what = escape[1]
    if len(what) == 3:
        return bytes.fromhex(what[1:].decode("ascii"))
    if what not in _ESCAPED:
        raise ValueError(f"the string has the escape {escape[0]!r}, which Python 2 does not write")
    return _ESCAPED[what]


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"S": _Machine.string,
    b"p": lambda m: m.put(m.index()),
    b"I": _Machine.integer,
    b"s": _Machine.set_item,
    b"(": lambda m: m.stack.append(_MARK),
    b"d": _Machine.filled,
    b"}": _Machine.begin,
    b"u": _Machine.set_items,
    b"V": lambda m: m.unicode(m.line(), "raw-unicode-escape"),
    b"X": lambda m: m.unicode(m.take(m.number(4)), "utf-8"),
    b"T": lambda m: m.stack.append(m.take(m.number(4))),
    b"U": lambda m: m.stack.append(m.take(m.number(1))),
    b"L": lambda m: m.integer(b"L"),
    b"K": lambda m: m.stack.append(m.number(1)),
    b"M": lambda m: m.stack.append(m.number(2)),
    b"J": lambda m: m.signed(4),
    b"\x8a": lambda m: m.signed(m.number(1)),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"g": lambda m: m.get(m.index()),
    b"h": lambda m: m.get(m.number(1)),
    b"j": lambda m: m.get(m.number(4)),
    b"\x80": _Machine.version,
}
