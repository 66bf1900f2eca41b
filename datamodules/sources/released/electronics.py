"""Electronics as BARS trains on it: AmazonElectronics_x1, the samples of the DIN paper (Zhou et al., KDD 2018).

`train.csv` and `test.csv` with the columns label, user_id, item_id, cate_id, item_history, cate_history; ids are whole
numbers from 0, histories are joined by ^. A user's last behaviour tests, every other one trains, each beside a random
item. BARS selects its checkpoint on the test rows, since its validation file is the test file; so does the protocol
`released`. Its configuration keeps at most 100 behaviours of a history and has no user field (reczoo/BARS,
ranking/ctr/DIEN/DIEN_amazonelectronics_x1). Here the newest 100 are kept, in training and test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datamodules.errors import UserError
from datamodules.files.answers import RemoteFile
from datamodules.files.csv_stream import CsvTable
from datamodules.files.download import DownloadError, origin
from datamodules.files.gzip_blocks import mend
from datamodules.files.manifest import describe_input
from datamodules.files.mirrors import obtain
from datamodules.sources.released.finished import FinishedSamples
from datamodules.sources.spec import FinishedSpec, Int64

MIRRORS = ("https://huggingface.co/datasets/reczoo/AmazonElectronics_x1/resolve/main",)
ARCHIVE = "AmazonElectronics_x1"
MD5 = {"train": "e9bf80b92985e463db18fdc753d347b5", "test": "57a20e82fe736dd495f2eaf0669bf6d0"}
EXPECTED = {"training rows": 2_608_764, "test rows": 384_806}
ADVICE = f"""\
It comes from Hugging Face without an account (datasets/reczoo/AmazonElectronics_x1). Or set DATA_MIRROR to a URL or a
local folder that holds {ARCHIVE}.zip, or train.csv and test.csv. Without it: DATASETS=electronics makes samples of the
raw reviews."""
COLUMNS = {
    "label": pa.float64(), "user_id": pa.int64(), "item_id": pa.int64(), "cate_id": pa.int64(),
    "item_history": pa.string(), "cate_history": pa.string(),
}  # fmt: skip
MOST_ID = 1 << 26  # a table of so many rows


@dataclass(frozen=True)
class Release:
    """The checksums of the two tables, and the counts that must be found."""

    md5: Mapping[str, str]
    expected: Mapping[str, int]


@dataclass(frozen=True)
class _Part:
    """Rows under raw ids."""

    label: Int64
    user: Int64
    item: Int64
    category: Int64
    lengths: Int64
    history: Int64
    kinds: Int64  # categories of the history


def read_electronics(release: Release, data_dir: Path, scratch: Path) -> FinishedSamples:
    """Read the release; it is downloaded where it is not in `data_dir/raw/electronics-x1` yet.

    Raises `UserError` for files that cannot be had, have another checksum or do not hold what the release holds.
    """
    tables = _tables(release, data_dir / "raw" / "electronics-x1")
    parts = {name: _read(table) for name, table in tables.items()}
    found = {"training rows": len(parts["train"].user), "test rows": len(parts["test"].user)}
    path = tables["train"].path
    if found != dict(release.expected):
        raise UserError(f"{path} holds {found}, expected {dict(release.expected)}. {mend(path)}")
    whole = _Part(*(np.concatenate([getattr(p, name) for p in parts.values()]) for name in _Part.__dataclass_fields__))
    users, user = np.unique(whole.user, return_inverse=True)
    items = int(max(whole.item.max(), whole.history.max(initial=0))) + 1
    category = np.zeros(items + 1, np.int32)
    mentioned, kinds = (
        np.concatenate(pair) + 1 for pair in ((whole.item, whole.history), (whole.category, whole.kinds))
    )
    category[mentioned] = kinds
    if differing := int(np.count_nonzero(category[mentioned] != kinds)):
        raise UserError(f"{path}: {differing:,} behaviours have another category than their item. {mend(path)}")
    train = slice(0, len(parts["train"].user))
    return FinishedSamples(
        user=user.astype(np.int32),
        item=(whole.item + 1).astype(np.int32),
        label=whole.label.astype(np.int8),
        offsets=np.concatenate([[0], np.cumsum(whole.lengths)]).astype(np.int64),
        history=(whole.history + 1).astype(np.int32),
        category=category,
        catalogue_rank=np.arange(-1, items, dtype=np.int32),  # by the published number
        pool=(whole.item[train][whole.label[train] == 1] + 1).astype(np.int32),  # a behaviour each
        user_code=np.zeros(0, np.int32),
        training_rows=len(parts["train"].user),
        users=len(users),
        cuts_test=True,
        inputs=[describe_input(p, origin(p), data_dir) for p in dict.fromkeys(t.path for t in tables.values())],
        notes=("the test rows are also what the checkpoint is selected on, as in BARS: there is no validation set",),
    )


def _tables(release: Release, folder: Path) -> dict[str, CsvTable]:
    """The two tables: from files of their own where these are there, else from the archive, else downloaded."""

    def plain() -> dict[str, Path]:
        return {
            name: obtain((name,), (".csv",), MIRRORS, folder, md5=md5, advice=ADVICE)
            for name, md5 in release.md5.items()
        }

    if all((folder / f"{name}.csv").exists() for name in release.md5):
        paths = plain()
    else:
        try:
            archive = obtain((ARCHIVE,), (".zip",), MIRRORS, folder, advice=ADVICE)
            paths = dict.fromkeys(release.md5, archive)
        except DownloadError as failed:
            try:
                paths = plain()
            except DownloadError:
                raise failed from None
    return {
        name: CsvTable(path, COLUMNS, member=f"{name}.csv", md5=release.md5[name] if path.suffix == ".zip" else None)
        for name, path in paths.items()
    }


def _read(table: CsvTable) -> _Part:
    parts = []
    for batch in table.batches():
        if any(batch.column(name).null_count for name in ("label", "user_id", "item_id", "cate_id")):
            raise UserError(f"{table.path}: {table.member} has empty cells. {mend(table.path)}")
        label, user, item, category = (batch.column(n).to_numpy() for n in ("label", "user_id", "item_id", "cate_id"))
        try:
            histories = [pc.split_pattern(batch.column(name), "^") for name in ("item_history", "cate_history")]
            lengths, others = (pc.fill_null(pc.list_value_length(each), 0).to_numpy() for each in histories)
            history, kinds = (pc.cast(each.flatten(), pa.int64()).to_numpy() for each in histories)
        except pa.ArrowInvalid as error:
            raise UserError(f"{table.path}: {table.member} has a history of no numbers: {error}.") from None
        if not np.array_equal(lengths, others) or not np.isin(label, (0, 1)).all():
            raise UserError(
                f"{table.path}: {table.member} has labels other than 0 and 1, or histories with more items than "
                f"categories. {mend(table.path)}"
            )
        for ids in (user, item, category, history, kinds):
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < MOST_ID:
                raise UserError(f"{table.path}: {table.member} has ids beyond 0 to {MOST_ID:,}. {mend(table.path)}")
        parts.append(_Part(label.astype(np.int64), user, item, category, lengths.astype(np.int64), history, kinds))
    if not parts:
        raise UserError(f"{table.path}: {table.member} holds no row. {mend(table.path)}")
    return _Part(*(np.concatenate([getattr(p, name) for p in parts]) for name in _Part.__dataclass_fields__))


ELECTRONICS_X1 = FinishedSpec(
    name="electronics-x1",
    title="Amazon Electronics, the samples of BARS (AmazonElectronics_x1)",
    licence="published by RecZoo on Hugging Face, made of Amazon reviews of 2014; not redistributed here",
    source="huggingface.co, reczoo/AmazonElectronics_x1, or DATA_MIRROR",
    expected=EXPECTED,
    read=partial(read_electronics, Release(MD5, EXPECTED)),
    download_bytes=132_000_000,
    files=(RemoteFile(f"{ARCHIVE}.zip", MIRRORS),),
)
