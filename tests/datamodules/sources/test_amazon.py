"""The Amazon reader on small hand-made files: what it takes from them, and every kind of damage."""

import ast
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import UserError
from datamodules.files import gzip_blocks
from datamodules.files.gzip_blocks import LONGEST_LINE, read_blocks
from datamodules.sources import amazon, amazon_files
from datamodules.sources.amazon import CATEGORIES, read_amazon
from datamodules.sources.amazon_files import LATEST_TIME, Metadata, parse_metadata, parse_review, read_reviews
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
    [None, b"{'asin': 'B00'}", b"{'asin': 'B00', 'categories': []}", b"{'asin': 'B00', 'categories': [[]]}"],
)
def test_an_item_without_category_is_unknown_and_counted(mirror: Path, tmp_path: Path, line: bytes | None) -> None:
    put(mirror, MANY, PRODUCTS[1:] + [line] * (line is not None))
    raw = read_amazon("Baby", tmp_path)
    assert raw.category_of["B00"] == "unknown"
    assert raw.category_of["B01"] == "leaf 1"
    assert (raw.missing_categories, raw.malformed) == (1, 0)
    assert raw.notes == (f"{METADATA}: 1 of 20 items have no category there, they get the category 'unknown'",)


def of_2018(item: str) -> bytes:
    product = {"category": ["Baby", "Toys"], "title": "Ball", "also_buy": [], "price": "$1.00", "asin": item}
    return json.dumps(product).encode()


@pytest.mark.parametrize(
    ("metadata", "found", "described", "begins"),
    [
        ([b"{'asin': 'B%02d', 'categories': [[]]}" % n for n in range(20)], 0, 20, "{'asin': 'B00', 'categories': [[]"),
        ([b"{'asin': 'B%02d'}" % n for n in range(20)], 0, 20, "{'asin': 'B00'}"),
        ([product(f"C{n:02d}", "Books") for n in range(900)], 0, 0, "{'asin': 'C00', "),  # of another category
        ([of_2018(f"B{n:02d}") for n in range(20)], 0, 20, '{"category": ["Baby", "Toys"]'),
        (PRODUCTS[:18], 18, 18, "{'asin': 'B00', "),  # two of twenty
        (PRODUCTS[:10] + [b"{'asin': 'B%02d'}" % n for n in range(10, 20)], 10, 20, "{'asin': 'B00', "),
        ([b"", b" "], 0, 0, ""),
    ],
)
def test_metadata_that_gives_items_no_category(
    mirror: Path, tmp_path: Path, metadata: list[bytes], found: int, described: int, begins: str
) -> None:
    put(mirror, MANY, metadata)
    with pytest.raises(UserError) as caught:
        read_amazon("Baby", tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"{mirror / METADATA} names a category for {found} of the 20 items that have reviews, expected at least 95% of "
        f"them; {described} of its {len(metadata) if begins else 0} lines are about these items."
    )
    assert f"\n  it begins  {begins}" in message
    assert "{'asin': 'B0001', 'categories': [['Books', 'History']], ...}" in message
    assert f"Delete {mirror / METADATA}" in message


def test_malformed_metadata_shows_what_the_file_looks_like(mirror: Path, tmp_path: Path) -> None:
    put(mirror, MANY, [b'{"asin": "B00", "category": ["Baby"], "price": null}'] * 20)
    with pytest.raises(UserError, match=r'the first of these begins \{"asin": "B00", "category": \["Baby"\], "price"'):
        read_amazon("Baby", tmp_path)


def test_of_two_lines_about_one_item_the_first_that_names_a_category_counts(mirror: Path, tmp_path: Path) -> None:
    empty = b"{'asin': 'B1', 'title': 'x'}"
    slow = b"{'title': 'x', 'asin': 'B1', 'categories': [['slow']]}"
    for lines, expected in (
        ([product("B1", "Baby", "old"), product("B1", "Baby", "new")], "old"),
        ([empty, product("B1", "Baby", "old"), slow], "old"),
        ([slow, product("B1", "Baby", "new")], "slow"),
    ):
        for reviewed in (lines, [lines[0], *[product("C1", "Other")] * 3, *lines[1:]]):
            put(mirror, [review()], reviewed)
            assert read_amazon("Baby", tmp_path).category_of == {"B1": expected}


