"""Readers of the two files of an Amazon category: reviews are JSON lines, metadata lines are Python literals.

Both files are read in blocks of whole lines, each of them by a fast way where that is sure to find what the full parser
of one line finds, and line by line where it is not:

- reviews by Arrow's JSON reader: a block is taken where each of its lines is one object that has the three fields;
- metadata by two regular expressions: a line is taken where no text in it could be mistaken for its fields.
"""

import ast
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as pa_json

from datamodules.errors import UserError, printable
from datamodules.files.gzip_blocks import LONGEST_LINE, mend, read_blocks

LATEST_TIME = 1 << 32  # seconds, the year 2106: anything later is in another unit
TOLERATED = 1000  # one malformed line among so many is counted and reported, more stop the preparation
SHOWN = 5
SHORT = 1000  # bytes of a literal that is remembered: a hostile file must not fill the memory with long ones
EXCERPT = 200  # bytes of a line that a message shows

REVIEWS = pa.schema({"user": pa.string(), "item": pa.string(), "time": pa.int64()})
_REVIEW_FIELDS = pa.schema({"reviewerID": pa.string(), "asin": pa.string(), "unixReviewTime": pa.int64()})

_ASIN = re.compile(rb"""['"]asin['"]\s*:\s*['"]([^'"]+)['"]""")
_FIRST_ASIN = re.compile(rb"\{'asin': '([!-&(-\[\]-~]+)', ")  # printable ASCII but ' and \\
_CATEGORIES = re.compile(rb", 'categories': (\[\[[^]]*\](?:, \[[^]]*\])*\])(?=, '|\}$)")


@dataclass
class Malformed:
    """Lines of one file that could not be used: how many, and the first few with their reason."""

    path: Path
    lines: int = 0  # up to the last one that is not blank
    count: int = 0
    shown: list[str] = field(default_factory=list)
    example: bytes = b""  # the first such line
    before: int = 0  # lines in front of those at work

    def add(self, row: int, reason: str, line: bytes) -> None:
        """Count row `row` (from 0) of the lines at work, after all rows before it."""
        self.count += 1
        self.example = self.example or line[:EXCERPT]
        if len(self.shown) < SHOWN:
            self.shown.append(f"  line {self.before + row + 1:,}: {reason}")

    def passed(self, lines: list[bytes]) -> None:
        """Leave the lines at work behind."""
        filled = next((row for row in reversed(range(len(lines))) if lines[row].strip()), None)
        if filled is not None:
            self.lines = self.before + filled + 1
        self.before += len(lines)

    def passed_filled(self, count: int) -> None:
        """Leave that many lines behind, none of which is blank."""
        self.before += count
        self.lines = self.before

    def notes(self) -> list[str]:
        """Return the lines to report; raises `UserError` where more than one line in 1,000 is malformed."""
        if not self.count:
            return []
        what = f"{self.path.name}: {self.count:,} of {self.lines:,} lines malformed and left out"
        if self.count * TOLERATED > self.lines:
            first = "\n".join(self.shown)
            raise UserError(
                f"{what}, more than 1 in {TOLERATED:,}; the first are\n{first}\n"
                f"and the first of these begins {excerpt(self.example)}\n"
                f"This is not the file of the 2014 release, or it is damaged. {mend(self.path)}"
            )
        return [f"{what}; the first are", *self.shown]


def excerpt(line: bytes) -> str:
    """Return the beginning of a line as a message shows it."""
    return printable(line[:EXCERPT].decode("utf-8", "replace"))


def lines_of(block: bytes) -> list[bytes]:
    """Return the lines of a block that ends with a newline, without their newlines."""
    return block.split(b"\n")[:-1]


def read_reviews(path: Path) -> tuple[pa.Table, Malformed]:
    """Return user, item and time of each review, and what was left out."""
    malformed = Malformed(path)
    tables = [REVIEWS.empty_table(), *(reviews_of(block, malformed) for block in read_blocks(path))]
    return pa.concat_tables(tables), malformed


def reviews_of(block: bytes, malformed: Malformed) -> pa.Table:
    """Return the reviews of the next lines of a file, in order."""
    table = _whole_block(block)
    if table is not None:
        malformed.passed_filled(len(table))
        return table
    reviews, lines = [], lines_of(block)
    for row, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            reviews.append(parse_review(line))
        except ValueError as error:
            malformed.add(row, str(error), line)
    malformed.passed(lines)
    columns = list(zip(*reviews, strict=True)) or [(), (), ()]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, REVIEWS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=REVIEWS)


