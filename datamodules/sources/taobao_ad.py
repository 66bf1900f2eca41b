"""Ali_Display_Ad_Click: eight days of display-ad impressions on Taobao, and 22 days of what the same users did there.

Raw files (Tianchi data set 56): `raw_sample` (impressions), `ad_feature`, `user_profile`, `behavior_log`. What is made
of them, and why:

- Days are Beijing's: day d = (time - 1494000000) // 86400, so 2017-05-06 is day 0 and 2017-05-13 day 7.
- Behaviours have no goods, only category and brand. So an item is a combination (category, brand) that occurs in the
  behaviours kept or among the ads. Behaviours are `pv`, a goods page opened; `actions="all"` adds cart, fav and buy.
- A behaviour is kept where its user was shown an ad and its time is in the 14 days before the first impression or
  later: no other can be in a history. Rows equal in user, second, action, category and brand are one behaviour.
- Users without a profile stay, with code 0 in every profile field. A brand that reads NULL is code 0.
- Prices reach 1e8. `price` is a bucket between fixed edges, six a decade: nothing of it is learned from the test day.
- Codes are ranks of raw ids. Which of them training saw is a matter of the protocol, not of this reader.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.files.answers import RemoteFile
from datamodules.files.big_arrays import GrowingArray, Partitions
from datamodules.files.columns import different, ids, in_share, ranks, rows_of, text_ranks, values_at
from datamodules.files.csv_stream import CsvTable
from datamodules.files.download import origin
from datamodules.files.manifest import describe_input
from datamodules.files.mirrors import obtain
from datamodules.impressions import DAY, Behaviours, Impressions, Int32, Int64, Shown
from datamodules.sources.spec import ImpressionSpec

MIRRORS = ("https://paddlerec.bj.bcebos.com/datasets/dmr",)
ENDINGS = (".csv.tar.gz", ".csv.gz", ".csv")
FILES = {  # names that a file goes by, the smallest file first: what cannot be had is said at once
    "user_profile": ("user_profile",),
    "ad_feature": ("ad_feature",),
    "raw_sample": ("raw_sample",),
    "behavior_log": ("behavior_log", "raw_behavior_log"),
}
ADVICE = """\
The four files come from PaddleRec's store without an account, and from Tianchi (tianchi.aliyun.com/dataset/56), which
asks for an Alibaba Cloud account. Or set DATA_MIRROR to a URL or a local folder that holds user_profile, ad_feature,
raw_sample and behavior_log, each as .csv.tar.gz, .csv.gz or .csv.
Without them: DATASETS=market, which is made on the spot."""

FIRST = 1_494_000_000  # 2017-05-06 00:00 in Beijing
DAYS = 8
HOUR = 3600  # seconds
REACH = 14  # days of behaviours before an impression
PROFILE = (
    "cms_segid",
    "cms_group_id",
    "final_gender_code",
    "age_level",
    "pvalue_level",
    "shopping_level",
    "occupation",
    "new_user_class_level",
)
TAGS = {"pv": 0, "ipv": 0, "cart": 1, "fav": 2, "buy": 3}  # the official text calls pv ipv
PRICES = np.array([step * 10**power for power in range(9) for step in (1, 1.5, 2, 3, 5, 7)])
ROW = np.dtype([("user", np.int32), ("time", np.int32), ("item", np.int64)])  # a behaviour in a partition
PARTS = 64  # of the whole log each has 11 million behaviours
ID_BITS = 27  # of a raw id plus 1
MOST_PENDING = 1 << 23  # items in batches before they are put together
LEAST_SHARE = 0.25  # DSIN, which takes a quarter of the users, reports an AUC near .5 on 5 % of them (its issue 11)
PUBLISHED = {
    "impressions": 26_557_961,
    "users": 1_141_729,
    "ads": 846_811,
    "profiles": 1_061_768,
    "behaviours": 723_268_134,
    "pv": 688_904_345,
    "cart": 15_946_033,
    "fav": 9_301_837,
    "buy": 9_115_919,
}


def read_taobao_ad(
    data_dir: Path,
    scratch: Path,
    users: float = 1.0,
    *,
    actions: Literal["pv", "all"] = "pv",
    expected: Mapping[str, int] | None = PUBLISHED,
) -> Impressions:
    """Read the four files, downloading those that are not in `data_dir/raw/taobao-ad` yet.

    `users`: share of the users, 0 to 1; the same users for a share always. `scratch` takes about 12 GB for all users.
    Raises `UserError` for a file that cannot be had, is damaged, or has other counts than published.
    """
    if not 0 < users <= 1:
        raise UserError(f"the share of users must be above 0 and at most 1, got {users}")
    folder = data_dir / "raw" / "taobao-ad"
    paths = {name: obtain(stems, ENDINGS, MIRRORS, folder, advice=ADVICE) for name, stems in FILES.items()}
    scratch.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1) as thread:
        inputs = thread.map(lambda path: describe_input(path, origin(path), data_dir), paths.values())
        found: Counter[str] = Counter()
        all_ads = _read_ads(paths["ad_feature"], found)
        samples, notes = _read_samples(paths["raw_sample"], users, found)
        ads, place, unnamed = _join(all_ads, samples["ad"])
        raw_users = different(samples["user"])
        profile, without = _read_profile(paths["user_profile"], raw_users, found)
        _compare(found, expected)  # before the long part
        log = _Log(raw_users, actions)
        behaviours, items = log.read(paths["behavior_log"], scratch, different(ads.item), found)
        described = list(inputs)
    notes = (
        *(f"{entry['file']}: {entry['bytes']:,} bytes, sha256 {entry['sha256']}" for entry in described),
        _compare(found, expected),
        f"ad_feature names {found['categories']:,} categories, {found['brands']:,} brands (none for "
        f"{found['ads without brand']:,} ads), {found['campaigns']:,} campaigns and {found['customers']:,} customers",
        *_of_users(users, len(raw_users), found["users"]),
        *notes,
        *[f"{unnamed:,} impressions of ads that ad_feature does not name: code 0 in their fields"] * bool(unnamed),
        f"{without:,} of {len(raw_users):,} users have no profile: code 0",
        *log.notes(),
    )
    made = _impressions(samples, place, ads, profile, behaviours, items)
    return replace(made, inputs=described, notes=notes)


@dataclass(frozen=True)
class _Ads:
    """What ad_feature says of A ads; raw ids plus 1, and 0 where it says nothing."""

    ad: Int32
    item: Int64  # category and brand in one number
    campaign: Int32
    customer: Int32
    price: Int32  # bucket


def _item(category: Int32, brand: Int32) -> Int64:
    return category.astype(np.int64) << ID_BITS | brand


def _read_ads(path: Path, found: Counter[str]) -> _Ads:
    names = ("adgroup_id", "cate_id", "campaign_id", "customer", "brand")
    table = CsvTable(path, {**dict.fromkeys(names, pa.int32()), "price": pa.float64()}).read()
    ad, category, campaign, customer, brand = (ids(table[name], name) for name in names)
    price = table["price"].to_numpy()  # NaN where there is none
    bucket = np.where(price >= 0, np.searchsorted(PRICES, price, side="right") + 1, 0).astype(np.int32)
    found["ads"], found["ads without brand"] = len(ad), int(np.count_nonzero(brand == 0))
    for name, column in (("categories", category), ("brands", brand), ("campaigns", campaign), ("customers", customer)):
        found[name] = ranks(column)[1]
    return _Ads(ad, _item(category, brand), campaign, customer, bucket)


def _join(ads: _Ads, shown: Int32) -> tuple[_Ads, Int64, int]:
    """Return the ads that are shown, the place of each impression's ad (N,) there, and how many have no features."""
    known, place = np.unique(shown, return_inverse=True)
    row = rows_of(ads.ad, known)
    columns = [values_at(column, row) for column in (ads.item, ads.campaign, ads.customer, ads.price)]
    return _Ads(known, *columns), place, int(np.count_nonzero(row[place] < 0))


