"""Runs in one file: what is sent arrives, and a file of somebody else's writing cannot do harm."""

import random
import stat
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.records import packed
from benchmark.records.packed import pack, unpack
from benchmark.records.record import read_records
from datamodules.errors import UserError
from tests.benchmark.boards import change, export

RUN = "sports/clean/din-official/seed-0"
RUNS = [RUN, "sports/clean/din-official/seed-1"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for place in RUNS:
        export(place, tmp_path / "runs" / place)
        (tmp_path / "runs" / place / "weights.pt").write_bytes(b"not sent")
    return tmp_path / "runs"


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leaderboard(*arguments: object) -> str:
    done = CliRunner().invoke(app.app, ["leaderboard", *map(str, arguments)])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_what_is_packed_arrives_and_the_same_runs_give_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    files = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for path in files:
        pack(read_records(runs), path)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert unpack(files[0], tmp_path / "there") == 6
    sent = {name: content for name, content in content_of(runs).items() if not name.endswith("weights.pt")}
    assert content_of(tmp_path / "there") == sent


def test_a_board_of_a_packed_file_is_that_of_the_folder(runs: Path, tmp_path: Path) -> None:
    assert "2 runs" in leaderboard("pack", runs, "--to", tmp_path / "sent.zip")
    for name, source in (("one", runs), ("two", tmp_path / "sent.zip")):
        assert "2 runs added" in leaderboard("add", source, "--board", tmp_path / name)
    boards = [content_of(tmp_path / name) for name in ("one", "two")]
    assert boards[0] == boards[1]
    assert "0 runs added, 2 were there already" in leaderboard(
        "add", tmp_path / "sent.zip", "--board", tmp_path / "two"
    )


def test_a_metric_that_the_predictions_do_not_give_is_refused_on_both_sides(runs: Path, tmp_path: Path) -> None:
    pack(read_records(runs), tmp_path / "sound.zip")
    change(runs / RUN, gauc=0.99)
    with pytest.raises(UserError, match="the predictions of the reported checkpoint give GAUC"):
        leaderboard("pack", runs, "--to", tmp_path / "x.zip")
    pack(read_records(runs), tmp_path / "forged.zip")
    with pytest.raises(UserError, match="the predictions of the reported checkpoint give GAUC"):
        leaderboard("add", tmp_path / "forged.zip", "--board", tmp_path / "board")
    assert not (tmp_path / "board").exists()


def test_nothing_to_pack_and_a_run_without_its_predictions(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no finished run"):
        leaderboard("pack", tmp_path / "empty")
    (runs / RUN / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks predictions\.parquet"):
        leaderboard("pack", runs)
    with pytest.raises(UserError, match=r"lacks predictions\.parquet"):
        pack(read_records(runs), tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def written(path: Path, *entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../../../../../../tmp/escaped/record.json",
        "a/../../../record.json",
        "a/b/../seed-0/record.json",
        "../b/c/seed-0/record.json",
        "/a/b/c/seed-0/record.json",
        "//b/c/seed-0/record.json",
        "a/b/c/seed-0/weights.pt",
        "a/b/c/seed-0/record.json/",
        "a/b/c/seed-0/./record.json",
        "a/b/c/d/record.json",
        "seed-0/record.json",
        "a/b/c/seed-0/d/record.json",
        "a\\b/b/c/seed-0/record.json",
        "C:/b/c/seed-0/record.json",
        "a/b/c\x1b[31m/seed-0/record.json",
        f"{'a' * 256}/b/c/seed-0/record.json",
        "probes-sports-clean.json",
    ],
)
def test_names_that_are_no_file_of_a_run_are_refused(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", (name, b"{}"))
    with pytest.raises(UserError, match="is no file of a run"):
        unpack(path, tmp_path / "there")
    assert content_of(tmp_path) == {"x.zip": path.read_bytes()}


def test_bombs_doubles_and_other_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = f"{RUN}/record.json"
    cases = {
        "more than 1,048,576 bytes": written(tmp_path / "bomb.zip", (record, bytes((1 << 20) + 1))),
        "stands in it twice": written(tmp_path / "case.zip", (record, b"{}"), (record.replace("s", "S", 1), b"{}")),
        "packed in another way": written(tmp_path / "bzip.zip", (record, b"{}"), method=zipfile.ZIP_BZIP2),
        "holds 0 files": written(tmp_path / "none.zip"),
    }
    (tmp_path / "text.zip").write_text("no archive")
    cases["not a zip file"] = tmp_path / "text.zip"
    encrypted = bytearray(written(tmp_path / "encrypted.zip", (record, b"{}")).read_bytes())
    for at in (6, encrypted.index(b"PK\x01\x02") + 8):  # the flags of the member, and in the directory
        encrypted[at] |= 1
    (tmp_path / "encrypted.zip").write_bytes(encrypted)
    cases["is encrypted"] = tmp_path / "encrypted.zip"
    for message, path in cases.items():
        with pytest.raises(UserError, match=message):
            unpack(path, tmp_path / f"to-{path.stem}")
    monkeypatch.setattr(packed, "MOST_BYTES", 3)
    with pytest.raises(UserError, match="more than 1 bytes"):
        unpack(written(tmp_path / "many.zip", (record, b"{}"), (f"{RUNS[1]}/record.json", b"{}")), tmp_path / "many")
    monkeypatch.setattr(packed, "MOST_FILES", 1)
    with pytest.raises(UserError, match="expected 1 to 1"):
        unpack(tmp_path / "many.zip", tmp_path / "fewer")


def test_a_link_arrives_as_text_and_a_file_that_is_there_stays(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo(f"{RUN}/record.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    unpack(tmp_path / "x.zip", tmp_path / "there")
    record = tmp_path / "there" / RUN / "record.json"
    assert not record.is_symlink()
    assert record.read_text() == "/etc/passwd"
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / "x.zip", tmp_path / "there")


def test_damage_anywhere_is_refused_or_changes_nothing_that_is_read(runs: Path, tmp_path: Path) -> None:
    pack(read_records(runs)[:1], tmp_path / "x.zip")
    sound, rng = (tmp_path / "x.zip").read_bytes(), random.Random(0)
    expected = {name: content for name, content in content_of(runs).items() if "seed-0/" in name}
    for number in range(150):
        content = bytearray(sound)
        if number % 3:
            content[rng.choice([rng.randrange(len(content)), -rng.randrange(1, 400)])] ^= 1 << rng.randrange(8)
        else:
            del content[rng.randrange(len(content)) :]
        (tmp_path / "y.zip").write_bytes(content)
        target = tmp_path / str(number)
        try:
            unpack(tmp_path / "y.zip", target)
        except UserError:
            continue
        arrived = content_of(target)
        assert {Path(name).name for name in arrived} <= set(packed.LIMITS)
        assert set(arrived.values()) <= set(expected.values())