def _whole_block(block: bytes) -> pa.Table | None:
    """Return the reviews of a block of which every line is one, as Arrow reads them; None where any line is not.

    A newline between "}" and "{" lies inside no object, so lines that all begin and end thus hold an object or more;
    as many objects as lines are then one a line. Arrow does not look at the bytes of texts that it leaves out. It takes
    `NaN` and deeper nesting than orjson does in fields that are not read.
    """
    lines = block.count(b"\n")
    if not block.startswith(b"{") or not block.endswith(b"}\n") or block.count(b"}\n{") != lines - 1:
        return None
    if any(
        block.find(b"\n", begin, begin + LONGEST_LINE // 2) < 0 for begin in range(0, len(block), LONGEST_LINE // 2)
    ):
        return None  # a line that long may be one of which only the beginning came
    try:
        block.isascii() or block.decode("utf-8")
        table = pa_json.read_json(
            pa.BufferReader(block),
            pa_json.ReadOptions(use_threads=False, block_size=len(block)),
            pa_json.ParseOptions(explicit_schema=_REVIEW_FIELDS, unexpected_field_behavior="ignore"),
        )
    except (UnicodeDecodeError, pa.ArrowException):
        return None
    user, item, time = (table[name] for name in _REVIEW_FIELDS.names)
    if len(time) != lines or any(column.null_count for column in (user, item, time)):
        return None
    if any(pc.min(pc.binary_length(texts)).as_py() == 0 for texts in (user, item)):
        return None
    if pc.min(time).as_py() < 0 or pc.max(time).as_py() >= LATEST_TIME:
        return None
    return pa.table([user, item, time], schema=REVIEWS)


def parse_review(line: bytes) -> tuple[str, str, int]:
    """Return reviewer, item and time in seconds; raises ValueError with the reason if the line has none."""
    if len(line) >= LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
    try:
        review = orjson.loads(line)
        user, item, time = review["reviewerID"], review["asin"], review["unixReviewTime"]
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except KeyError as error:
        raise ValueError(f"no {error}") from None
    except TypeError:
        raise ValueError(f"a JSON {type(review).__name__}, expected an object") from None
    if type(user) is not str or type(item) is not str or not user or not item:
        raise ValueError(f"reviewerID and asin must be text, got {user!r:.40} and {item!r:.40}")
    if type(time) is not int or not 0 <= time < LATEST_TIME:
        raise ValueError(f"unixReviewTime must be seconds since 1970, got {time!r:.40}")
    return user, item, time


class Metadata:
    """What a metadata file says about the items that have reviews; of two lines about one item the first counts."""

    def __init__(self, path: Path, items: Iterable[str]) -> None:
        self.malformed = Malformed(path)
        self.category_of: dict[str, str] = {}
        self.described = 0  # lines about these items
        self.first = b""  # line that is not blank
        self._items = {item.encode(): item for item in items}

    def read(self) -> "Metadata":
        """Read the whole file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in somebody's product description
            for block in read_blocks(self.malformed.path):
                self.take(block)
        return self

    def take(self, block: bytes) -> None:
        """Read the next lines of the file."""
        lines = lines_of(block)
        self.first = self.first or next((line for line in lines if line.strip()), b"")[:EXCERPT]
        for row, line in enumerate(lines):
            asin = _FIRST_ASIN.match(line)
            if asin and line.count(b"asin") == 1 and len(line) < LONGEST_LINE and asin[1] not in self._items:
                continue  # most lines of a full file
            try:
                item, category = _quick(line, asin) or parse_metadata(line, self._items)
            except ValueError as error:
                self.malformed.add(row, str(error), line)
                continue
            self.described += bool(item)
            if category:
                self.category_of.setdefault(item, category)
        self.malformed.passed(lines)


def _quick(line: bytes, asin: re.Match[bytes] | None) -> tuple[str, str | None] | None:
    """Return item and category of a line, found by regular expressions; None where the line is to be parsed in full.

    The words `asin` and `categories` occur once, as keys of the line's own dictionary. The second could stand inside a
    text in double quotes only, for inside single ones its own would be escaped: then there are double quotes both in
    front of it and behind it.
    """
    paths = _CATEGORIES.search(line)
    if not asin or not paths or len(line) >= LONGEST_LINE or not line.endswith(b"}"):
        return None
    if line.count(b"asin") != 1 or line.count(b"categories") != 1:
        return None
    if line.count(b"{", 0, paths.start()) != 1 + line.count(b"}", 0, paths.start()):
        return None
    if line.find(b'"', 0, paths.start()) >= 0 and line.find(b'"', paths.end()) >= 0:
        return None
    try:
        category = _remembered(paths[1]) if len(paths[1]) < SHORT else _category_in(paths[1])
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    return asin[1].decode(), category


def _category_in(literal: bytes) -> str | None:
    return _category(ast.literal_eval(literal.decode("utf-8")))


@lru_cache(1 << 16)
def _remembered(literal: bytes) -> str | None:
    """Return the category that a literal names; the same paths stand in many lines."""
    return _category_in(literal)


def parse_metadata(line: bytes, items: dict[bytes, str]) -> tuple[str, str | None]:
    """Return item and category: ("", None) if the line is blank or about none of `items`, None if it names no category.

    Parsing a literal takes long, and the full files describe many more items than have reviews: the line is
    searched for the item first. Raises ValueError with the reason if the line does not hold what it should.
    """
    nothing = "", None
    if not line.strip():
        return nothing
    if len(line) >= LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
    asins = _ASIN.findall(line)
    if not asins:
        raise ValueError("no 'asin'")
    if not any(asin in items for asin in asins):
        return nothing
    try:
        product = ast.literal_eval(line.decode("utf-8").strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal: {type(error).__name__}") from None
    if not isinstance(product, dict) or not isinstance(product.get("asin"), str):
        raise ValueError("expected a dictionary with a text 'asin'")
    if product["asin"].encode("utf-8", "surrogatepass") not in items:
        return nothing
    return product["asin"], _category(product.get("categories"))


def _category(paths: object) -> str | None:
    """Return the last element of the first path, None if there is none; raises ValueError if it is no text."""
    paths = paths or [[]]
    if not isinstance(paths, list) or not isinstance(paths[0], list):
        raise ValueError(f"'categories' must be a list of lists, got {paths!r:.40}")
    if not paths[0]:
        return None
    category = paths[0][-1]
    if not isinstance(category, str) or not category:
        raise ValueError(f"a category must be text, got {category!r:.40}")
    return category
