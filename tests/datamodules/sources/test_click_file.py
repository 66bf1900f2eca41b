"""Click logs as files: what is read, and what is refused with the number of the row."""

import bz2
import csv
import gzip
import io
import tarfile
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.errors import UserError
from datamodules.sources import click_file
from datamodules.sources.click_columns import Chunk
from datamodules.sources.click_file import ClickFile, Quotes, read_chunks

HEADER = "user,item,category,time"


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "clicks.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only(file: ClickFile) -> Chunk:
    (chunk,) = read_chunks(file)
    return chunk


def times(tmp_path: Path, *cells: str) -> list[int]:
    rows = "".join(f"u,i,c,{cell}\n" for cell in cells)
    return only(ClickFile(write(tmp_path, f"{HEADER}\n{rows}"))).time.tolist()


def test_quotes_blanks_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '\ufeffuser,item,"a ""b"", c",time,more\r\n"u,1","i1",c;1,1511544070,x\r\n u2 ,"""i""",Ünï,1511544071,\r\n',
    )
    chunk = only(ClickFile(path, category='a "b", c'))
    assert chunk.user.to_pylist() == ["u,1", "u2"]
    assert chunk.item.to_pylist() == ["i1", '"i"']
    assert chunk.category.to_pylist() == ["c;1", "Ünï"]
    assert chunk.time.tolist() == [1511544070, 1511544071]
    assert chunk.click.tolist() == [True, True]


def test_line_breaks_in_quotes_where_they_are_said_to_be_there(tmp_path: Path) -> None:
    path = write(
        tmp_path, '\ufeffuser,item,"cat\negory",time\r\nu,"i\n1",c,1511544070\r\nu,"i\r\n\r\n2",c,1511544071\r\n'
    )
    chunk = only(ClickFile(path, category="cat\negory", quotes="multiline"))
    assert chunk.item.to_pylist() == ["i\n1", "i\r\n\r\n2"]
    with pytest.raises(UserError, match=r"header cannot be read.*--quotes multiline"):
        only(ClickFile(path, category="cat\negory"))


def log_with_stray_quotes() -> list[str]:
    """498 rows of 60 users, in which two quotes 190 rows apart are ordinary characters."""
    rows = [f"u{n % 60},i{n % 97},c{n % 5},{1_511_544_070 + n}" for n in range(498)]
    rows[10] = f'u10,i10,"Home & ,{1_511_544_080}'
    rows[200] = f'u20,i6,7" Tablets,{1_511_544_270}'
    return rows


@pytest.mark.parametrize("order", ["user,item,category,time", "user,item,more,time,category"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_that_would_join_rows_are_refused_with_the_row(tmp_path: Path, order: str, end: str) -> None:
    rows = log_with_stray_quotes()
    if "more" in order:  # a column that is not needed
        rows = [row + ",c" for row in rows]
    path = write(tmp_path, end.join([order, *rows, ""]))
    with pytest.raises(UserError) as caught:
        list(read_chunks(ClickFile(path)))
    assert 'row 11 is not a line: a quote opens a cell and does not close there: u10,i10,"Home & ,' in str(caught.value)
    assert "--quotes none" in str(caught.value)
    assert "--quotes multiline" in str(caught.value)
    chunk = only(ClickFile(path, quotes="none"))
    assert len(chunk.click) == 498
    assert len(set(chunk.user.to_pylist())) == 60
    if "more" not in order:
        assert [chunk.category[row].as_py() for row in (10, 200)] == ['"Home &', '7" Tablets']
    assert sum(len(chunk.click) for chunk in read_chunks(ClickFile(path, quotes="multiline"))) == 308


@pytest.mark.parametrize("bad", [0, 1, 150, 198, 199])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('u,i,1511544070,"c', "is not a line"),
        ('u,i,1511544070,"c""', "is not a line"),
        ('u,"i,1511544070,c', "is not a line"),
        ('"u,i,1511544070,c', "is not a line"),
        ("u,i,1511544070", "has 3 cells, expected 4 as in the header"),
        ("u,i,1511544070,c,d", "has 5 cells, expected 4"),
        (" ", "has 1 cells, expected 4"),
    ],
)
def test_the_number_of_a_line_that_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int, row: str, message: str
) -> None:
    """Wherever it stands, the first and the last line of a block and of the file included."""
    rows = [f'u{n},"i, {n}",{1511544070 + n},c' for n in range(200)]
    rows[bad] = row
    path = write(tmp_path, "\n".join(["user,item,time,category", *rows]) + "\n" * (bad % 2))
    for block in (150, 1 << 24):
        monkeypatch.setattr(click_file, "BLOCK", block)
        with pytest.raises(UserError, match=f"row {bad + 1} {message}"):
            list(read_chunks(ClickFile(path)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [61, 62, 1 << 24])
def test_line_ends_and_empty_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, block: int) -> None:
    monkeypatch.setattr(click_file, "BLOCK", block)
    rows = [f'u{n},"i{n}",c,{1511544070 + n}' for n in range(50)]
    lines = ["", HEADER, "", *rows[:20], "", "", *rows[20:]]
    chunks = list(read_chunks(ClickFile(write(tmp_path, end.join(lines)))))
    assert [user for chunk in chunks for user in chunk.user.to_pylist()] == [f"u{n}" for n in range(50)]


