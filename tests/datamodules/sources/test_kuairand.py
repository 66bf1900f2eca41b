"""KuaiRand: an archive in the original layout, served on 127.0.0.1, read back and compared with plain loops."""

import hashlib
import io
import random
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.files import csv_stream, download
from datamodules.impressions import Impressions
from datamodules.impressions_file import load_impressions, write_impressions
from datamodules.sources import kuairand
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.kuairand import ONE_K, PROFILE, PURE, Release, read_kuairand

MIDNIGHT = int(datetime(2022, 4, 7, 16, tzinfo=UTC).timestamp()) * 1000  # 2022-04-08 in Beijing, milliseconds
END = MIDNIGHT + 31 * 86_400_000
USERS, VIDEOS = [0, 3, 5, 8, 27_284], [0, 7, 9, 12, 15, 7_582]
LOG = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_rand,tab"
VIDEO = "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,music_id,tag"
Rows = list[dict[str, Any]]


def raw_rows() -> dict[str, Rows]:
    rng = random.Random(0)

    def shown(count: int, begin: int, end: int, is_rand: int) -> Rows:
        rows = []
        for _ in range(count):
            at = rng.choice([rng.randrange(begin, end), begin + rng.randrange(3_000)])
            rows.append(log_row(rng.choice(USERS), rng.choice(VIDEOS), at, int(rng.random() < 0.4), is_rand))
        return rows

    def log_row(user: int, video: int, at: int, click: int, is_rand: int) -> dict[str, Any]:
        day = datetime.fromtimestamp(at / 1000, UTC) + timedelta(hours=8)
        values = (user, video, f"{day:%Y%m%d}", f"{day.hour}00", at, click, 0, is_rand, rng.choice([0, 1, 4, 14]))
        return dict(zip(LOG.split(","), values, strict=True))

    middle = MIDNIGHT + 14 * 86_400_000
    first, second = shown(60, MIDNIGHT, middle, 0), shown(60, middle, END, 0)
    first += [log_row(3, 7, at, 1, 0) for at in (MIDNIGHT - 1, MIDNIGHT)]
    second += [log_row(3, 7, at, 1, 0) for at in (END - 1, END, middle - 1)]
    second[0]["date"] = 20220422 if second[0]["date"] != "20220422" else 20220423
    second[1]["is_rand"] = 1
    videos: Rows = [
        dict(zip(VIDEO.split(","), values, strict=True))
        for values in [
            (7, 30, "NORMAL", "2022-04-01", "ShortImport", 1, 17_200.0, 1, '"12,65"'),
            (0, 2, "AD", "2022-04-01", "LongImport", 1, 7_000.0, 1, "8"),
            (12, 30, "NORMAL", "2022-04-01", "ShortImport", 1, "", 1, ""),
            (9, 2, "UNKNOWN", "2022-04-01", "Web", 1, 6_999.0, 1, "8"),
            (7_582, "", "NORMAL", "2022-04-01", "ShortImport", 1, 9e9, 1, '"12,8"'),
            (4_000, 77, "NORMAL", "2022-04-01", "Never", 1, 1.0, 1, "3"),  # never shown; 15 is not here
        ]
    ]
    users: Rows = [
        {"user_id": user, "follow_user_num": 5}
        | {name: rng.choice(["", "full_active", "(0,10]", "0"]) for name in PROFILE}
        for user in USERS[1:]
    ]
    for row in users:  # a comma in a cell
        row.update({name: f'"{value}"' for name, value in row.items() if "," in str(value)})
    return {
        "log_standard_4_08_to_4_21_pure.csv": first,
        "log_standard_4_22_to_5_08_pure.csv": second,
        "log_random_4_22_to_5_08_pure.csv": shown(50, middle, END, 1),
        "video_features_basic_pure.csv": videos,
        "video_features_statistic_pure.csv": [{"video_id": 7}],
        "user_features_pure.csv": users,
    }


