"""Raw files in the layout of the Amazon 2014 release, made up: what preparation is timed on.

As the originals: reviews are JSON lines grouped by item, in `reviews_<Category>_5.json.gz`, with a text of about 600
bytes; metadata are Python literals in `meta_<Category>.json.gz`, of eight times as many items as have reviews
(Electronics: 498,196 to 63,001), with a title, a description and related items.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CATEGORY = "Generated"
METADATA_A_ITEM = 8  # items described for one that has reviews
REVIEWS_AN_ITEM, REVIEWS_A_USER = 27, 9  # Electronics: 26.8 and 8.8
WORDS_A_REVIEW, WORDS_A_DESCRIPTION = 124, 60
DAY = 86_400  # seconds


def write_raw(folder: Path, reviews: int, seed: int = 0) -> tuple[Path, Path]:
    """Write both files for that many reviews into a folder, always the same ones, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = folder / f"reviews_{CATEGORY}_5.json.gz", folder / f"meta_{CATEGORY}.json.gz"
    items = max(reviews // REVIEWS_AN_ITEM, 1)
    for path, lines in zip(paths, (_reviews(reviews, items, rng), _metadata(items, rng)), strict=True):
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
            file.writelines(line + "\n" for line in lines)
    return paths


def _reviews(count: int, items: int, rng: np.random.Generator) -> Iterator[str]:
    users = max(count // REVIEWS_A_USER, 1)
    item = np.sort(np.concatenate([np.arange(items), rng.integers(0, items, count - items)]))
    user = rng.integers(0, users, count)
    day = rng.integers(12_000, 16_000, count)
    for number, text in enumerate(_texts(count, WORDS_A_REVIEW, rng)):
        review = {
            "reviewerID": f"A{user[number] * 1_000_003 % 10**13:013d}",
            "asin": f"B{item[number]:09d}",
            "reviewerName": text[:12],
            "helpful": [int(user[number] % 5), 7],
            "reviewText": text,
            "overall": float(1 + number % 5),
            "summary": text[12:40],
            "unixReviewTime": int(day[number]) * DAY,
            "reviewTime": "07 22, 2014",
        }
        yield json.dumps(review)


def _metadata(items: int, rng: np.random.Generator) -> Iterator[str]:
    """A line an item, those with reviews among others without."""
    count = METADATA_A_ITEM * items
    related = rng.integers(0, count, (count, 20))
    for number, text in enumerate(_texts(count, WORDS_A_DESCRIPTION, rng)):
        reviewed = number % METADATA_A_ITEM == 0
        product = {
            "asin": f"B{number // METADATA_A_ITEM:09d}" if reviewed else f"X{number:09d}",
            "title": text[:60],
            "description": text,
            "price": round(1 + number % 90 + 0.99, 2),
            "imUrl": f"http://example.com/images/I/{number:09d}.jpg",
            "related": {"also_viewed": [f"B{other:09d}" for other in related[number].tolist()]},
            "salesRank": {"Generated": number},
            "categories": [["Generated", f"Branch {number % 30}", f"Leaf's {number % 800}"]],
        }
        yield repr(product)


def _texts(count: int, words: int, rng: np.random.Generator) -> Iterator[str]:
    """Texts of about `words` words out of 20,000, frequent and rare ones as in English."""
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    vocabulary = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 8, 20_000).tolist()]
    frequency = 1 / np.arange(1, len(vocabulary) + 1)
    for begin in range(0, count, 1_000):
        size = min(1_000, count - begin)
        chosen = rng.choice(len(vocabulary), (size, words), p=frequency / frequency.sum())
        lengths = rng.integers(words // 2, 3 * words // 2, size)
        for row, length in zip(chosen.tolist(), lengths.tolist(), strict=True):
            yield " ".join([vocabulary[word] for word in row[:length]])
