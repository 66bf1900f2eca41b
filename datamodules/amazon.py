"""Amazon reviews, the 5-core files of the 2014 release (May 1996 to July 2014).

R. He and J. McAuley, "Ups and Downs: Modeling the Visual Evolution of Fashion Trends with One-Class
Collaborative Filtering", WWW 2016; J. McAuley, C. Targett, J. Shi and A. van den Hengel, "Image-based
Recommendations on Styles and Substitutes", SIGIR 2015. A review is a behaviour. Review files are JSON lines,
metadata files are lines of Python literals. The category of an item is the last element of the first path of
`categories`, as in the preprocessing of the DIEN paper's released code.
"""

import ast
import gzip
import io
import os
import re
import warnings
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from datamodules.download import fetch
from datamodules.errors import UserError
from datamodules.interactions import UNKNOWN_CATEGORY, Counts, RawInteractions, file_sha256

MIRRORS = (
    "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
    "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
)
LICENCE = "published for research by J. McAuley, UCSD; no licence stated, not redistributed here"
LONGEST_LINE = 1 << 20  # bytes; real lines stay far below, and a parser needs hundreds of bytes a byte
LATEST_TIME = 1 << 32  # seconds, the year 2106: anything later is in another unit
TOLERATED = 1000  # one malformed line among so many is counted and reported, more stop the preparation
SHOWN = 5

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

_ASIN = re.compile(rb"""['"]asin['"]\s*:\s*['"]([^'"]+)['"]""")


@dataclass
class Malformed:
    """Lines of one file that could not be used: how many, and the first few with their reason."""

    path: Path
    lines: int = 0
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Count line `number` (from 1)."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"  line {number:,}: {reason}")

    def notes(self) -> list[str]:
        """Return the lines to report; raises `UserError` where more than one line in 1,000 is malformed."""
        if not self.count:
            return []
        what = f"{self.path.name}: {self.count:,} of {self.lines:,} lines malformed and left out"
        if self.count * TOLERATED > self.lines:
            first = "\n".join(self.shown)
            raise UserError(
                f"{what}, more than 1 in {TOLERATED:,}; the first are\n{first}\n"
                f"This is not the file of the 2014 release, or it is damaged. {_mend(self.path)}"
            )
        return [f"{what}; the first are", *self.shown]