def test_a_line_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click_file, "BLOCK", 100)
    with pytest.raises(UserError, match="a line of more than 100 bytes"):
        list(read_chunks(ClickFile(write(tmp_path, f"{HEADER}\nu,i,{'c' * 300},1511544070\n"))))


def test_quotes_inside_and_around(tmp_path: Path) -> None:
    """What csv of the standard library makes of the same text."""
    text = f'{HEADER}\nu,"a ""b"", c",7" x,1511544070\n"u",i"",c,1511544071\n'
    chunk = only(ClickFile(write(tmp_path, text)))
    expected = list(csv.reader(io.StringIO(text)))[1:]
    assert [list(row) for row in zip(chunk.user.to_pylist(), chunk.item.to_pylist(), strict=True)] == [
        row[:2] for row in expected
    ]
    plain = only(ClickFile(write(tmp_path, f'{HEADER}\n"u",i"",c,1511544071\n'), quotes="none"))
    assert (plain.user.to_pylist(), plain.item.to_pylist()) == (['"u"'], ['i""'])


HEADERLESS = "".join(f"u{n},i{n},{1511544070 + n},c,{n % 2}\n" for n in range(20))


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (HEADERLESS, "'u0', 'i0', '1511544070'"),
        (HEADERLESS.replace(",", ";"), "'u0;i0;1511544070;c;0'"),
        (HEADERLESS.replace(",", "\t"), "u0"),
        ("u,i,c,2017-11-25T01:21:10Z\n", "2017-11-25T01:21:10Z"),
        ("u,i,c,1511544070.0\n", "1511544070.0"),
        ("u,i,c,03/04/2017 10:00\n", "03/04/2017 10:00"),
        ("7,12,3,yesterday\n", "'7', '12', '3'"),
    ],
)
def test_a_log_without_a_header(tmp_path: Path, content: str, first: str) -> None:
    with pytest.raises(UserError) as caught:
        list(read_chunks(ClickFile(write(tmp_path, content))))
    assert "has no header, it seems: its first row looks like data" in str(caught.value)
    assert first in str(caught.value)
    assert "--columns user,item,category,time" in str(caught.value)


@pytest.mark.parametrize("quotes", ["line", "none", "multiline"])
def test_columns_named_by_the_user(tmp_path: Path, quotes: Quotes) -> None:
    names = ("user", "item", "time", "category", "label")
    chunk = only(ClickFile(write(tmp_path, HEADERLESS), columns=names, quotes=quotes))
    assert chunk.user.to_pylist() == [f"u{n}" for n in range(20)]  # the first row too
    assert chunk.click.tolist() == [bool(n % 2) for n in range(20)]
    other = only(ClickFile(write(tmp_path, HEADERLESS), columns=("user", "item", "time", "category", "x")))
    assert other.click.all()
    same = ClickFile(write(tmp_path, HEADERLESS), user="x", columns=("_", "item", "time", "category", "x"))
    assert only(same).user.to_pylist() == ["0", "1"] * 10


