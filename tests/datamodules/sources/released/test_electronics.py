"""Electronics as in BARS: made-up tables read back, their samples against a plain reading, and what is refused."""

import csv
import hashlib
import io
import random
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmark.cli.options import dataset_names
from benchmark.records.paper import BARS, printed_auc
from benchmark.records.record import read_records
from benchmark.report.tables import places_of, table_of_runs
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from datamodules import datasets
from datamodules.datamodule import InteractionsDataModule
from datamodules.errors import UserError
from datamodules.sources.released.electronics import COLUMNS, ELECTRONICS_X1, Release, read_electronics
from datamodules.sources.spec import FinishedSpec

NAME, PROTOCOL = "electronics-x1", "released"
Row = tuple[int, int, int, int, list[int], list[int]]


def rows_of(users: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Training and test rows: every behaviour of a user but the first beside a random item, the last one tests."""
    rng = random.Random(seed)
    category = [rng.randrange(9) for _ in range(50)]
    parts: tuple[list[Row], list[Row]] = ([], [])
    for user in range(users):
        behaviours = rng.choices(range(50), k=130 if user == 0 else rng.randint(2, 9))
        for place in range(1, len(behaviours)):
            history = behaviours[:place]
            pair = [(1, behaviours[place]), (0, rng.randrange(50))]
            for label, item in rng.sample(pair, 2):
                row = (label, user, item, category[item], history, [category[one] for one in history])
                parts[place == len(behaviours) - 1].append(row)
    pairs = [parts[0][at : at + 2] for at in range(0, len(parts[0]), 2)]
    rng.shuffle(pairs)
    return [row for pair in pairs for row in pair], parts[1]


def table_text(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for *numbers, history, kinds in rows:
        writer.writerow([*numbers, *("^".join(map(str, ids)) for ids in (history, kinds))])
    return text.getvalue().encode()


def made_up(folder: Path, train: list[Row], test: list[Row], zipped: bool = True) -> FinishedSpec:
    folder.mkdir(parents=True)
    texts = {"train": table_text(train), "test": table_text(test)}
    if zipped:
        with zipfile.ZipFile(folder / "AmazonElectronics_x1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(f"AmazonElectronics_x1/{name}.csv", text)
    else:
        for name, text in texts.items():
            (folder / f"{name}.csv").write_bytes(text)
    md5 = {name: hashlib.md5(text).hexdigest() for name, text in texts.items()}
    expected = {"training rows": len(train), "test rows": len(test)}
    read = partial(read_electronics, Release(md5, expected))
    return replace(ELECTRONICS_X1, expected=expected, read=read, files=(), steps=3)


@pytest.mark.parametrize("zipped", [True, False])
def test_samples_are_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    train, test = rows_of(60, seed=0)
    monkeypatch.setitem(datasets.FINISHED, NAME, made_up(tmp_path / "raw" / NAME, train, test, zipped))
    data = InteractionsDataModule(NAME, PROTOCOL, data_dir=str(tmp_path), batch_size=64)
    data.prepare_data()
    data.setup()
    samples = data.ready
    for split, rows in ((samples.train, train), (samples.test, test)):
        expected = []  # windows of 20 batches of 128, the longest history first, the later row first
        for first in range(0, len(rows), 2560):
            expected += sorted(reversed(rows[first : first + 2560]), key=lambda row: -len(row[4]))
        assert len(split) == len(rows)
        for at, (label, user, item, kind, history, kinds) in enumerate(expected):
            kept = samples.items[split.begin[at] : split.end[at]]
            assert (split.label[at], split.user[at], split.item[at]) == (label, user, item + 1)
            assert (kept - 1).tolist() == history[-100:]
            assert (samples.item_category[kept] - 1).tolist() == kinds[-100:]
            assert samples.item_category[item + 1] == kind + 1
    assert sorted((samples.pool - 1).tolist()) == sorted(row[2] for row in train if row[0])
    assert len(samples.items) < sum(len(row[4]) for row in train) / 3  # a history that begins another is stored once
    assert samples.catalogue_rank.tolist() == list(range(-1, samples.item_count))


def test_a_table_stands_beside_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.FINISHED, NAME, made_up(tmp_path / "raw" / NAME, *rows_of(40, seed=1)))
    out = tmp_path / "runs"
    for seed in (0, 1):
        config = RunConfig(NAME, PROTOCOL, "base-model+embedding_size=4", "paper", seed, 2, 16)
        train_run(RunConfig(**{**vars(config), "data_dir": str(tmp_path), "out": str(out)}))
    record = read_records(out)[0]
    assert record.selection == "test"
    assert record.gauc is not None
    (place,) = places_of(out, None, PROTOCOL, None)
    text = table_of_runs("4", place, [NAME], None, out, print).shown.markdown()
    line = next(line for line in text.splitlines() if "embedding" in line)
    assert "| 0.8815 |" in line  # BARS' AUC, GAUC and log loss of DNN
    assert "| 0.8790 | 0.4401 |" in line
    assert "| lower |" in line
    assert "BARS: printed by reczoo/BARS" in text
    assert printed_auc(NAME, "din", PROTOCOL).mean == BARS["din"]["auc"]  # type: ignore[union-attr]
    assert NAME in dataset_names()


def changed(rows: list[Row], at: int, **cells: object) -> list[Row]:
    names = list(COLUMNS)
    row = list(rows[at])
    for name, value in cells.items():
        row[names.index(name)] = value  # type: ignore[call-overload]
    return [*rows[:at], tuple(row), *rows[at + 1 :]]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"label": 2}, "labels other than 0 and 1"),
        ({"item_id": -1}, "ids beyond 0"),
        ({"user_id": 1 << 40}, "ids beyond 0"),
        ({"item_id": "x"}, "cannot be read as csv"),
        ({"item_history": ["x"], "cate_history": [1]}, "a history of no numbers"),
        ({"item_history": [1, 2], "cate_history": [1]}, "more items than categories"),
        ({"cate_id": 11}, "another category than their item"),
    ],
)
def test_tables_that_are_not_of_the_release_are_refused(cells: dict[str, object], message: str, tmp_path: Path) -> None:
    train, test = rows_of(10, seed=0)
    spec = made_up(tmp_path / "raw" / NAME, changed(train, 0, **cells), test)
    with pytest.raises(UserError, match=message):
        spec.read(tmp_path, tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    spec = made_up(tmp_path / "raw" / NAME, *rows_of(60, seed=0))
    path = tmp_path / "raw" / NAME / "AmazonElectronics_x1.zip"
    content = path.read_bytes()
    for at in range(100, len(content) // 2, len(content) // 20):
        path.write_bytes(content[:at] + b"\xff" * 16 + content[at + 16 :])
        with pytest.raises(UserError, match="Delete"):
            spec.read(tmp_path, tmp_path)


def test_other_counts_and_checksums_are_refused(tmp_path: Path) -> None:
    spec = made_up(tmp_path / "raw" / NAME, *rows_of(10, seed=0))
    (release,) = spec.read.args  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"expected \{'training rows': 1"):
        read_electronics(Release(release.md5, {"training rows": 1}), tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"the md5 of train.csv is \w+, expected e9bf"):
        ELECTRONICS_X1.read(tmp_path, tmp_path)
