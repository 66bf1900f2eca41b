"""Ali's display ads: files in the original layouts with every quirk, read back and compared with plain loops."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.files import csv_stream, download
from datamodules.impressions import Impressions
from datamodules.sources import taobao_ad
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.taobao_ad import LEAST_SHARE, read_taobao_ad

MIDNIGHT = 1_494_000_000  # 2017-05-06 00:00 in Beijing
LAST = MIDNIGHT + 8 * 86_400 - 1
FIRST_BEHAVIOUR = MIDNIGHT - 14 * 86_400
USERS = [*range(1, 60), 1_141_000]
ADS = [*range(100, 130), 846_811]  # 846811 and 129 are not in ad_feature
SCENES = ("430548_1007", "430539_1007")
Rows = list[tuple[Any, ...]]
HEADERS = {
    "raw_sample": "user,time_stamp,adgroup_id,pid,nonclk,clk",
    "ad_feature": "adgroup_id,cate_id,campaign_id,customer,brand,price",
    "user_profile": "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,"
    "occupation,new_user_class_level ",
    "behavior_log": "user,time_stamp,btag,cate,brand",
}


def raw_rows() -> dict[str, Rows]:
    """The rows of the four files, in no order of time."""
    rng = random.Random(0)
    sample: Rows = []
    for _ in range(400):
        user, at = rng.choice(USERS[5:]), rng.randint(MIDNIGHT, LAST)
        click = int(rng.random() < 0.2)
        sample.append((user, at, rng.choice(ADS), rng.choice(SCENES), 1 - click, click))
    sample += [(7, at, 101, SCENES[0], 1, 0) for at in (MIDNIGHT - 1, MIDNIGHT, LAST, LAST + 1)]  # two are out of range
    sample += [(9, MIDNIGHT + 5, 101, SCENES[0], 0, 0), sample[0]]  # nonclk is not 1 - clk; a row twice
    sample.sort(key=lambda row: (row[2], row[3] == SCENES[1]))  # by ad, as the original; the larger scene comes first
    price = ["0.01", "1", "9.99", "149.0", "99999999.0", "100000000.0", "", "680.5"]
    ads: Rows = [
        (ad, rng.randint(1, 8), 1000 + ad % 7, 2000 + ad % 5, rng.choice(["NULL", 3, 4, 5, 99_814]), price[ad % 8])
        for ad in reversed(ADS[:-2])
    ]
    profiles: Rows = [  # every third user has none, user 2 never saw an ad
        (user, *(rng.randint(0, most) for most in (96, 12, 2, 6)), *rng.choices(["", 1, 2, 3, 4], k=4))
        for user in USERS
        if user % 3
    ]
    behaviours: Rows = []
    for _ in range(1_500):
        tag = rng.choice(["pv"] * 12 + ["cart", "fav", "buy", "ipv"])
        at = rng.choice([rng.randint(FIRST_BEHAVIOUR, LAST), FIRST_BEHAVIOUR + rng.randint(0, 3)])
        behaviours.append((rng.choice(USERS), at, tag, rng.randint(1, 12), rng.choice([3, 4, 5, 460_000])))
    behaviours += [(8, at, "pv", 1, 3) for at in (-7, 0, FIRST_BEHAVIOUR - 1, FIRST_BEHAVIOUR, LAST, LAST + 1)]
    behaviours += [(8, MIDNIGHT, "pv", 2, brand) for brand in (3, 4, 3, 5, 3)]  # the same again in one second
    behaviours += [(8, MIDNIGHT, "cart", 2, 3), (9_999_999, MIDNIGHT, "pv", 1, 3)]  # another action; no such user
    return {"raw_sample": sample, "ad_feature": ads, "user_profile": profiles, "behavior_log": behaviours}


def write(folder: Path, rows: dict[str, Rows], ending: str = ".csv.tar.gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_file in rows.items():
        header = HEADERS[name]
        if ending == ".csv":  # as some programs write it
            header = ",".join(f'"{column}"' for column in header.split(","))
        text = "".join(f"{line}\n" for line in [header, *(",".join(map(str, row)) for row in of_file)]).encode()
        path = folder / f"{name}{ending}"
        if ending == ".csv.tar.gz":
            with tarfile.open(path, "w:gz") as archive:
                entry = tarfile.TarInfo(f"./{name}.csv")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
        else:
            path.write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)


def rank(values: list[Any]) -> dict[Any, int]:
    known = sorted({value for value in values if value not in ("", "NULL", None)})
    return {value: place for place, value in enumerate(known, start=1)} | dict.fromkeys(("", "NULL", None), 0)


def bucket(price: str) -> int:
    """Six buckets a decade, of which the first ends below 1."""
    if not price:
        return 0
    return 1 + sum(step * 10.0**power <= float(price) for power in range(9) for step in (1, 1.5, 2, 3, 5, 7))


def expected_log(rows: dict[str, Rows], keep: set[int], tags: set[str]) -> dict[str, list[int]]:
    """What the reader must find, by loops over the rows."""
    features = {row[0]: row for row in rows["ad_feature"]}
    nothing = (None, None, None, None, None, "")
    shown = [row for row in rows["raw_sample"] if MIDNIGHT <= row[1] <= LAST and row[0] in keep]
    shown.sort(key=lambda row: (row[1], row[0]))
    users = sorted({row[0] for row in shown})
    log = [row for row in rows["behavior_log"] if row[2] in tags and FIRST_BEHAVIOUR <= row[1] <= LAST]
    log = list({(u, at, "pv" if tag == "ipv" else tag, c, b): None for u, at, tag, c, b in log if u in users})
    log.sort(key=lambda row: row[:2])
    of_ads = {row[2]: features.get(row[2], nothing) for row in shown}

    def pair(row: tuple[Any, ...]) -> tuple[int, int]:
        return (row[1] or 0, 0 if row[4] in ("NULL", None) else row[4])

    pairs = sorted({row[3:] for row in log} | {pair(row) for row in of_ads.values()})
    item = {found: place for place, found in enumerate(pairs, start=1)}
    category, brand = rank([c or None for c, _ in pairs]), rank([b or None for _, b in pairs])
    campaign, customer = (rank([row[k] for row in of_ads.values()]) for k in (2, 3))
    profile = {row[0]: row for row in rows["user_profile"]}
    ad, scene = rank(list(of_ads)), rank([row[3] for row in shown])
    made = {
        "behaviours.user": [users.index(row[0]) for row in log],
        "behaviours.time": [row[1] for row in log],
        "behaviours.item": [item[row[3:]] for row in log],
        "shown.user": [users.index(row[0]) for row in shown],
        "shown.time": [row[1] for row in shown],
        "shown.label": [row[5] for row in shown],
        "shown.item": [item[pair(of_ads[row[2]])] for row in shown],
        "target.ad": [ad[row[2]] for row in shown],
        "target.campaign": [campaign[of_ads[row[2]][2]] for row in shown],
        "target.customer": [customer[of_ads[row[2]][3]] for row in shown],
        "target.price": [bucket(of_ads[row[2]][5]) for row in shown],
        "context.hour": [(row[1] - MIDNIGHT) % 86_400 // 3600 + 1 for row in shown],
        "context.scene": [scene[row[3]] for row in shown],
        "catalogue.category": [0, *(category[c or None] for c, _ in pairs)],
        "catalogue.brand": [0, *(brand[b or None] for _, b in pairs)],
    }
    for place, name in enumerate(taobao_ad.PROFILE, start=1):
        texts = rank([str(row[place]) for row in rows["user_profile"]])
        made[f"profile.{name}"] = [texts[str(profile[user][place])] if user in profile else 0 for user in users]
    return made


def found_log(log: Impressions) -> dict[str, list[int]]:
    shown, target, context = log.shown, log.shown.target, log.shown.context
    arrays = {f"behaviours.{name}": column for name, column in vars(log.behaviours).items()}
    arrays |= {f"shown.{name}": getattr(shown, name) for name in ("user", "item", "time", "label")}
    groups = {"target": target, "context": context, "catalogue": log.catalogue, "profile": log.profile}
    arrays |= {f"{group}.{name}": column for group, columns in groups.items() for name, column in columns.items()}
    return {name: column.tolist() for name, column in arrays.items()}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(taobao_ad, "MIRRORS", ("http://127.0.0.1:9/dmr",))  # nobody listens there
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(csv_stream, "BLOCK", 4_000)  # bytes, so that a file comes in many batches


@pytest.mark.parametrize(
    ("ending", "actions", "tags"),
    [
        (".csv.tar.gz", "pv", {"pv", "ipv"}),
        (".csv.gz", "all", {"pv", "ipv", "cart", "fav", "buy"}),
        (".csv", "pv", {"pv", "ipv"}),
    ],
)
def test_every_quirk(
    ending: str, actions: Any, tags: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = raw_rows()
    write(tmp_path / "mirror", rows, ending)
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "mirror"))
    log = read_taobao_ad(tmp_path / "data", tmp_path / "scratch", actions=actions, expected=None)
    expected = expected_log(rows, set(USERS), tags)
    assert found_log(log) == expected
    assert log.users == 55
    assert log.first_midnight == MIDNIGHT
    assert log.day(log.shown.time)[[0, -1]].tolist() == [0, 7]
    assert min(expected["target.campaign"]) == 0
    assert expected["catalogue.brand"][1] == 0
    notes = "\n".join(log.notes)
    assert f"{len(rows['raw_sample']):,} impressions, 55 users, {len(rows['ad_feature'])} ads" in notes
    assert "2 impressions outside of the eight days" in notes
    assert "1 impressions whose nonclk is not 1 - clk" in notes
    unnamed = sum(row[2] in ADS[-2:] for row in rows["raw_sample"])
    assert f"{unnamed} impressions of ads that ad_feature does not name" in notes
    for entry in log.inputs:
        assert f"{entry['file']}: {entry['bytes']:,} bytes, sha256 {entry['sha256']}" in notes


def test_what_is_left_out_adds_up(tmp_path: Path) -> None:
    rows = raw_rows()
    write(tmp_path / "raw" / "taobao-ad", rows)  # put there by hand
    log = read_taobao_ad(tmp_path, tmp_path / "scratch", expected=None)
    left_out = [int(note.split()[3].replace(",", "")) for note in log.notes if note.startswith("behaviours left out")]
    assert len(left_out) == 4
    assert len(log.behaviours.user) + sum(left_out) == len(rows["behavior_log"])
    assert not list((tmp_path / "scratch").rglob("part-*"))
    assert isinstance(log.behaviours.time, np.memmap)


def test_a_share_of_the_users(tmp_path: Path) -> None:
    rows = raw_rows()
    write(tmp_path / "raw" / "taobao-ad", rows)
    chosen: dict[float, set[int]] = {}
    for share in (0.2, 0.5):
        log = read_taobao_ad(tmp_path, tmp_path / "scratch", share, expected=None)
        mask = (1 << 64) - 1
        for user in USERS:  # splitmix64 of the raw id plus 1, in Python's integers
            x = (user + 1 + 0x9E3779B97F4A7C15) & mask
            x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
            x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
            if (x ^ x >> 31) < share * 2**64:
                chosen.setdefault(share, set()).add(user)
        assert found_log(log) == expected_log(rows, chosen[share], {"pv", "ipv"})
        small = [note for note in log.notes if "does not compare" in note]
        assert bool(small) == (share < LEAST_SHARE)
    assert chosen[0.2] < chosen[0.5] < set(USERS)
    assert IMPRESSIONS["taobao-ad"].least_share == 0.25
    with pytest.raises(UserError, match=r"above 0 and at most 1, got 1\.5"):
        read_taobao_ad(tmp_path, tmp_path / "scratch", 1.5)


def test_published_counts(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "taobao-ad", raw_rows())
    published = {"impressions": 406, "users": 55, "ads": 29, "profiles": 41, "behaviours": 1_513}
    log = read_taobao_ad(tmp_path, tmp_path / "scratch", 0.5, expected=published)
    assert any("406 impressions" in note and "as published" in note for note in log.notes)
    with pytest.raises(UserError, match=r"(?s)other ads than published.*found .* 29 ads.*expected .* 30 ads"):
        read_taobao_ad(tmp_path, tmp_path / "scratch", expected=published | {"ads": 30, "behaviours": 9})
    with pytest.raises(UserError, match=r"(?s)other behaviours than published.*1,513 beh.*expected .* 9 behaviours"):
        read_taobao_ad(tmp_path, tmp_path / "scratch", expected=published | {"behaviours": 9})
    with pytest.raises(UserError, match="26,557,961 impressions"):
        read_taobao_ad(tmp_path, tmp_path / "scratch")


def test_what_to_do_without_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        read_taobao_ad(tmp_path, tmp_path / "scratch")
    for text in ("user_profile.csv.tar.gz", "127.0.0.1:9", "Tianchi", "account", "DATA_MIRROR", "DATASETS=market"):
        assert text in str(caught.value)
    assert str(tmp_path / "raw" / "taobao-ad" / "user_profile.csv.tar.gz") in str(caught.value)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"no file .*user_profile\.csv"):
        read_taobao_ad(tmp_path, tmp_path / "scratch")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2_000])


def text(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = gzip.decompress(path.read_bytes())
        assert old in content
        path.write_bytes(gzip.compress(content.replace(old, new)))

    return change


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("behavior_log", cut, "cut short"),
        ("behavior_log", text(b"btag", b"what"), "lacks the columns btag"),
        ("behavior_log", text(b",pv,2,5\n", b",pv,two,5\n"), "invalid value 'two'"),
        ("behavior_log", text(b",pv,2,5\n", b",pv,2,5,7\n"), "another number of cells"),
        ("behavior_log", text(b",pv,2,5\n", b",pv,-2,5\n"), "cate lies outside"),
        ("raw_sample", text(b",0,1\n", b",0,2\n"), "clk is not 0 or 1"),
        ("user_profile", lambda path: path.write_bytes(b"\x1f\x8bnot gzip at all"), "cannot be read as csv"),
    ],
)
def test_damaged_files(name: str, damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "taobao-ad"
    write(folder, raw_rows(), ".csv.gz")
    damage(folder / f"{name}.csv.gz")
    with pytest.raises(UserError, match=message) as caught:
        read_taobao_ad(tmp_path, tmp_path / "scratch", expected=None)
    if name != "raw_sample" and "cate" not in message:
        assert str(folder / f"{name}.csv.gz") in str(caught.value)


def test_notes_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "taobao-ad", raw_rows())
    log = read_taobao_ad(tmp_path, tmp_path / "scratch", expected=None)
    assert json.loads(json.dumps({"inputs": log.inputs, "notes": log.notes}))
