"""The Amazon reader on small hand-made files: what it takes from them, and every kind of damage."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.files import gzip_blocks
from datamodules.files.gzip_blocks import LONGEST_LINE, read_blocks
from datamodules.sources import amazon
from datamodules.sources.amazon import CATEGORIES, LATEST_TIME, read_amazon
from datamodules.sources.spec import Counts

REVIEWS, METADATA = "reviews_Baby_5.json.gz", "meta_Baby.json.gz"


def review(user: object = "u1", item: object = "B1", time: object = 86_400, **fields: object) -> bytes:
    return json.dumps({"reviewerID": user, "asin": item, "unixReviewTime": time, **fields}).encode()


def product(item: str, *path: str) -> bytes:
    return repr({"asin": item, "title": "it's", "categories": [list(path), ["Other", "path"]]}).encode()


MANY = [review(f"u{n % 40}", f"B{n % 20:02d}", n) for n in range(2_500)]  # so that a few bad lines are tolerated
PRODUCTS = [product(f"B{n:02d}", "Baby", f"leaf {n % 3}") for n in range(20)]


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("AMAZON_MIRROR", str(folder))
    return folder


def put(mirror: Path, reviews: list[bytes] = MANY, metadata: list[bytes] = PRODUCTS) -> None:
    for name, lines in ((REVIEWS, reviews), (METADATA, metadata)):
        with gzip.open(mirror / name, "wb", compresslevel=1) as file:
            file.writelines(line + b"\n" for line in lines)


def test_what_is_read(mirror: Path, tmp_path: Path) -> None:
    reviews = [
        review("u1", "B1", 30, overall=5.0, reviewText="fine ✓"),
        review("u2", "B1", 20),
        review("u1", "B2", 0),
    ]
    put(
        mirror,
        reviews,
        [product("B2", "Baby", "Toys", "Balls"), product("B9", "Baby"), product("B1", "Baby")],
    )
    raw = read_amazon("Baby", tmp_path / "data")
    rows = [(raw.user_ids[u], raw.item_ids[i], t) for u, i, t in zip(raw.user, raw.item, raw.time, strict=True)]
    assert rows == [("u1", "B1", 30), ("u2", "B1", 20), ("u1", "B2", 0)]
    assert raw.category_of == {"B1": "Baby", "B2": "Balls"}  # the last element of the first path
    assert raw.counts == Counts(3, 2, 2, 2)
    assert (raw.user.dtype, raw.item.dtype, raw.time.dtype) == (np.int32, np.int32, np.int64)
    assert (raw.malformed, raw.missing_categories, raw.notes) == (0, 0, ())
    assert raw.inputs == [
        {
            "file": name,
            "url": f"{mirror}/{name}",
            "sha256": hashlib.sha256((mirror / name).read_bytes()).hexdigest(),
            "bytes": (mirror / name).stat().st_size,
            "path": str(mirror / name),
            "modified_ns": (mirror / name).stat().st_mtime_ns,
        }
        for name in (REVIEWS, METADATA)
    ]


def test_blank_lines_and_a_missing_last_newline_are_no_damage(mirror: Path, tmp_path: Path) -> None:
    put(mirror, [review()], [product("B1", "Baby")])
    (mirror / REVIEWS).write_bytes(gzip.compress(b"\n" + review() + b"\r\n\n" + review("u2")))
    raw = read_amazon("Baby", tmp_path)
    assert (raw.counts.interactions, raw.malformed) == (2, 0)


@pytest.mark.parametrize(
    "line",
    [None, b"{'asin': 'B1'}", b"{'asin': 'B1', 'categories': []}", b"{'asin': 'B1', 'categories': [[]]}"],
)
def test_an_item_without_category_is_unknown_and_counted(mirror: Path, tmp_path: Path, line: bytes | None) -> None:
    put(mirror, [review(item="B1"), review(item="B2")], [product("B2", "Baby")] + [line] * (line is not None))
    raw = read_amazon("Baby", tmp_path)
    assert raw.category_of == {"B1": "unknown", "B2": "Baby"}
    assert (raw.missing_categories, raw.malformed) == (1, 0)
    assert raw.notes == (f"{METADATA}: 1 of 2 items have no category there, they get the category 'unknown'",)


def test_of_two_lines_about_one_item_the_last_counts(mirror: Path, tmp_path: Path) -> None:
    put(mirror, [review()], [product("B1", "Baby", "old"), product("B1", "Baby", "new")])
    assert read_amazon("Baby", tmp_path).category_of == {"B1": "new"}


def test_the_item_of_a_line_is_the_one_of_the_literal(mirror: Path, tmp_path: Path) -> None:
    quoting = repr({"title": "see 'asin': 'B1'", "asin": "B2", "categories": [["Two"]]}).encode()
    put(mirror, [review(item="B1"), review(item="B2")], [product("B1", "One"), quoting])
    assert read_amazon("Baby", tmp_path).category_of == {"B1": "One", "B2": "Two"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON: "),
        (b"", None),
        (b"{'reviewerID': 'u1'}", "not JSON: "),
        (b'{"reviewerID": "\xff", "asin": "B1", "unixReviewTime": 1}', "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b"[1]", "a JSON list, expected an object"),
        (b"null", "a JSON NoneType, expected an object"),
        (b'"asin"', "a JSON str, expected an object"),
        (b'{"asin": "B1", "unixReviewTime": 1}', "no 'reviewerID'"),
        (b'{"reviewerID": "u1", "unixReviewTime": 1}', "no 'asin'"),
        (b'{"reviewerID": "u1", "asin": "B1"}', "no 'unixReviewTime'"),
        (review(user=7), "reviewerID and asin must be text, got 7 and 'B1'"),
        (review(item=None), "reviewerID and asin must be text, got 'u1' and None"),
        (review(item=""), "reviewerID and asin must be text, got 'u1' and ''"),
        (review(time="1"), "unixReviewTime must be seconds since 1970, got '1'"),
        (review(time=True), "unixReviewTime must be seconds since 1970, got True"),
        (review(time=1.5), "unixReviewTime must be seconds since 1970, got 1.5"),
        (review(time=-1), "unixReviewTime must be seconds since 1970, got -1"),
        (review(time=1_400_000_000_000), "unixReviewTime must be seconds since 1970, got 1400000000000"),
        (review(text="x" * LONGEST_LINE * 2), f"longer than {LONGEST_LINE:,} bytes"),
    ],
)
def test_a_malformed_review_is_left_out_and_reported(
    mirror: Path, tmp_path: Path, line: bytes, reason: str | None
) -> None:
    put(mirror, [*MANY[:1000], line, *MANY[1000:]])
    raw = read_amazon("Baby", tmp_path)
    assert raw.counts.interactions == len(MANY)
    assert raw.malformed == (reason is not None)
    if reason:
        assert raw.notes[0] == f"{REVIEWS}: 1 of 2,501 lines malformed and left out; the first are"
        assert raw.notes[1].startswith(f"  line 1,001: {reason}")


DEEP = 300_000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{'asin': 'B00', 'categories': [['a'", "not a Python literal: SyntaxError"),
        (b"{'asin': 'B00', 'x': " + b"(" * DEEP, "not a Python literal: SyntaxError"),
        (b"{'asin': 'B00', 'x': " + b"-" * DEEP + b"1}", "not a Python literal: "),
        (b"{'asin': 'B00', 'x': 1" + b"+1" * DEEP + b"}", "not a Python literal: RecursionError"),
        (b"{'asin': 'B00', 'x': '\xff'}", "not a Python literal: UnicodeDecodeError"),
        (b"{'asin': 'B00', 'x': '\0'}", "not a Python literal: "),
        (b"{'asin': 'B00', []: 1}", "not a Python literal: TypeError"),
        (b"[{'asin': 'B00'}]", "expected a dictionary with a text 'asin'"),
        (b"{'x': {'asin': 'B00'}}", "expected a dictionary with a text 'asin'"),
        (b"{'asin': 'B00', 'categories': 'Baby'}", "'categories' must be a list of lists, got 'Baby'"),
        (b"{'asin': 'B00', 'categories': ['Baby']}", "'categories' must be a list of lists, got ['Baby']"),
        (b"{'asin': 'B00', 'categories': [[1]]}", "a category must be text, got 1"),
        (b"{'asin': 'B00', 'x': '" + b"x" * LONGEST_LINE + b"'}", f"longer than {LONGEST_LINE:,} bytes"),
        (b"<html>", "no 'asin'"),
    ],
)
def test_a_malformed_product_is_left_out_and_reported(mirror: Path, tmp_path: Path, line: bytes, reason: str) -> None:
    others = [product(f"C{n}", "Baby") for n in range(1000)]
    put(mirror, MANY, [line, *PRODUCTS[1:], *others])
    raw = read_amazon("Baby", tmp_path)
    assert raw.category_of["B00"] == "unknown"
    assert (raw.malformed, raw.missing_categories) == (1, 1)
    assert raw.notes[0] == f"{METADATA}: 1 of 1,020 lines malformed and left out; the first are"
    assert raw.notes[1].startswith(f"  line 1: {reason}")


def test_metadata_is_never_executed(mirror: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    call = f"{{'asin': 'B00', 'categories': [[open({str(trap)!r}, 'w').name]]}}".encode()
    put(mirror, MANY, [call, *PRODUCTS[1:], *[product(f"C{n}", "Baby") for n in range(1000)]])
    assert read_amazon("Baby", tmp_path / "data").category_of["B00"] == "unknown"
    assert not trap.exists()


def test_strange_escapes_do_not_warn(mirror: Path, tmp_path: Path) -> None:
    put(mirror, [review()], [rb"{'asin': 'B1', 'title': '\d \/', 'categories': [['Baby']]}"])
    assert read_amazon("Baby", tmp_path).category_of == {"B1": "Baby"}


ODD_REVIEWS = [
    *(b"", b" \t", b"{", review("é", "B00", 1), review("u1", 'B"', 2), review("u1", "B00", LATEST_TIME)),
    *(b'{"asin": "B00"}', review("\u2019"), b'{"x": 1e9, ' + review("u7")[1:], review("u1", "B00", LATEST_TIME - 1)),
    review(time=-1),
]
ODD_PRODUCTS = [
    *(b"", b"{'asin': 'B01'", "{'asin': 'B02', 'categories': [['é']]}".encode(), b"{'asin': 'B03', 'categories': ''}"),
    *(b"{'asin': 'B04', 'categories': [[1]]}", b"{'asin': 'Z', 'categories': [[1]]}", b"{'asin': 'B05'}", b"{'x': 1}"),
    *(b"{'asin': 'B06', 'categories': [['a', 'b\\x41']]}", b"{'asin': 'B06', 'categories': [[]]}", b"{'asin': ''}"),
    b"{'asin': 'B07', 'categories': [['old']], 'categories': [['new']]}",
]


@pytest.mark.parametrize("block", [50, 3_000, 1 << 22])
def test_plain_and_other_lines_give_what_full_parsing_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(gzip_blocks, "BLOCK", block)
    path = tmp_path / "x.gz"
    plain_reviews = [review(f"u{n % 7}", f"B0{n % 9}", n, reviewText="x\n" * n) for n in range(len(ODD_REVIEWS))]
    lines = [line for pair in zip(ODD_REVIEWS, plain_reviews, strict=True) for line in pair]
    expected, bad = [], []
    for number, line in enumerate(lines, 1):
        try:
            expected += [] if (line + b"\n").isspace() else [amazon._parse_review(line)]
        except ValueError as error:
            bad.append(f"  line {number}: {error}")
    path.write_bytes(gzip.compress(b"\n".join([*lines, b"", b" ", b""])))
    table, malformed = amazon._read_reviews(path)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert (malformed.lines, malformed.count) == (len(lines), len(bad))
    assert [shown[:20] for shown in malformed.shown] == [shown[:20] for shown in bad[:5]]

    items = {f"B0{n}" for n in range(9)}
    lines = [line for pair in zip(ODD_PRODUCTS, PRODUCTS, strict=False) for line in pair]
    category_of, bad = {}, []
    for number, line in enumerate(lines, 1):
        try:
            item, category = amazon._parse_metadata(line + b"\n", items)
        except ValueError as error:
            bad.append(f"  line {number}: {error}")
            continue
        if category:
            category_of[item] = category
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    found, malformed = amazon._read_metadata(path, items)
    assert found == category_of
    assert (malformed.lines, malformed.count, malformed.shown) == (len(lines), len(bad), bad[:5])


def test_more_than_one_malformed_review_in_1000_stops(mirror: Path, tmp_path: Path) -> None:
    put(mirror, [b"{"] * 7 + MANY)
    with pytest.raises(UserError) as caught:
        read_amazon("Baby", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == (f"{REVIEWS}: 7 of 2,507 lines malformed and left out, more than 1 in 1,000; the first are")
    assert [line.split(":")[0] for line in lines[1:6]] == [f"  line {n}" for n in range(1, 6)]
    assert "Delete" in lines[6]
    assert str(mirror / REVIEWS) in lines[6]
    assert len(lines) == 7


def test_exactly_one_malformed_line_in_1000_is_tolerated(mirror: Path, tmp_path: Path) -> None:
    put(mirror, [b"{", *MANY[:999]])
    assert read_amazon("Baby", tmp_path).malformed == 1
    put(mirror, [b"{", *MANY[:998]])
    with pytest.raises(UserError, match="more than 1 in 1,000"):
        read_amazon("Baby", tmp_path)


def test_too_many_malformed_products_stop(mirror: Path, tmp_path: Path) -> None:
    put(mirror, MANY, [b"{'asin': 'B00'", *PRODUCTS])
    with pytest.raises(UserError, match=f"{METADATA}: 1 of 21 lines malformed .*\n  line 1: not a Python"):
        read_amazon("Baby", tmp_path)


def corrupt_checksum(content: bytes) -> bytes:
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


def corrupt_stream(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + b"\xff" * 20 + content[middle + 20 :]


@pytest.mark.parametrize("name", [REVIEWS, METADATA])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[: len(content) // 2], "is cut short"),
        (lambda content: content[:-4], "is cut short"),
        (lambda content: content[:5], "is cut short"),
        (corrupt_checksum, "is corrupted: CRC check failed"),
        (corrupt_stream, "is corrupted|malformed"),
        (lambda content: content + b"more than a gzip header", "is corrupted"),
        (lambda content: content + b"more", "is cut short"),  # the header of a second stream could begin so
        (lambda content: b"<html>404</html>", "begins with b'<htm"),
        (gzip.decompress, """begins with b['"]{"""),
        (lambda content: b"", "0 bytes"),
    ],
)
def test_a_damaged_file(mirror: Path, tmp_path: Path, name: str, damage, reason: str) -> None:
    put(mirror)
    path = mirror / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=reason) as caught:
        read_amazon("Baby", tmp_path)
    assert str(path) in str(caught.value)
    assert "Delete" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", r"is empty \(0 bytes\)"), (b"<html>", "is not a gzip file: it begins with b'<h', expected")],
)
def test_a_wrong_file_is_noticed_by_the_reader_too(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / REVIEWS
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{REVIEWS} {reason}.* Delete"):
        list(read_blocks(path))
    with pytest.raises(UserError, match=f"{METADATA} cannot be read: No such file"):
        list(read_blocks(tmp_path / METADATA))


def test_no_reviews_at_all(mirror: Path, tmp_path: Path) -> None:
    put(mirror, reviews=[])
    with pytest.raises(UserError, match=f"{REVIEWS} holds no reviews. Delete"):
        read_amazon("Baby", tmp_path)


@pytest.mark.parametrize("name", [REVIEWS, METADATA])
def test_a_missing_file(mirror: Path, tmp_path: Path, name: str) -> None:
    put(mirror)
    (mirror / name).unlink()
    with pytest.raises(UserError) as caught:
        read_amazon("Baby", tmp_path)
    assert f"cannot get {name}" in str(caught.value)
    assert "AMAZON_MIRROR" in str(caught.value)
    assert "DATASETS=tafeng" in str(caught.value)  # the way that needs no server


def test_mirrors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def fetch(filename: str, mirrors: tuple[str, ...], folder: Path, **options: object) -> Path:
        asked.append((filename, tuple(mirrors), folder, options["size"]))
        raise UserError("asked")

    monkeypatch.setattr(amazon, "fetch", fetch)
    for mirror in ("http://localhost/x", "", None):
        if mirror is None:
            monkeypatch.delenv("AMAZON_MIRROR")
        else:
            monkeypatch.setenv("AMAZON_MIRROR", mirror)
        with pytest.raises(UserError, match="asked"):
            read_amazon("Electronics", tmp_path)
    name, folder = "reviews_Electronics_5.json.gz", tmp_path / "raw" / "amazon"
    assert asked[0] == (name, ("http://localhost/x",), folder, None)  # a stripped-down copy will do
    assert asked[1] == asked[2] == (name, amazon.MIRRORS, folder, 495_854_086)
    assert all("snap.stanford.edu" in url for url in amazon.MIRRORS)


def test_no_password_in_the_manifest(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(mirror)
    monkeypatch.setenv("AMAZON_MIRROR", "https://me:secret@localhost:8000/files/")
    assert amazon._describe(mirror, mirror / REVIEWS)["url"] == f"https://localhost:8000/files/{REVIEWS}"


def test_all_categories_of_the_release_are_there() -> None:
    assert len(CATEGORIES) == 24
    assert all(counts.interactions for counts in CATEGORIES.values())


def test_long_literals_are_read_and_not_remembered(mirror: Path, tmp_path: Path) -> None:
    amazon._remembered.cache_clear()
    long = [product(f"B{n:02d}", "x" * 50_000, f"leaf {n}") for n in range(20)]
    put(mirror, MANY, long)
    assert read_amazon("Baby", tmp_path).category_of == {f"B{n:02d}": f"leaf {n}" for n in range(20)}
    assert amazon._remembered.cache_info().currsize == 0


@pytest.mark.parametrize(
    "line",
    [
        b"__import__('os').mkdir('ran')",
        b"{'asin': 'B00', 'categories': [[__import__('os').mkdir('ran')]]}",
        b"{'asin': 'B00', 'categories': [['a'].append(open('ran', 'w'))]}",
        b"{'asin': 'B00', 'categories': [[f'{open(chr(97), chr(119))}']]}",
    ],
)
def test_a_line_that_is_code_is_malformed_and_not_run(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.chdir(tmp_path / "mirror")
    put(mirror, MANY, [line, *PRODUCTS])
    with pytest.raises(UserError, match="1 of 21 lines malformed"):
        read_amazon("Baby", tmp_path)
    assert {path.name for path in mirror.iterdir()} == {REVIEWS, METADATA}