def test_columns_that_do_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path, HEADERLESS)
    with pytest.raises(UserError, match="row 1 has 5 cells, expected 4 as in --columns"):
        list(read_chunks(ClickFile(path, columns=("user", "item", "time", "category"))))
    with pytest.raises(UserError, match="unknown column 'category'"):
        list(read_chunks(ClickFile(path, columns=("user", "item", "time", "kategory", "label"))))
    with pytest.raises(UserError, match="2 columns 'item'"):
        list(read_chunks(ClickFile(path, columns=("user", "item", "time", "category", "item"))))
    with pytest.raises(UserError, match="row 1: time is 'time'"):
        list(read_chunks(ClickFile(write(tmp_path, f"{HEADER}\n"), columns=tuple(HEADER.split(",")))))
    pq.write_table(pa.table({"user": ["u"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="names its columns itself"):
        list(read_chunks(ClickFile(tmp_path / "x.parquet", columns=("user",))))


PLAIN = "".join([f"{HEADER}\n", *(f"u{n},i{n % 3},c,{1511544070 + n}\n" for n in range(3_000))]).encode()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return buffer.getvalue()


PACKED = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN, mtime=0),
    "two gzips": gzip.compress(PLAIN[:5_000], mtime=0) + gzip.compress(PLAIN[5_000:], mtime=0),
    "bzip2": bz2.compress(PLAIN),
    "zstd": pa.compress(PLAIN, "zstd", asbytes=True),
    "zip": zipped(folder__log_csv=PLAIN),
    "zip of a mac": zipped(log_csv=PLAIN, MACOSX__log_csv=b"x").replace(b"MACOSX/log.csv", b"__MACOSX/l.csv"),
    "byte order mark in gzip": gzip.compress(b"\xef\xbb\xbf" + PLAIN, mtime=0),
}


@pytest.mark.parametrize("name", ["clicks.csv", "clicks.csv.gz", "clicks.zip", "clicks.parquet", "clicks"])
@pytest.mark.parametrize("packed", list(PACKED))
def test_content_decides_and_not_the_name(tmp_path: Path, name: str, packed: str) -> None:
    (tmp_path / name).write_bytes(PACKED[packed])
    for quotes in ("line", "multiline"):
        chunks = list(read_chunks(ClickFile(tmp_path / name, quotes=quotes)))
        assert [user for chunk in chunks for user in chunk.user.to_pylist()] == [f"u{n}" for n in range(3_000)]


def tar_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("clicks.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(PLAIN, mtime=0)[:-2_000], "cannot be read"),
        (zipped(log_csv=PLAIN)[:-2_000], "cannot be read"),
        (zipped(a_csv=PLAIN, b_csv=PLAIN), "a zip archive of 2 files"),
        (zipped(xl__workbook_xml=b"x", docProps__app_xml=b"x"), r"a zip archive of 2 files \(or a workbook\)"),
        (gzip.compress(PLAIN.decode().encode("utf-16"), mtime=0), "is UTF-16"),
        (PLAIN.decode().encode("utf-16-le"), "holds no text"),
        (tar_of(PLAIN), "holds no text"),
        (gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0), "holds no text|cannot be read"),
        (gzip.compress(b"", mtime=0), "has a header and no rows|no rows"),
        (b"\x1f\x8b", "cannot be read"),
        (b"PK\x03\x04", "cannot be read"),
    ],
)
def test_packed_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list(read_chunks(ClickFile(write(tmp_path, content))))
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


def test_numbers_stay_the_text_that_they_are(tmp_path: Path) -> None:
    chunk = only(ClickFile(write(tmp_path, f"{HEADER}\n007,1e3,NA,1511544070\n7,1000,null,1511544070\n")))
    assert chunk.user.to_pylist() == ["007", "7"]
    assert chunk.item.to_pylist() == ["1e3", "1000"]
    assert chunk.category.to_pylist() == ["NA", "null"]


