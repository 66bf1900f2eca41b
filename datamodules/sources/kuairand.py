"""KuaiRand: what videos 27,285 or 1,000 users of Kuaishou were shown in 31 days, and which of them they clicked.

Beside what Kuaishou's own policies chose, some videos were drawn at random from a pool: these impressions are marked
(`Shown.random`), a second, unbiased test set. Days are Beijing's, day 0 is 2022-04-08.

- Behaviours are the clicked impressions that a policy chose. An item is a video; its fields are `item` (the video
  itself), `author` and `tag`, the first of its tags.
- Target fields are `video_type` (NORMAL, AD), `upload_type` and `duration`, a bucket between fixed edges. Context
  fields are `tab` (which part of the app) and `hour`. User fields are all columns that are not plain numbers.
- A click (`is_click`) is a click only in tabs with two columns of covers. In tabs with one column, where videos play by
  themselves, it means that enough was watched: more than 7 s, or all of a shorter video. The release does not say which
  tabs are which, so none is left out: `tab` is a field of the context, and the click rate of each tab is reported.
- KuaiRand-Pure has only the videos of the random pool, so that its histories have gaps; KuaiRand-1K has them whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.files.answers import RemoteFile
from datamodules.files.columns import ids, in_share, ranks, rows_of, text_ranks, values_at
from datamodules.files.csv_stream import CsvTable
from datamodules.files.download import origin
from datamodules.files.manifest import describe_input
from datamodules.files.mirrors import obtain
from datamodules.impressions import DAY, Behaviours, Impressions, Int32, Int64, Shown
from datamodules.sources.spec import ImpressionSpec

MIRRORS = ("https://zenodo.org/records/10439422/files",)
ADVICE = """\
The archive comes from Zenodo without an account (zenodo.org/records/10439422). Or set DATA_MIRROR to a URL or a local
folder that holds it. Without it: DATASETS=market, which is made on the spot."""
FIRST = 1_649_347_200  # 2022-04-08 00:00 in Beijing
DAYS = 31
HOUR = 3600  # seconds
POLICY_LOGS = ("log_standard_4_08_to_4_21_*.csv", "log_standard_4_22_to_5_08_*.csv")
RANDOM_LOG = "log_random_4_22_to_5_08_*.csv"
PROFILE = (
    *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"),
    *("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"),
    *(f"onehot_feat{number}" for number in range(18)),
)
DURATIONS = np.array([3, 5, 7, 10, 14, 18, 25, 40, 60, 90, 120, 180, 300, 600])  # seconds; 7 and 18 have a meaning


@dataclass(frozen=True)
class Release:
    """One version of the data set: its archive, the checksum that Zenodo publishes, and the published counts."""

    archive: str
    md5: str
    expected: Mapping[str, int]


PURE = Release(
    "KuaiRand-Pure.tar.gz",
    "0820331067a3784d9691136f772b35a7",
    {"policy impressions": 1_436_609, "random impressions": 1_186_059, "users": 27_285},
)
ONE_K = Release(
    "KuaiRand-1K.tar.gz",
    "6b0b9c8222d67fcd4c676218edca3f1f",
    {"policy impressions": 11_713_045, "random impressions": 43_028, "users": 1_000},
)


@dataclass(frozen=True)
class _Rows:
    """Impressions (N,) under raw ids plus 1."""

    user: Int32
    video: Int32
    milliseconds: Int64
    label: NDArray[np.int8]
    tab: Int32
    random: NDArray[np.bool_]


def read_kuairand(release: Release, data_dir: Path, scratch: Path, users: float = 1.0) -> Impressions:
    """Read one release; its archive is downloaded where it is not in `data_dir/raw/kuairand` yet.

    `users`: share of the users, 0 to 1. Raises `UserError` for an archive that cannot be had or has another checksum.
    """
    if not 0 < users <= 1:
        raise UserError(f"the share of users must be above 0 and at most 1, got {users}")
    folder = data_dir / "raw" / "kuairand"
    path = obtain((release.archive,), ("",), MIRRORS, folder, md5=release.md5, advice=ADVICE)
    described = describe_input(path, origin(path), data_dir)
    rows, notes = _read_logs(path, release.expected)
    keep = in_share(rows.user, users)
    if not keep.any():
        raise UserError(f"{path} has no impression of a share of {users} of the users")
    if users < 1:
        notes += (f"a share of {users:g} of the users, chosen by a hash of their ids",)
    rows = _Rows(**{name: column[keep] for name, column in vars(rows).items()})
    second = rows.milliseconds // 1000
    raw_users, user = np.unique(rows.user, return_inverse=True)
    order = np.lexsort((rows.milliseconds, user, second))  # milliseconds last: a history knows seconds
    videos, item = np.unique(rows.video, return_inverse=True)
    catalogue, target = _videos(path, videos)
    of_user, of_item = user.astype(np.int32)[order], (item + 1).astype(np.int32)[order]
    second, label, random = second[order], rows.label[order], rows.random[order]
    shown = Shown(
        user=of_user,
        item=of_item,
        time=second,
        label=label,
        target={name: codes[of_item] for name, codes in target.items()},
        context={"tab": ranks(rows.tab)[0][order], "hour": ((second - FIRST) % DAY // HOUR + 1).astype(np.int32)},
        random=random,
    )
    clicked = np.flatnonzero((label == 1) & ~random)
    clicked = clicked[np.argsort(of_user[clicked], kind="stable")]
    notes += (f"{path.name}: {described['bytes']:,} bytes, sha256 {described['sha256']}, md5 {release.md5}",)
    return Impressions(
        catalogue=catalogue,
        profile=_profile(path, raw_users),
        behaviours=Behaviours(of_user[clicked], of_item[clicked], second[clicked]),
        shown=shown,
        users=len(raw_users),
        first_midnight=FIRST,
        inputs=[described],
        notes=notes,
    )


def _read_logs(path: Path, expected: Mapping[str, int]) -> tuple[_Rows, tuple[str, ...]]:
    integers = dict.fromkeys(("user_id", "video_id", "date", "is_click", "is_rand", "tab"), pa.int32())
    tables, notes, malformed = [], [], 0
    for member in (*POLICY_LOGS, RANDOM_LOG):
        source = CsvTable(path, {**integers, "time_ms": pa.int64()}, member=member)
        tables.append(source.read())
        malformed += source.malformed
    table = pa.concat_tables(tables)
    if (
        any(column.null_count for column in table.columns)
        or not pc.all(pc.is_in(table["is_click"], pa.array([0, 1]))).as_py()
    ):
        raise UserError(f"{path} has an empty cell in a log, or an is_click that is not 0 or 1: it is not the original")
    random = np.repeat([False, False, True], [len(part) for part in tables])
    columns = {name: table[name].to_numpy() for name in table.column_names}
    rows = _Rows(
        user=ids(table["user_id"], "user_id"),
        video=ids(table["video_id"], "video_id"),
        milliseconds=columns["time_ms"],
        label=columns["is_click"].astype(np.int8),
        tab=ids(table["tab"], "tab"),
        random=random,
    )
    found = {
        "policy impressions": int(np.count_nonzero(~random)),
        "random impressions": int(np.count_nonzero(random)),
        "users": len(np.unique(rows.user)),
    }
    for name, count in found.items():  # the checksum says that it is the release, whatever its page says
        as_published = "as published" if count == expected[name] else f"{expected[name]:,} are published"
        notes.append(f"{count:,} {name} ({as_published})")
    day = (rows.milliseconds // 1000 - FIRST) // DAY
    inside = (day >= 0) & (day < DAYS)
    dates = _dates()[np.clip(day, 0, DAYS - 1)]
    counts = {
        "impressions outside of 2022-04-08 to 2022-05-08 (Beijing): left out": ~inside,
        "impressions whose date is not the day of their time in Beijing: the time is taken": inside
        & (dates != columns["date"]),
        "impressions whose is_rand is not that of their log: the log is taken": columns["is_rand"] != random,
    }
    for what, flags in counts.items():
        notes += [f"{number:,} {what}"] if (number := int(np.count_nonzero(flags))) else []
    notes += [f"{malformed:,} malformed lines in the logs: left out"] * bool(malformed)
    rows = _Rows(**{name: column[inside] for name, column in vars(rows).items()})
    return rows, (*notes, _of_tabs(rows))


def _dates() -> NDArray[np.int64]:
    """The dates (DAYS,) of the days as numbers, 20220408 first."""
    days = np.datetime64("2022-04-08") + np.arange(DAYS)
    return np.array([int(str(day).replace("-", "")) for day in days])


def _of_tabs(rows: _Rows) -> str:
    shares = []
    for tab in np.unique(rows.tab).tolist():
        of_tab = rows.label[rows.tab == tab]
        shares.append(f"{tab - 1}: {len(of_tab):,} ({of_tab.mean():.1%})")
    return f"impressions by tab (is_click; in tabs with one column it means watched): {', '.join(shares)}"


def _videos(path: Path, videos: Int32) -> tuple[dict[str, Int32], dict[str, Int32]]:
    """Return the behaviour fields and the target fields (I + 1,) of sorted raw videos (I,)."""
    types = {"video_id": pa.int32(), "author_id": pa.int32(), "video_duration": pa.float64()}
    types |= dict.fromkeys(("video_type", "upload_type", "tag"), pa.string())
    table = CsvTable(path, types, member="video_features_basic_*.csv").read()
    row = rows_of(ids(table["video_id"], "video_id"), videos)
    seconds = table["video_duration"].to_numpy() / 1000  # NaN where there is none
    duration = np.where(seconds >= 0, np.searchsorted(DURATIONS, seconds, side="right") + 1, 0)

    def of_item(codes: NDArray[Any]) -> Int32:
        return np.append(np.int32(0), ranks(values_at(codes, row))[0])

    catalogue = {
        "item": np.arange(len(videos) + 1, dtype=np.int32),
        "author": of_item(ids(table["author_id"], "author_id")),
        "tag": of_item(text_ranks(pc.replace_substring_regex(table["tag"], ",.*", ""))),
    }
    target = {name: of_item(text_ranks(table[name])) for name in ("video_type", "upload_type")}
    return catalogue, target | {"duration": np.append(np.int32(0), values_at(duration.astype(np.int32), row))}


def _profile(path: Path, users: Int32) -> dict[str, Int32]:
    """Return the profile fields (U,) of sorted raw users (U,)."""
    types = {"user_id": pa.int32(), **dict.fromkeys(PROFILE, pa.string())}
    table = CsvTable(path, types, member="user_features_*.csv").read()
    row = rows_of(ids(table["user_id"], "user_id"), users)
    return {name: values_at(text_ranks(table[name]), row) for name in PROFILE}


def _spec(name: str, title: str, release: Release, download_bytes: int) -> ImpressionSpec:
    return ImpressionSpec(
        name=name,
        title=title,
        licence="CC BY-SA 4.0",
        source="Zenodo record 10439422, or DATA_MIRROR",
        expected=release.expected,
        read=partial(read_kuairand, release),
        download_bytes=download_bytes,
        files=(RemoteFile(release.archive, MIRRORS, md5=release.md5),),
    )


KUAIRAND_PURE = _spec("kuairand-pure", "KuaiRand-Pure: videos on Kuaishou, April and May 2022", PURE, 45_200_000)
KUAIRAND_1K = _spec("kuairand-1k", "KuaiRand-1K: videos on Kuaishou, April and May 2022", ONE_K, 1_000_000_000)
