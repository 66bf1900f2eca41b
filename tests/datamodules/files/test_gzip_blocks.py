"""Blocks of whole lines, wherever the borders of what is read at once fall. Damaged files: see test_amazon.py."""

import gzip
import threading
from pathlib import Path

import pytest

from datamodules.errors import UserError
from datamodules.files import gzip_blocks
from datamodules.files.gzip_blocks import read_blocks


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a", b"ab\n", b"\n\nabc\r\n\nde", b"".join(b"%d\n" % n for n in range(0, 2000, 7))]
)
def test_blocks_are_the_content_in_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, size: int
) -> None:
    monkeypatch.setattr(gzip_blocks, "BLOCK", size)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(content))
    blocks = list(read_blocks(path))
    assert b"".join(blocks) == content + b"\n" * (content[-1:] not in (b"", b"\n"))
    assert all(block.endswith(b"\n") for block in blocks)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_blocks, "BLOCK", 10)
    monkeypatch.setattr(gzip_blocks, "LONGEST_LINE", 25)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"one\n" + b"x" * 10_000 + b"\ntwo\n" + b"y" * 10_000))
    one, long, *others = b"".join(read_blocks(path)).splitlines()
    assert (one, others[0]) == (b"one", b"two")
    assert 25 <= len(long) < 50
    assert 25 <= len(others[1]) < 50


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_blocks, "BLOCK", 10)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"line\n" * 1000))
    before = threading.active_count()
    blocks = read_blocks(path)
    next(blocks)
    assert threading.active_count() == before + 1
    blocks.close()
    assert threading.active_count() == before


def test_a_file_made_to_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_blocks, "FREE", 1000)
    monkeypatch.setattr(gzip_blocks, "BLOCK", 1000)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\n" * 1_000_000))
    read: list[bytes] = []
    with pytest.raises(UserError, match="unpacks to more than 200 times its size"):
        read.extend(read_blocks(path))
    assert 1000 + 198 * path.stat().st_size < sum(map(len, read)) <= 1000 + 200 * path.stat().st_size