@pytest.mark.parametrize(
    ("line", "category"),
    [
        (b"""{'asin': 'B1', 'description': "see 'asin': 'B2', 'categories': [['Wrong']], 'x'", 'y': 1}""", None),
        (b"""{'asin': 'B1', 'description': "as , 'categories': [['Wrong']], 'y': 1}", 'z': "it's"}""", None),
        (b"""{'asin': 'B1', 'x': "it's", 'd': "a, 'categories': [['Wrong']], 'y'", 'z': '"'}""", None),
        (b"""{'asin': 'B1', 'x': "a, 'categories': [['Wrong']], '", 'categories': [['Right']]}""", "Right"),
        (b"""{'asin': 'B1', 'categories': [['Right']], 'x': "a, 'categories': [['Wrong']], '"}""", "Right"),
        (b"""{'asin': 'B1', 'x': 'a\\', \\'categories\\': [[\\'Wrong\\']], ', 'categories': [['Right']]}""", "Right"),
        (b"""{'asin': 'B1', 'x': {'y': 1, 'categories': [['Wrong']], 'z': 2}, 'w': 2}""", None),
        (b"""{'asin': 'B1', 'x': [{'categories': [['Wrong']], 'z': 2}], 'categories': [['Right']]}""", "Right"),
        (b"""{'asin': 'B1', 'categories': [['a]], b', "it's [x]"], ['c']], 'x': 1}""", "it's [x]"),
        (b"""{'asin': 'B1', 'categories': [['a', 'b\\x41'], ['c']]}\r""", "bA"),
        ("{'asin': 'B1', 'categories': [['Fée']], 'x': 1}".encode(), "Fée"),
        (b"""{'asin': 'B1', 'title': "Men's", 'categories': [['Right']], 'x': "it's"}""", "Right"),
    ],
)
def test_a_text_that_quotes_the_fields_fools_nobody(tmp_path: Path, line: bytes, category: str | None) -> None:
    about = Metadata(tmp_path / "x", ["B1", "B2"])
    about.take(line + b"\n")
    assert about.category_of == ({"B1": category} if category else {})
    assert ast.literal_eval(line.decode().strip()).get("categories", [[None]])[0][-1] == category


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
            expected += [] if not line.strip() else [parse_review(line)]
        except ValueError as error:
            bad.append(f"  line {number}: {error}")
    path.write_bytes(gzip.compress(b"\n".join([*lines, b"", b" ", b""])))
    table, malformed = read_reviews(path)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert (malformed.lines, malformed.count) == (len(lines), len(bad))
    assert [shown[:20] for shown in malformed.shown] == [shown[:20] for shown in bad[:5]]

    items = {f"B0{n}" for n in range(9)}
    lines = [line for pair in zip(ODD_PRODUCTS, PRODUCTS, strict=False) for line in pair]
    category_of, bad = {}, []
    for number, line in enumerate(lines, 1):
        try:
            item, category = parse_metadata(line, {item.encode(): item for item in items})
        except ValueError as error:
            bad.append(f"  line {number}: {error}")
            continue
        if category:
            category_of.setdefault(item, category)
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    about = Metadata(path, items).read()
    assert about.category_of == category_of
    assert (about.malformed.lines, about.malformed.count, about.malformed.shown) == (len(lines), len(bad), bad[:5])


