"""Raw files in the layout of Ali_Display_Ad_Click, made up, of any share of its size: what preparation is timed on.

    python -m benchmark.bench.prepare.ads write FOLDER 0.01   # 1 % of the users, ads, impressions and behaviours
    python -m benchmark.bench.prepare.ads prepare FOLDER      # seconds, memory, bytes

The files lie in FOLDER/raw/taobao-ad. Categories, brands and ads are drawn with a long tail; one behaviour in a hundred
stands twice.
"""

import json
import shutil
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from isal import igzip
from numpy.typing import NDArray

from benchmark.bench.prepare.child import peak_mb
from datamodules.impressions_file import counts_of, load_log, write_impressions
from datamodules.sources.taobao_ad import DAYS, FIRST, PROFILE, PUBLISHED, REACH, TAOBAO_AD, read_taobao_ad

DAY = 86_400  # seconds
CATEGORIES, BRANDS = 12_968, 460_561  # of the original's behaviours
CHUNK = 1 << 21  # rows
TAGS = ("pv", "cart", "fav", "buy")


def write_raw(folder: Path, share: float, seed: int = 0, *, packed: bool = True) -> dict[str, int]:
    """Write the files (.csv.tar.gz, or .csv where not `packed`), always the same ones, and return their rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    size = {name: max(int(PUBLISHED[name] * share), 10) for name in ("users", "ads", "profiles", "impressions")}
    size["behaviours"] = int(PUBLISHED["behaviours"] * share)
    users = np.sort(rng.choice(PUBLISHED["users"], size["users"], replace=False)) + 1
    writers = (
        (_ads, "ad_feature", "ads"),
        (_profiles, "user_profile", "profiles"),
        (_samples, "raw_sample", "impressions"),
        (_behaviours, "behavior_log", "behaviours"),
    )
    for make, name, what in writers:
        path = folder / f"{name}.csv"
        with path.open("wb") as file:
            for begin in range(0, size[what], CHUNK):
                rows = make(begin, min(size[what], begin + CHUNK), users, size["ads"], rng)
                if begin == 0:
                    file.write(f"{','.join(rows)}\n".encode())
                options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
                pa_csv.write_csv(pa.table(rows), file, options)
        if packed:
            with (
                igzip.open(folder / f"{name}.csv.tar.gz", "wb", 2) as out,  # type: ignore[no-untyped-call]
                tarfile.open(fileobj=out, mode="w|") as archive,
            ):
                archive.add(path, path.name)
            path.unlink()
    return size


def _long_tail(most: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers from 1 to `most`, small ones more often: the logarithm is uniform."""
    numbers: NDArray[np.int64] = np.exp(rng.random(count) * np.log(most)).astype(np.int64)
    return numbers


def _brand_of(category: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A brand for each category: each has a few hundred, the first of them more often."""
    return (category * 7919 + _long_tail(500, count, rng)) % BRANDS + 1


def _ads(
    begin: int, end: int, users: NDArray[np.int64], ads: int, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    count = end - begin
    category = _long_tail(CATEGORIES, count, rng)
    brand = _brand_of(category, count, rng).astype(str).astype(object)
    brand[rng.random(count) < 0.3] = "NULL"
    return {
        "adgroup_id": np.arange(begin, end) + 1,
        "cate_id": category,
        "campaign_id": rng.integers(1, 423_437, count),
        "customer": rng.integers(1, 255_876, count),
        "brand": brand,
        "price": np.round(np.exp(rng.normal(5, 1.5, count)), 2),
    }


def _profiles(
    begin: int, end: int, users: NDArray[np.int64], ads: int, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    fields = {name: rng.integers(0, 13, end - begin).astype(str).astype(object) for name in PROFILE}
    for name in ("pvalue_level", "new_user_class_level"):
        fields[name][rng.random(end - begin) < 0.3] = ""
    *names, last = PROFILE
    return {"userid": users[begin:end], **{name: fields[name] for name in names}, f"{last} ": fields[last]}


def _samples(
    begin: int, end: int, users: NDArray[np.int64], ads: int, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    count = end - begin
    click = (rng.random(count) < 0.05).astype(np.int64)
    return {
        "user": users[rng.integers(0, len(users), count)],
        "time_stamp": FIRST + rng.integers(0, DAYS * DAY, count),
        "adgroup_id": np.sort(_long_tail(ads, count, rng)),
        "pid": np.array(["430548_1007", "430539_1007"], object)[rng.integers(0, 2, count)],
        "nonclk": 1 - click,
        "clk": click,
    }


def _behaviours(
    begin: int, end: int, users: NDArray[np.int64], ads: int, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    count = end - begin
    category = _long_tail(CATEGORIES, count, rng)
    columns = {
        "user": users[rng.integers(0, len(users), count)],
        "time_stamp": FIRST + rng.integers(-REACH * DAY, DAYS * DAY, count),
        "btag": np.array(TAGS, object)[rng.choice(4, count, p=(0.952, 0.022, 0.013, 0.013))],
        "cate": category,
        "brand": _brand_of(category, count, rng),
    }
    twice = np.arange(count) - (rng.random(count) < 0.01)  # a row that stands there again right behind itself
    return {name: column[np.maximum(twice, 0)] for name, column in columns.items()}


def prepare(folder: Path) -> dict[str, Any]:
    """Prepare the files in a folder; return seconds of each step, peak memory, bytes on disk and counts."""
    before = peak_mb()
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    last = {name: clock() for name, clock in clocks.items()}
    seconds: dict[str, dict[str, float]] = {}
    scratch, prepared = folder / "scratch", folder / "prepared"

    def step(name: str) -> None:
        now = {clock: read() for clock, read in clocks.items()}
        seconds[name] = {clock: round(now[clock] - last[clock], 1) for clock in clocks}
        last.update(now)

    log = read_taobao_ad(folder, scratch, expected=None)
    step("read")
    write_impressions(log, TAOBAO_AD, prepared)
    step("write")
    report = {"counts": counts_of(log), "notes": log.notes}
    del log
    shutil.rmtree(scratch)
    peak = peak_mb()
    load_log(prepared)
    step("load")
    size = sum(path.stat().st_size for path in prepared.iterdir())
    return report | {"seconds": seconds, "peak_mb": peak, "peak_before_mb": before, "prepared_mb": round(size / 1e6)}


def main(work: str, folder: Path, share: str = "0.01") -> None:
    """Do the work and print its report."""
    report = prepare(folder) if work == "prepare" else write_raw(folder / "raw" / "taobao-ad", float(share))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