def pack(folder: Path, rows: dict[str, Rows]) -> Release:
    """Write the archive and return what is known of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PURE.archive
    with tarfile.open(path, "w:gz") as archive:
        for name, of_file in [("._load_data_pure.py", [{"x": 1}]), *sorted(rows.items())]:
            lines = [",".join(of_file[0]), *(",".join(map(str, row.values())) for row in of_file)]
            content = "".join(f"{line}\n" for line in lines).encode()
            entry = tarfile.TarInfo(f"KuaiRand-Pure/data/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return Release(PURE.archive, md5, {"policy impressions": 125, "random impressions": 50, "users": 6})


def rank(values: Any) -> dict[Any, int]:
    known = sorted({value for value in values if value not in ("", None)})
    return {"": 0, None: 0} | {value: place for place, value in enumerate(known, start=1)}


def expected_log(rows: dict[str, Rows]) -> dict[str, list[Any]]:
    names = [name for name in rows if name.startswith("log")]
    log = [row | {"random": "random" in name} for name in names for row in rows[name]]
    log = [row for row in log if MIDNIGHT <= row["time_ms"] < END]
    log.sort(key=lambda row: (row["time_ms"] // 1000, row["user_id"], row["time_ms"]))
    users, videos = sorted({row["user_id"] for row in log}), sorted({row["video_id"] for row in log})
    about = {row["video_id"]: row for row in rows["video_features_basic_pure.csv"]}
    of_videos = [about.get(video, dict.fromkeys(VIDEO.split(","), "")) for video in videos]
    behaviours = [row for row in log if row["is_click"] and not row["random"]]
    behaviours.sort(key=lambda row: (row["user_id"], row["time_ms"]))
    tags = [row["tag"].strip('"').split(",")[0] for row in of_videos]
    texts = {name: rank(str(row[name]) for row in rows["video_features_basic_pure.csv"]) for name in VIDEO.split(",")}
    places = [videos.index(row["video_id"]) for row in log]
    tab, authors = rank(row["tab"] for row in log), rank(row["author_id"] for row in of_videos)
    edges = [3, 5, 7, 10, 14, 18, 25, 40, 60, 90, 120, 180, 300, 600]
    seconds = [row["video_duration"] for row in of_videos]
    durations = [0 if s == "" else 1 + sum(edge <= s / 1000 for edge in edges) for s in seconds]
    made: dict[str, list[Any]] = {
        "behaviours.user": [users.index(row["user_id"]) for row in behaviours],
        "behaviours.item": [1 + videos.index(row["video_id"]) for row in behaviours],
        "behaviours.time": [row["time_ms"] // 1000 for row in behaviours],
        "shown.user": [users.index(row["user_id"]) for row in log],
        "shown.item": [1 + place for place in places],
        "shown.time": [row["time_ms"] // 1000 for row in log],
        "shown.label": [row["is_click"] for row in log],
        "shown.random": [row["random"] for row in log],
        "context.tab": [tab[row["tab"]] for row in log],
        "context.hour": [(row["time_ms"] - MIDNIGHT) // 3_600_000 % 24 + 1 for row in log],
        "target.duration": [durations[place] for place in places],
        "catalogue.item": list(range(len(videos) + 1)),
        "catalogue.author": [0, *(authors[row["author_id"]] for row in of_videos)],
        "catalogue.tag": [0, *(rank(tags)[tag] for tag in tags)],
    }
    for name in ("video_type", "upload_type"):
        found = rank(texts[name][row[name]] or "" for row in of_videos)  # ranks among the videos shown
        made[f"target.{name}"] = [found[texts[name][of_videos[place][name]] or ""] for place in places]
    profile = {row["user_id"]: row for row in rows["user_features_pure.csv"]}
    for name in PROFILE:
        codes = rank(row[name].strip('"') for row in profile.values())
        made[f"profile.{name}"] = [codes[profile[u][name].strip('"')] if u in profile else 0 for u in users]
    return made


def found_log(log: Impressions) -> dict[str, list[Any]]:
    shown = log.shown
    groups = {"target": shown.target, "context": shown.context, "catalogue": log.catalogue, "profile": log.profile}
    arrays = {f"behaviours.{name}": column for name, column in vars(log.behaviours).items()}
    arrays |= {f"shown.{name}": getattr(shown, name) for name in ("user", "item", "time", "label", "random")}
    arrays |= {f"{group}.{name}": column for group, columns in groups.items() for name, column in columns.items()}
    return {name: column.tolist() for name, column in arrays.items()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server that gives out the files in tmp_path/served."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(kuairand, "MIRRORS", ("http://127.0.0.1:9/files",))  # nobody listens there
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(csv_stream, "BLOCK", 2_000)  # bytes, so that a log comes in many batches


def test_what_is_read(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = raw_rows()
    release = pack(tmp_path / "served", rows)
    monkeypatch.setattr(kuairand, "MIRRORS", (server,))
    log = read_kuairand(release, tmp_path / "data", tmp_path / "scratch")
    assert found_log(log) == expected_log(rows)
    assert log.day(log.shown.time)[[0, -1]].tolist() == [0, 30]
    notes = "\n".join(log.notes)
    for text in (
        "125 policy impressions (as published)",
        "5 users (6 are published)",
        "2 impressions outside of 2022-04-08 to 2022-05-08",
        "1 impressions whose date is not the day",
        "1 impressions whose is_rand is not that of their log",
        f"md5 {release.md5}",
        "in tabs with one column it means watched",
    ):
        assert text in notes
    of_tab = [row for name in rows if name.startswith("log") for row in rows[name] if row["tab"] == 4]
    of_tab = [row for row in of_tab if MIDNIGHT <= row["time_ms"] < END]
    assert f"4: {len(of_tab)} ({np.mean([row['is_click'] for row in of_tab]):.1%})" in notes
    assert log.inputs[0]["url"] == f"{server}/{PURE.archive}"

    write_impressions(log, IMPRESSIONS["kuairand-pure"], tmp_path / "data" / "kuairand-pure")
    assert found_log(load_impressions(tmp_path / "data" / "kuairand-pure")) == found_log(log)


def test_a_folder_as_mirror_and_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = raw_rows()
    release = pack(tmp_path / "folder", rows)
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "folder"))
    whole = read_kuairand(release, tmp_path / "data", tmp_path / "scratch")
    some = read_kuairand(release, tmp_path / "data", tmp_path / "scratch", 0.5)
    assert 0 < some.users < whole.users
    assert not (tmp_path / "data" / "raw" / "kuairand" / PURE.archive).exists()
    with pytest.raises(UserError, match="above 0"):
        read_kuairand(release, tmp_path / "data", tmp_path / "scratch", 0)


def test_a_wrong_checksum(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = pack(tmp_path / "served", raw_rows())
    wrong = replace(release, md5="0" * 32)
    monkeypatch.setenv("DATA_MIRROR", server)
    with pytest.raises(UserError, match=f"its md5 is {release.md5}, expected 0000") as caught:
        read_kuairand(wrong, tmp_path / "data", tmp_path / "scratch")
    for text in ("zenodo.org/records/10439422", "DATA_MIRROR", f"(md5 {'0' * 32})"):
        assert text in str(caught.value)
    folder = tmp_path / "data" / "raw" / "kuairand"
    assert not [path for path in folder.iterdir() if path.suffix != ".lease"]  # nothing wrong stays
    by_hand = pack(folder, raw_rows())
    with pytest.raises(UserError, match=f"is not as expected: its md5 is {by_hand.md5}"):
        read_kuairand(wrong, tmp_path / "data", tmp_path / "scratch")
    assert (folder / PURE.archive).exists()


def test_without_a_source(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for release, mirror in ((PURE, None), (ONE_K, server), (PURE, str(tmp_path))):
        if mirror:
            monkeypatch.setenv("DATA_MIRROR", mirror)
        with pytest.raises(UserError, match=f"cannot get {release.archive} from any mirror") as caught:
            read_kuairand(release, tmp_path / "data", tmp_path / "scratch")
        for text in (mirror or "127.0.0.1:9", "DATA_MIRROR", release.md5, "DATASETS=market"):
            assert text in str(caught.value)


def test_an_archive_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = raw_rows()
    del rows["log_random_4_22_to_5_08_pure.csv"]
    release = pack(tmp_path / "folder", rows)
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "folder"))
    with pytest.raises(UserError, match=r"holds no file log_random_4_22_to_5_08_\*\.csv, only .*user_features_pure"):
        read_kuairand(release, tmp_path / "data", tmp_path / "scratch")