keys = st.sampled_from(["reviewerID", "asin", "unixReviewTime", "reviewText", "x", ""])
texts = st.text(max_size=12) | st.sampled_from(["u1", "B1", '"', "}\n{", "\\", "\ud800"])
values = texts | st.integers(-5, 2**34) | st.integers() | st.booleans() | st.none() | st.lists(texts, max_size=2)
objects = st.lists(st.tuples(keys, values), max_size=5)
sound = st.tuples(st.sampled_from(["u1", "ü"]), st.sampled_from(["B1", "B\u2019"]), st.integers(0, 2**32 - 1))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(sound, max_size=4), st.lists(objects, max_size=2), st.booleans(), st.sampled_from(["\n", "\r\n", " \n"])
)
def test_blocks_of_reviews_are_what_their_lines_are(
    rows: list[tuple[str, str, int]], odd: list[list[tuple[str, object]]], ascii_only: bool, end: str
) -> None:
    """Whatever stands in a block: Arrow's reading of it and orjson's reading line by line are one."""
    pairs = [[("reviewerID", user), ("asin", item), ("unixReviewTime", time)] for user, item, time in rows] + odd
    lines = ["{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in line) + "}" for line in pairs]
    if not ascii_only:
        raw = ["{" + ", ".join(f'"{k}": {json.dumps(v, ensure_ascii=False)}' for k, v in line) + "}" for line in pairs]
        lines = raw
    block = "".join(line + end for line in lines).encode("utf-8", "surrogatepass") or b"\n"
    malformed = amazon_files.Malformed(Path("x"))
    table = amazon_files.reviews_of(block, malformed)
    expected, bad = [], 0
    for line in block.split(b"\n")[:-1]:
        try:
            expected += [parse_review(line)] if line.strip() else []
        except ValueError:
            bad += 1
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert (malformed.count, malformed.lines) == (bad, len(pairs))


def test_a_sound_block_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_files, "parse_review", None)
    block = b"".join(line + b"\n" for line in MANY)
    assert amazon_files.reviews_of(block, amazon_files.Malformed(Path("x"))).num_rows == len(MANY)


def test_two_objects_on_a_line_and_one_on_two_are_no_reviews() -> None:
    two = review() + b" " + review() + b"\n"
    halves = review().replace(b", ", b",\n", 1) + b"\n"
    malformed = amazon_files.Malformed(Path("x"))
    assert amazon_files.reviews_of(two + halves, malformed).num_rows == 0
    assert malformed.count == 3


def test_more_than_one_malformed_review_in_1000_stops(mirror: Path, tmp_path: Path) -> None:
    put(mirror, [b"{"] * 7 + MANY)
    with pytest.raises(UserError) as caught:
        read_amazon("Baby", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == (f"{REVIEWS}: 7 of 2,507 lines malformed and left out, more than 1 in 1,000; the first are")
    assert [line.split(":")[0] for line in lines[1:6]] == [f"  line {n}" for n in range(1, 6)]
    assert lines[6] == "and the first of these begins {"
    assert "Delete" in lines[7]
    assert str(mirror / REVIEWS) in lines[7]
    assert len(lines) == 8


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
    assert ["snap.stanford.edu" in url for url in amazon.MIRRORS] == [True, True, False]
    assert "cseweb.ucsd.edu" in amazon.MIRRORS[2]


def test_the_manifest_names_where_a_file_was_downloaded(mirror: Path) -> None:
    put(mirror)
    (mirror / f"{REVIEWS}.sha256").write_text(f"# 1 bytes\n{'0' * 64}  {REVIEWS}\n# from https://host/f/{REVIEWS}\n")
    assert amazon._describe(mirror, mirror / REVIEWS)["url"] == f"https://host/f/{REVIEWS}"
    assert amazon._describe(mirror, mirror / METADATA)["url"] == str(mirror / METADATA)


def test_all_categories_of_the_release_are_there() -> None:
    assert len(CATEGORIES) == 24
    assert all(counts.interactions for counts in CATEGORIES.values())


def test_long_literals_are_read_and_not_remembered(mirror: Path, tmp_path: Path) -> None:
    amazon_files._remembered.cache_clear()
    long = [product(f"B{n:02d}", "x" * 50_000, f"leaf {n}") for n in range(20)]
    put(mirror, MANY, long)
    assert read_amazon("Baby", tmp_path).category_of == {f"B{n:02d}": f"leaf {n}" for n in range(20)}
    assert amazon_files._remembered.cache_info().currsize == 0


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