def _read_samples(path: Path, share: float, found: Counter[str]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the impressions of a share of the users: raw user and ad plus 1, time, label, scene."""
    integers = dict.fromkeys(("user", "adgroup_id", "nonclk", "clk"), pa.int32())
    source = CsvTable(path, {**integers, "time_stamp": pa.int64(), "pid": pa.string()})
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("user", "ad", "time", "label", "scene")}
    scenes: dict[str | None, int] = {None: 0}  # in the order in which they come
    seen = np.zeros(0, bool)
    outside = unequal = 0
    for batch in source.batches():
        user, ad = ids(batch["user"], "user"), ids(batch["adgroup_id"], "adgroup_id")
        times, label = (batch[name].to_numpy(zero_copy_only=False) for name in ("time_stamp", "clk"))
        if batch["time_stamp"].null_count or not np.isin(label, (0, 1)).all() or not user.all() or not ad.all():
            raise UserError(
                f"{path} has a row without user, ad or time, or whose clk is not 0 or 1: it is not the original"
            )
        unequal += int(np.count_nonzero(batch["nonclk"].to_numpy(zero_copy_only=False) != 1 - label))
        seen = _seen(seen, user)
        inside = (times >= FIRST) & (times < FIRST + DAYS * DAY)
        outside += int(np.count_nonzero(~inside))
        keep = inside & in_share(user, share)
        pid = batch["pid"].dictionary_encode()
        code = np.array([scenes.setdefault(name, len(scenes)) for name in pid.dictionary.to_pylist()] + [0], np.int32)
        scene = code[pc.fill_null(pid.indices, len(code) - 1).to_numpy(zero_copy_only=False)]
        for name, column in zip(parts, (user, ad, times, label.astype(np.int8), scene), strict=True):
            parts[name].append(column[keep])
    found["impressions"], found["users"] = source.rows, int(np.count_nonzero(seen))
    samples = {name: np.concatenate(columns or [np.zeros(0, np.int64)]) for name, columns in parts.items()}
    if not len(samples["user"]):
        raise UserError(f"{path} has no impression of a share of {share} of the users on the days of the release")
    names = [name for name in scenes if name is not None]
    rank = np.zeros(len(scenes), np.int32)
    rank[[scenes[name] for name in sorted(names)]] = np.arange(1, len(scenes))
    samples["scene"] = rank[samples["scene"]]
    notes = [
        f"{len(samples['user']):,} impressions, {samples['label'].mean():.2%} of them clicked, scenes {sorted(names)}"
    ]
    notes += [f"{outside:,} impressions outside of the eight days from 2017-05-06 (Beijing): left out"] * bool(outside)
    notes += [f"{unequal:,} impressions whose nonclk is not 1 - clk: clk is taken"] * bool(unequal)
    notes += [f"{source.malformed:,} malformed lines in {path.name}: left out"] * bool(source.malformed)
    return samples, tuple(notes)


def _seen(flags: NDArray[np.bool_], numbers: Int32) -> NDArray[np.bool_]:
    """Set the flags at these numbers, 0 (null) left out; flags grow as needed."""
    if (most := int(numbers.max(initial=0))) >= len(flags):
        flags = np.concatenate((flags, np.zeros(max(most + 1, 2 * len(flags)) - len(flags), bool)))
    flags[numbers] = True
    flags[:1] = False
    return flags


def _read_profile(path: Path, users: Int32, found: Counter[str]) -> tuple[dict[str, Int32], int]:
    """Return the profile fields (U,) of sorted raw users (U,), and how many of these have none."""
    table = CsvTable(path, {"userid": pa.int32(), **dict.fromkeys(PROFILE, pa.string())}).read()
    found["profiles"] = table.num_rows
    row = rows_of(ids(table["userid"], "userid"), users)
    profile = {name: values_at(text_ranks(table[name]), row) for name in PROFILE}
    return profile, int(np.count_nonzero(row < 0))


@dataclass
class _Log:
    """Reads behavior_log: streamed once, kept rows in partitions by user, each of which is sorted in memory."""

    users: Int32  # (U,) raw users plus 1, sorted
    actions: Literal["pv", "all"]
    other_actions: int = 0
    outside: int = 0
    without_impression: int = 0
    kept: int = 0
    repeated: int = 0
    malformed: int = 0
    pending: list[NDArray[Any]] = field(default_factory=list)  # items of batches

    def read(self, path: Path, scratch: Path, items: Int64, found: Counter[str]) -> tuple[Behaviours, Int64]:
        """Return the behaviours, and the items (I,) by number, sorted, those given included."""
        code = np.full(int(self.users[-1]) + 2, -1, np.int32)  # one more, where all larger ids look
        code[self.users] = np.arange(len(self.users), dtype=np.int32)
        integers = dict.fromkeys(("user", "cate", "brand"), pa.int32())
        types = {**integers, "time_stamp": pa.int64(), "btag": pa.dictionary(pa.int32(), pa.string())}
        source = CsvTable(path, types, aliases={"nick": "user"})
        say = _progress(path.name)
        with Partitions(scratch / "behaviours", ROW, PARTS) as partitions:
            for batch in source.batches():
                rows = self._kept(batch, code, found)
                partitions.add(rows, rows["user"].astype(np.int64) * PARTS // len(self.users))
                # Arrow's hash table finds the different ones faster than sorting does.
                self.pending.append(pc.unique(pa.array(rows["item"] >> 2)).to_numpy())
                if sum(map(len, self.pending)) > MOST_PENDING:
                    self.pending = [different(np.concatenate(self.pending))]
                say(source.rows)
            found["behaviours"], self.malformed = source.rows, source.malformed
            items = different(np.concatenate([items, *self.pending]))
            return self._sorted(partitions, scratch, items), items

    def _kept(self, batch: pa.RecordBatch, code: Int32, found: Counter[str]) -> NDArray[Any]:
        """Return the rows of a batch that are kept; the lowest two bits of `item` are the action."""
        names = batch["btag"].dictionary.to_pylist()
        of_name = np.array([TAGS.get(name, -1) for name in names] + [-1], np.int64)
        tag = of_name[pc.fill_null(batch["btag"].indices, len(names)).to_numpy(zero_copy_only=False)]
        for name, number in zip(("pv", "cart", "fav", "buy"), range(4), strict=True):
            found[name] += int(np.count_nonzero(tag == number))
        times = pc.fill_null(batch["time_stamp"], 0).to_numpy(zero_copy_only=False)
        user = code[np.minimum(ids(batch["user"], "user"), len(code) - 1)]
        chosen = tag == 0 if self.actions == "pv" else tag >= 0
        inside = (times >= FIRST - REACH * DAY) & (times < FIRST + DAYS * DAY)
        self.other_actions += int(np.count_nonzero(~chosen))
        self.outside += int(np.count_nonzero(chosen & ~inside))
        self.without_impression += int(np.count_nonzero(chosen & inside & (user < 0)))
        keep = np.flatnonzero(chosen & inside & (user >= 0))
        rows = np.empty(len(keep), ROW)
        rows["user"], rows["time"] = user[keep], times[keep]
        item = _item(ids(batch["cate"], "cate")[keep], ids(batch["brand"], "brand")[keep])
        rows["item"] = item << 2 | tag[keep]
        return rows

    def _sorted(self, partitions: Partitions, scratch: Path, items: Int64) -> Behaviours:
        import pandas as pd  # as in tafeng.py

        known = pd.Index(items)  # one hash table for all partitions; that of Arrow is made anew at every look-up
        paths = (scratch / f"behaviours.{name}.npy" for name in ("user", "item", "time"))
        types = (np.int32, np.int32, np.int64)
        user, item, at = (GrowingArray(path, dtype) for path, dtype in zip(paths, types, strict=True))
        with user, item, at:
            for rows in partitions.take():
                moment = rows["user"].astype(np.int64) << 32 | rows["time"]
                order = np.argsort(moment, kind="stable")
                rows, moment = rows[order], moment[order]
                once = ~_repeated(moment, rows["item"])
                self.repeated += int(np.count_nonzero(~once))
                rows = rows[once]
                user.append(rows["user"])
                at.append(rows["time"])
                item.append(known.get_indexer(pd.Index(rows["item"] >> 2)) + 1)
        self.kept = user.rows
        return Behaviours(user.mapped(), item.mapped(), at.mapped())

    def notes(self) -> tuple[str, ...]:
        """Return the lines to report."""
        which = "pv" if self.actions == "pv" else "pv, cart, fav and buy"
        left_out = {
            "of other actions": self.other_actions,
            "outside of 2017-04-22 to 2017-05-13 (Beijing)": self.outside,
            "of users who are shown no ad or not in the share": self.without_impression,
            "that repeat another of the same user, second, action, category and brand": self.repeated,
            "in malformed lines": self.malformed,
        }
        lines = (f"behaviours left out: {count:,} {why}" for why, count in left_out.items() if count)
        return f"{self.kept:,} behaviours ({which}) are kept", *lines


def _repeated(moment: Int64, item: Int64) -> NDArray[np.bool_]:
    """Return which rows (N,), sorted by moment, have the moment and the item of a row before them."""
    repeated = np.zeros(len(moment), bool)
    shared = np.zeros(len(moment), bool)  # only rows that share their moment can
    same = moment[1:] == moment[:-1]
    shared[1:] |= same
    shared[:-1] |= same
    rows = np.flatnonzero(shared)
    order = np.lexsort((item[rows], moment[rows]))  # stable: of equal rows the first stays in front
    one, two = rows[order][:-1], rows[order][1:]
    repeated[two[(moment[one] == moment[two]) & (item[one] == item[two])]] = True
    return repeated


def _impressions(
    samples: dict[str, NDArray[Any]],
    place: Int64,
    ads: _Ads,
    profile: dict[str, Int32],
    behaviours: Behaviours,
    items: Int64,
) -> Impressions:
    """Return the log; `place` (N,) is that of each impression's ad in `ads`, `items` (I,) are sorted."""
    raw_users, user = np.unique(samples["user"], return_inverse=True)
    order = np.lexsort((user, samples["time"]))
    place, at = place[order], samples["time"][order]
    target = {
        "ad": ranks(ads.ad)[0],
        "campaign": ranks(ads.campaign)[0],
        "customer": ranks(ads.customer)[0],
        "price": ads.price,
    }
    shown = Shown(
        user=user[order].astype(np.int32),
        item=(np.searchsorted(items, ads.item) + 1).astype(np.int32)[place],
        time=at,
        label=samples["label"][order],
        target={name: codes[place] for name, codes in target.items()},
        context={
            "hour": ((at - FIRST) % DAY // HOUR + 1).astype(np.int32),
            "scene": samples["scene"][order],
        },
    )
    fields = {"category": items >> ID_BITS, "brand": items & ((1 << ID_BITS) - 1)}
    catalogue = {name: np.append(np.int32(0), ranks(raw)[0]) for name, raw in fields.items()}
    return Impressions(catalogue, profile, behaviours, shown, len(raw_users), FIRST)


def _of_users(share: float, users: int, all_users: int) -> list[str]:
    if share == 1:
        return []
    lines = [f"{users:,} of {all_users:,} users: a share of {share:g}, chosen by a hash of their ids"]
    small = f"a share below {LEAST_SHARE:g} of the users does not compare with published figures or with other shares"
    return lines + [small] * (share < LEAST_SHARE)


def _compare(found: Mapping[str, int], expected: Mapping[str, int] | None) -> str:
    """Return the counts of what was read as a line; raises `UserError` where they are not the published ones."""
    line = ", ".join(f"{found[name]:,} {name}" for name in PUBLISHED if name in found)
    if expected is None:
        return f"raw files: {line}"
    if wrong := [name for name, count in expected.items() if name in found and found[name] != count]:
        raise UserError(
            f"taobao-ad has other {' and '.join(wrong)} than published:\n  found    {line}\n"
            f"  expected {', '.join(f'{count:,} {name}' for name, count in expected.items())}\n"
            "The files are not those of the release, or are cut short. Replace them and run the command again."
        )
    return f"raw files: {line} - exactly as published"


def _progress(name: str) -> Callable[[int], None]:
    """Return a function that shows the rows read, a line every ten seconds."""
    shown = time.monotonic()

    def say(rows: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 10:
            shown = time.monotonic()
            print(f"{name}: {rows / 1e6:,.0f} million rows", file=sys.stderr, flush=True)

    return say


TAOBAO_AD = ImpressionSpec(
    name="taobao-ad",
    title="Ali_Display_Ad_Click: display ads on Taobao, May 2017",
    licence="CC BY-NC 4.0: not for commercial use; cite Tianchi, Ad Display/Click Data on Taobao.com, data set 56",
    source="PaddleRec's store, Tianchi data set 56, or DATA_MIRROR",
    expected=PUBLISHED,
    read=read_taobao_ad,
    files=tuple(RemoteFile(stems[0] + ENDINGS[0], MIRRORS) for stems in FILES.values()),
    passes=1,  # as in the recipes of DSIN and DMR
    least_share=LEAST_SHARE,
)