def read_amazon(category: str, data_dir: Path) -> RawInteractions:
    """Read one category, named as in `CATEGORIES`; files that are not there yet are downloaded.

    Raises `UserError` for a file that cannot be had, is damaged or is not of this release.
    """
    folder = data_dir / "raw" / "amazon"
    reviews = _obtain(f"reviews_{category}_5.json.gz", folder)
    metadata = _obtain(f"meta_{category}.json.gz", folder)
    user, item, time, users, items, bad_reviews = _read_reviews(reviews)
    notes = bad_reviews.notes()
    if not len(time):
        raise UserError(f"{reviews} holds no reviews. {_mend(reviews)}")
    category_of, bad_metadata = _read_metadata(metadata, items)
    notes += bad_metadata.notes()
    missing = [asin for asin in items if asin not in category_of]
    category_of.update(dict.fromkeys(missing, UNKNOWN_CATEGORY))
    if missing:
        notes.append(
            f"{metadata.name}: {len(missing):,} of {len(items):,} items have no category there, "
            f"they get the category '{UNKNOWN_CATEGORY}'"
        )
    return RawInteractions(
        user=np.frombuffer(user, np.int32),
        item=np.frombuffer(item, np.int32),
        time=np.frombuffer(time, np.int64),
        user_ids=list(users),
        item_ids=list(items),
        category_of=category_of,
        inputs=[_describe(path) for path in (reviews, metadata)],
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
    advice = "Or set AMAZON_MIRROR to a URL or a local folder that holds the file."
    # A stripped-down copy in the user's own mirror is welcome: its counts are the check.
    size = SIZES.get(filename) if mirrors is MIRRORS else None
    return fetch(filename, mirrors, folder, size=size, advice=advice)


def _describe(path: Path) -> dict[str, Any]:
    """Return the manifest's entry of an input file; the address is stripped of user name and password."""
    mirror = _mirrors()[0]
    parts = urlsplit(mirror)
    if parts.username is not None:
        mirror = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    url = f"{mirror.rstrip('/')}/{path.name}"
    return {"file": path.name, "url": url, "sha256": file_sha256(path), "bytes": path.stat().st_size}


def _mend(path: Path) -> str:
    return f"Delete {path} and run the command again, or put a sound copy in its place."


def _read_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yield number (from 1) and content of each line of a gzip file; None for a line that is absurdly long.

    Raises `UserError` for a file that is empty, no gzip file, cut short or corrupted.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2)
        if not head:
            raise UserError(f"{path} is empty (0 bytes), expected a gzip file. {_mend(path)}")
        if head != b"\x1f\x8b":
            raise UserError(
                f"{path} is not a gzip file: it begins with {head!r}, expected b'\\x1f\\x8b'. {_mend(path)}"
            )
        number = 0
        # The buffer halves the time that lines take.
        with gzip.open(path, "rb") as content, io.BufferedReader(content, 1 << 20) as lines:
            while line := lines.readline(LONGEST_LINE):
                number += 1
                whole = len(line) < LONGEST_LINE or line.endswith(b"\n")
                while line and not line.endswith(b"\n") and not whole:
                    line = lines.readline(LONGEST_LINE)
                if not line.isspace():
                    yield number, line if whole else None
    except EOFError:
        raise UserError(f"{path} is cut short: the gzip stream ends too early. {_mend(path)}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is corrupted: {error}. {_mend(path)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_reviews(
    path: Path,
) -> tuple["array[int]", "array[int]", "array[int]", dict[str, int], dict[str, int], Malformed]:
    """Return user, item and time of each review, the positions of the raw ids, and what was left out."""
    user_codes, item_codes, times = array("i"), array("i"), array("q")
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    malformed = Malformed(path)
    for number, line in _read_lines(path):
        malformed.lines = number
        try:
            user, item, time = _parse_review(line)
        except ValueError as error:
            malformed.add(number, str(error))
            continue
        user_codes.append(users.setdefault(user, len(users)))
        item_codes.append(items.setdefault(item, len(items)))
        times.append(time)
    return user_codes, item_codes, times, users, items, malformed


def _parse_review(line: bytes | None) -> tuple[str, str, int]:
    """Return reviewer, item and time in seconds; raises ValueError with the reason if the line has none."""
    if line is None:
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


def _read_metadata(path: Path, items: dict[str, int]) -> tuple[dict[str, str], Malformed]:
    """Return the categories of those `items` that have one, and what was left out."""
    category_of: dict[str, str] = {}
    malformed = Malformed(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in somebody's product description
        for number, line in _read_lines(path):
            malformed.lines = number
            try:
                found = _parse_metadata(line, items)
            except ValueError as error:
                malformed.add(number, str(error))
                continue
            if found:
                category_of[found[0]] = found[1]  # of two lines about one item the last counts, as in the code
    return category_of, malformed


def _parse_metadata(line: bytes | None, items: dict[str, int]) -> tuple[str, str] | None:
    """Return item and category; None if the line is about another item or names no category.

    Parsing a literal takes long, and the full files describe many more items than have reviews: the line is
    searched for the item first. Raises ValueError with the reason if the line does not hold what it should.
    """
    if line is None:
        raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
    asins = _ASIN.findall(line)
    if not asins:
        raise ValueError("no 'asin'")
    if not any(asin.decode("utf-8", "replace") in items for asin in asins):
        return None
    try:
        product = ast.literal_eval(line.decode("utf-8").strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal: {type(error).__name__}") from None
    if not isinstance(product, dict) or not isinstance(product.get("asin"), str):
        raise ValueError("expected a dictionary with a text 'asin'")
    if product["asin"] not in items:
        return None
    paths = product.get("categories") or [[]]
    if not isinstance(paths, list) or not isinstance(paths[0], list):
        raise ValueError(f"'categories' must be a list of lists, got {paths!r:.40}")
    if not paths[0]:
        return None
    category = paths[0][-1]
    if not isinstance(category, str) or not category:
        raise ValueError(f"a category must be text, got {category!r:.40}")
    return product["asin"], category
