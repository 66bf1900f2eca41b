"""Click logs as files: what is read, and what is refused with the number of the row."""

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.errors import UserError
from datamodules.sources import click_file
from datamodules.sources.click_file import Chunk, ClickFile, read_chunks

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


def test_quotes_line_breaks_blanks_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '\ufeffuser,item,"a ""b"", c",time,more\r\n"u,1","i\n1",c;1,1511544070,x\r\n u2 ,"""i""",Ünï,1511544071,\r\n',
    )
    chunk = only(ClickFile(path, category='a "b", c'))
    assert chunk.user.to_pylist() == ["u,1", "u2"]
    assert chunk.item.to_pylist() == ["i\n1", '"i"']
    assert chunk.category.to_pylist() == ["c;1", "Ünï"]
    assert chunk.time.tolist() == [1511544070, 1511544071]
    assert chunk.click.tolist() == [True, True]


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
    assert times(tmp_path, "2017-11-25", "2017-11-25 01:21:10", "2017-11-25T01:21:10.9") == [day, moment, moment]
    assert times(tmp_path, "2017-11-25T01:21:10Z", "2017-11-25 02:21:10+01:00") == [moment, moment]


@pytest.mark.parametrize(
    ("cells", "row", "found"),
    [
        (["1511544070", "1511544070000"], 2, "milliseconds"),
        (["20171125"], 1, "date as a number, or a count"),
        (["1", "2"], 1, "a count"),
        (["1511544070", "2017-11-25"], 2, "no whole number"),
        (["1511544070.5"], 1, "no whole number"),
        (["1.5e9"], 1, "no whole number"),
        (["03/04/2017"], 1, "'03/04/2017'"),
        (["2017-11-25", "2017-11-25T01:21:10Z"], 2, "one form"),
        (["2017-11-25T01:21:10Z", "2017-11-25T01:21:10"], 2, "with a time zone"),
        (["2017-11-25", "2017-02-30"], 2, "'2017-02-30'"),
        (["2017-11-25", "1511544070"], 2, "'1511544070'"),
        (["yesterday"], 1, "'yesterday'"),
        (["2017-11-25", " "], 2, "time is missing"),
        (["-1511544070"], 1, "no whole number"),
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
        (f"{HEADER}\nu,i,c\n", "Expected 4 columns, got 3"),
        (f'{HEADER}\nu,i,"c,1511544070\n', "cannot be read"),
        (f"{HEADER}\nu,i,c,1511544070\n,i,c,1511544070\n", "row 2: user is missing"),
        (f"{HEADER}\nu,i,  ,1511544070\n", "row 1: category is missing"),
        (f'{HEADER}\nu,"",c,1511544070\n', "row 1: item is missing"),
        ("user,item,kategory,time\nu,i,c,1511544070\n", "unknown column 'category', did you mean 'kategory'"),
        (f"{HEADER},user\nu,i,c,1511544070,v\n", "2 columns 'user'"),
        ("user;item;category;time\nu;i;c;1511544070\n", "--delimiter"),
        (f"{HEADER}\nu,i,c,1511544070\n".encode("utf-16"), "is UTF-16"),
        (f"{HEADER}\nu,i,Caf\xe9,1511544070\n".encode("latin-1"), "Expected UTF-8"),
        (f"{HEADER},label\nu,i,c,1511544070,1\nu,i,c,1511544070,2\n", "row 2: label is '2', expected 1"),
        (f"{HEADER},label\nu,i,c,1511544070,\n", "row 1: label is missing"),
        (b"PAR1 and then nothing", "cannot be read"),
        (b"\x00\x01\x02\x03" * 9, "cannot be read|unknown column"),
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
        ("time", pa.array([1.5e9, 1.5e9]), "'time' is of type double"),
        ("time", pa.array([datetime(2017, 1, 1), None]), "row 2: time is missing"),
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