def test_delimiter_and_compression(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv.gz"
    path.write_bytes(gzip.compress(b"user\titem\tcategory\ttime\nu\ti,1\tc\t1511544070\n"))
    assert only(ClickFile(path, delimiter="\t")).item.to_pylist() == ["i,1"]


def test_times(tmp_path: Path) -> None:
    moment = int(datetime(2017, 11, 25, 1, 21, 10, tzinfo=UTC).timestamp())
    day = int(datetime(2017, 11, 25, tzinfo=UTC).timestamp())
    assert times(tmp_path, str(moment), "0999999999") == [moment, 999_999_999]
    assert times(tmp_path, f"{moment}.0", f"{moment}.999", str(moment), f"{moment}.") == [moment] * 4  # cut off
    assert times(tmp_path, "2017-11-25", "2017-11-25 01:21:10", "2017-11-25T01:21:10.9") == [day, moment, moment]
    assert times(tmp_path, "2017-11-25T01:21:10Z", "2017-11-25 02:21:10+01:00") == [moment, moment]


@pytest.mark.parametrize(
    ("cells", "row", "found"),
    [
        (["1511544070", "1511544070000"], 2, "milliseconds"),
        (["20171125"], 1, "date as a number, or a count"),
        (["1", "2"], 1, "a count"),
        (["1511544070", "2017-11-25"], 2, "no plain number"),
        (["1511544070.5.5"], 1, "no plain number"),
        (["1511544070000.0"], 1, "milliseconds"),
        (["1.5e9"], 1, "no plain number"),
        (["03/04/2017"], 1, "'03/04/2017'"),
        (["2017-11-25", "2017-11-25T01:21:10Z"], 2, "one form"),
        (["2017-11-25T01:21:10Z", "2017-11-25T01:21:10"], 2, "with a time zone"),
        (["2017-11-25", "2017-02-30"], 2, "'2017-02-30'"),
        (["2017-11-25", "1511544070"], 2, "'1511544070'"),
        (["yesterday"], 1, "'yesterday'"),
        (["2017-11-25", " "], 2, "time is missing"),
        (["-1511544070"], 1, "no plain number"),
        (["2017-11-25", "0001-01-01"], 2, "'0001-01-01', expected a time from 1980 to 2100"),
        (["2017-11-25T01:21:10Z", "1970-01-01T00:00:00Z"], 2, "from 1980 to 2100"),
        (["2100-01-01"], 1, "from 1980 to 2100"),
    ],
)
def test_times_that_could_mean_something_else(tmp_path: Path, cells: list[str], row: int, found: str) -> None:
    with pytest.raises(UserError) as caught:
        times(tmp_path, *cells)
    assert f"row {row}: " in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (f"{HEADER}\n", "no rows"),
        (HEADER, "no rows|Empty CSV"),
        ("\n\n", "cannot be read|unknown column"),
        (f"{HEADER}\nu,i,c\n", "row 1 has 3 cells, expected 4"),
        (f'{HEADER}\nu,i,"c,1511544070\n', "row 1 is not a line"),
        (f"{HEADER}\nu,i,c,1511544070\n,i,c,1511544070\n", "row 2: user is missing"),
        (f"{HEADER}\nu,i,  ,1511544070\n", "row 1: category is missing"),
        (f'{HEADER}\nu,"",c,1511544070\n', "row 1: item is missing"),
        ("user,item,kategory,time\nu,i,c,1511544070\n", "unknown column 'category', did you mean 'kategory'"),
        (f"{HEADER},user\nu,i,c,1511544070,v\n", "2 columns 'user'"),
        ("user;item;category;time\nu;i;c;1511544070\n", "--delimiter"),
        ("u1,item_1,c,yesterday\n", "unknown column 'user'.*a file without a header with --columns"),
        (f"{HEADER}\nu,i,c,1511544070\n".encode("utf-16"), "is UTF-16"),
        (f"{HEADER}\nu,i,Caf\xe9,1511544070\n".encode("latin-1"), "row 1 is not UTF-8"),
        (f"{HEADER},label\nu,i,c,1511544070,1\nu,i,c,1511544070,2\n", "row 2: label is '2', expected 1"),
        (f"{HEADER},label\nu,i,c,1511544070,\n", "row 1: label is missing"),
        (b"PAR1 and then nothing", "cannot be read"),
        (b"\x00\x01\x02\x03" * 9, "holds no text"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_chunks(ClickFile(write(tmp_path, content))))


def test_paths_and_columns_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(UserError, match="cannot read"):
            list(read_chunks(ClickFile(path)))
    path = write(tmp_path, f"{HEADER}\nu,i,c,1511544070\n")
    with pytest.raises(UserError, match="unknown column 'clicked'"):
        list(read_chunks(ClickFile(path, label="clicked")))
    with pytest.raises(UserError, match="named twice"):
        list(read_chunks(ClickFile(path, category="item")))


def test_rows_keep_their_numbers_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click_file, "BLOCK", 400)
    rows = [f"u{n},i{n},c,{1511544070 + n}" for n in range(200)]
    path = write(tmp_path, "\n".join([HEADER, *rows, ""]))
    chunks = list(read_chunks(ClickFile(path)))
    assert len(chunks) > 5
    assert np.concatenate([chunk.time for chunk in chunks]).tolist() == [1511544070 + n for n in range(200)]
    rows[150] = "u150,i150,c,soon"
    with pytest.raises(UserError, match="row 151: time is 'soon'"):
        list(read_chunks(ClickFile(write(tmp_path, "\n".join([HEADER, *rows])))))


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click_file, "ROWS", 2)
    moment = datetime(2017, 11, 25, 1, 21, 10, tzinfo=UTC)
    columns = {
        "user": pa.array([7, 8, 9]),
        "item": pa.array(["a", "b", "a"]).dictionary_encode(),
        "category": pa.array(["c", "d", "c"], pa.large_string()),
        "label": pa.array([1.0, 0.0, 1.0]),
    }
    path = tmp_path / "clicks.parquet"
    seconds = int(moment.timestamp())
    day = seconds - seconds % 86_400
    for column, expected in (
        (pa.array([moment] * 3, pa.timestamp("ns", "UTC")), seconds),
        (pa.array([moment.replace(tzinfo=None)] * 3, pa.timestamp("ms")), seconds),
        (pa.array([date(2017, 11, 25)] * 3), day),
        (pa.array([seconds] * 3), seconds),
        (pa.array([seconds + 0.75] * 3), seconds),
        (pa.array([float(seconds)] * 3), seconds),
        (pa.array(["2017-11-25"] * 3), day),
    ):
        pq.write_table(pa.table(columns | {"time": column}), path)
        chunks = list(read_chunks(ClickFile(path)))
        assert [len(chunk.time) for chunk in chunks] == [2, 1]
        assert chunks[0].user.to_pylist() == ["7", "8"]
        assert chunks[0].item.to_pylist() == ["a", "b"]
        assert chunks[0].click.tolist() == [True, False]
        assert chunks[1].time.tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("user", pa.array([1.0, 2.0]), "'user' is of type double"),
        ("item", pa.array([["a"], ["b"]]), "is of type list"),
        ("time", pa.array([1.5e9, 1.5e9], pa.float32()), "'time' is of type float"),
        ("time", pa.array([1.5e9, float("nan")]), "row 2: time is 'nan'"),
        ("time", pa.array([1.5e9, float("inf")]), "row 2: time is 'inf'"),
        ("time", pa.array([1.5e9, None]), "row 2: time is missing"),
        ("time", pa.array([True, True]), "'time' is of type bool"),
        ("time", pa.array([datetime(2017, 1, 1), None]), "row 2: time is missing"),
        ("time", pa.array([1_511_544_070] * 2, pa.timestamp("ns")), "row 1: time is '1970-01-01 00:00:01.511544070'"),
        ("time", pa.array([7, 8], pa.time32("s")), r"'time' is of type time32\[ms\], expected text or whole numbers$"),
        ("time", pa.array([7, 8], pa.duration("s")), r"'time' is of type duration\[s\]"),
        ("user", pa.array([None, None]), "row 1: user is missing"),
        ("category", pa.array(["a", None]), "row 2: category is missing"),
        ("label", pa.array([1, None]), "row 2: label is missing"),
    ],
)
def test_parquet_that_is_refused(tmp_path: Path, name: str, column: pa.Array, message: str) -> None:
    columns = {key: pa.array(["x", "x"]) for key in ("user", "item", "category")} | {"time": pa.array([1511544070] * 2)}
    pq.write_table(pa.table(columns | {name: column}), tmp_path / "clicks.parquet")
    with pytest.raises(UserError, match=message):
        list(read_chunks(ClickFile(tmp_path / "clicks.parquet")))
