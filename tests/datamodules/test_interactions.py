"""The canonical table: numbers, ranks, order, and what happens to damaged or half-written folders."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules import interactions
from datamodules.errors import UserError
from datamodules.files import manifest
from datamodules.files.manifest import MANIFEST, READER_VERSION, file_sha256
from datamodules.interactions import (
    NAMES,
    SCHEMA,
    TABLE,
    _sort,
    load_category_names,
    load_interactions,
    number_ids,
    write_interactions,
)
from datamodules.sources.spec import Counts, DatasetSpec, RawInteractions

# user, item, time; catalogue order of the items as strings: A1 < B10 < B9 < b2
ROWS = [("u2", "B9", 30), ("u1", "B10", 20), ("u2", "A1", 10), ("u1", "b2", 20), ("u2", "B10", 10)]
CATEGORY = {"A1": "toys", "B10": "toys", "B9": "books", "b2": "games"}
RANK = {"A1": 0, "B10": 1, "B9": 2, "b2": 3}


def raw_of(rows: list[tuple[str, str, int]] = ROWS, **fields: object) -> RawInteractions:
    users, items = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    return RawInteractions(
        user=np.array([users.index(row[0]) for row in rows], np.int32),
        item=np.array([items.index(row[1]) for row in rows], np.int32),
        time=np.array([row[2] for row in rows], np.int64),
        user_ids=users,
        item_ids=items,
        category_of=CATEGORY,
        inputs=[{"file": "log.gz", "url": "http://localhost/log.gz", "sha256": "0" * 64, "bytes": 7}],
        **fields,
    )


def spec_of(name: str = "toy") -> DatasetSpec:
    return DatasetSpec(name=name, title="A toy", licence="none", expected=Counts(), read=lambda data_dir: raw_of())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_interactions(raw_of(), spec_of(), tmp_path / "toy")
    return tmp_path / "toy"


def test_numbers_ranks_and_order_of_a_hand_worked_example(folder: Path) -> None:
    _, user_number = number_ids(["u1", "u2"], stream=0)
    _, item_number = number_ids(list(RANK), stream=1)
    _, category_number = number_ids(["books", "games", "toys"], stream=2)
    users = dict(zip(["u1", "u2"], user_number.tolist(), strict=True))
    items = dict(zip(RANK, (item_number + 1).tolist(), strict=True))
    categories = dict(zip(["books", "games", "toys"], (category_number + 1).tolist(), strict=True))
    expected = sorted(
        (users[u], t, items[i], categories[CATEGORY[i]], RANK[i]) for u, i, t in ROWS
    )  # by user, time, item number

    table = load_interactions(folder)
    columns = (table.user, table.time, table.item, table.category, table.catalogue_rank)
    assert [tuple(row) for row in np.stack(columns, 1).tolist()] == expected
    assert [column.dtype for column in columns] == [np.int32, np.int64, np.int32, np.int32, np.int32]
    assert (table.users, table.items, table.categories) == (2, 4, 3)
    assert all(column.flags.writeable for column in columns)  # torch.from_numpy warns about others


def test_names_of_categories_stand_at_their_numbers(folder: Path) -> None:
    table, names = load_interactions(folder), load_category_names(folder)
    times = {(i, t): CATEGORY[i] for _, i, t in ROWS}
    rank_of = {rank: item for item, rank in RANK.items()}
    rows = zip(table.catalogue_rank.tolist(), table.time.tolist(), table.category.tolist(), strict=True)
    assert all(names[category - 1] == times[rank_of[rank], time] for rank, time, category in rows)
    assert sorted(names) == ["books", "games", "toys"]


@pytest.mark.parametrize("content", [None, "[", "{}", '["books"]', '["books", "toys", 3]', b"\xff"])
def test_damaged_names_are_told(folder: Path, content: str | bytes | None) -> None:
    (folder / NAMES).unlink()
    if content is not None:
        (folder / NAMES).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=r"categories\.json.*dien-bench prepare toy"):
        load_category_names(folder)
    assert load_interactions(folder).categories == 3  # nothing else needs them


def test_numbers_are_a_fixed_permutation_that_tells_nothing_about_the_catalogue() -> None:
    ids = [f"{n:05d}" for n in range(5_000)]
    rank, number = number_ids(ids, stream=1)
    assert rank.tolist() == list(range(5_000))
    assert sorted(number.tolist()) == list(range(5_000))
    assert abs(np.corrcoef(rank, number)[0, 1]) < 0.05
    assert number[:6].tolist() == [1329, 4451, 3245, 2530, 4401, 458]  # a change needs a new READER_VERSION
    assert not np.array_equal(number, number_ids(ids, stream=2)[1])


@pytest.mark.parametrize(
    "times",
    [
        range(0, 86_400 * 30, 86_400),  # days: one number a row
        range(1, 2**60, 2**56 + 1),  # beyond 63 bits
        [5],
        [-3, 4],
    ],
)
def test_rows_are_sorted_by_user_time_and_item(times: Sequence[int]) -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 20, (2, 3_000)).astype(np.int32)
    time = rng.choice(np.array(times, np.int64), 3_000)
    rows = np.stack([user, time, item], 1)
    assert rows[_sort(user, time, item)].tolist() == sorted(rows.tolist())


def test_the_table_does_not_depend_on_the_order_in_which_ids_are_met(tmp_path: Path) -> None:
    for name, rows in (("a", ROWS), ("b", ROWS[::-1])):
        write_interactions(raw_of(rows), spec_of(), tmp_path / name)
    assert (tmp_path / "a" / TABLE).read_bytes() == (tmp_path / "b" / TABLE).read_bytes()
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()


def test_manifest(tmp_path: Path) -> None:
    raw = raw_of(malformed=2, missing_categories=1, notes=("two lines left out",))
    counts = write_interactions(raw, spec_of(), tmp_path / "toy")
    manifest = load_interactions(tmp_path / "toy").manifest
    assert counts == raw.counts == Counts(5, 2, 4, 3)
    assert manifest.pop("sha256") == file_sha256(tmp_path / "toy" / TABLE)
    assert re.fullmatch("[0-9a-f]{64}", manifest.pop("content_sha256"))
    assert manifest == {
        "dataset": "toy",
        "title": "A toy",
        "licence": "none",
        "source": "your own file",
        "steps": None,
        "order_within_time": True,
        "reader_version": READER_VERSION,
        "source_version": 1,
        "inputs": raw.inputs,
        "counts": {"interactions": 5, "users": 2, "items": 4, "categories": 3},
        "malformed_lines": 2,
        "items_without_category": 1,
        "notes": ["two lines left out"],
    }


def test_content_sha256_is_that_of_the_numbers_not_of_the_file(tmp_path: Path) -> None:
    later = [(user, item, time + 1) for user, item, time in ROWS]
    found = []
    for name, rows, title in (("a", ROWS, "A"), ("b", ROWS, "B"), ("c", later, "C")):
        spec = DatasetSpec(name=name, title=title, licence="none", expected=Counts(), read=lambda data_dir: raw_of())
        write_interactions(raw_of(rows), spec, tmp_path / name)
        found.append(load_interactions(tmp_path / name).manifest["content_sha256"])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("broken", ["write_table", "replace"])
def test_an_interrupted_preparation_leaves_nothing_that_counts_as_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    replace = manifest.os.replace

    def stop(source: Path, target: Path) -> None:
        if Path(target).name == MANIFEST:
            raise KeyboardInterrupt
        replace(source, target)

    def half(table: pa.Table, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"PAR1 half a table")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if broken == "replace":
            patch.setattr(manifest.os, "replace", stop)
        else:
            patch.setattr(interactions.pq, "write_table", half)
        with pytest.raises((KeyboardInterrupt, OSError)):
            write_interactions(raw_of(), spec_of(), tmp_path / "toy")
    with pytest.raises(UserError, match=r"no prepared data set in .*toy.*Run: dien-bench prepare toy"):
        load_interactions(tmp_path / "toy")
    assert not list(tmp_path.glob(".toy*"))

    write_interactions(raw_of(), spec_of(), tmp_path / "toy")
    assert load_interactions(tmp_path / "toy").items == 4


def test_leftovers_of_a_killed_preparation_are_removed_and_other_files_kept(tmp_path: Path) -> None:
    (tmp_path / ".toy.partial").mkdir()
    (tmp_path / ".toy.partial" / TABLE).write_bytes(b"half")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "notes.txt").write_text("mine")
    write_interactions(raw_of(), spec_of(), tmp_path / "toy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == sorted([TABLE, NAMES, MANIFEST, "notes.txt"])


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no prepared data set in .*sports.*dien-bench prepare sports"):
        load_interactions(tmp_path / "sports")


def edit_manifest(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | fields))


def test_another_reader_version(folder: Path) -> None:
    edit_manifest(folder, reader_version=99)
    with pytest.raises(UserError, match=rf"reader version 99, this is version {READER_VERSION}. Delete .*toy"):
        load_interactions(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "[" * 100_000])
def test_a_damaged_manifest(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(UserError, match=r"Delete the folder .*toy and prepare the data set again"):
        load_interactions(folder)


def test_a_manifest_without_counts(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["counts"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"damaged: KeyError: 'counts'. Delete the folder"):
        load_interactions(folder)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "its sha256 is"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "its sha256 is"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_damaged_table(folder: Path, damage, reason: str) -> None:
    damage(folder / TABLE)
    with pytest.raises(UserError, match=rf"{TABLE} is damaged: .*{reason}.* Delete the folder .*toy"):
        load_interactions(folder)


def columns_of(folder: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(folder / TABLE)
    return {name: np.array(table[name]) for name in table.column_names}


def rewrite(folder: Path, table: pa.Table) -> None:
    """Replace the table and its checksum, as somebody does who edits it."""
    pq.write_table(table, folder / TABLE)
    edit_manifest(folder, sha256=file_sha256(folder / TABLE))


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("user", [0, 1, 0, 1, 1], "not sorted by user and time"),
        ("time", [20, 20, 10, 30, 10], "not sorted by user and time"),
        ("user", [1, 1, 2, 2, 2], "numbers go beyond their last value"),
        ("user", [-1, -1, 0, 0, 0], "numbers start below"),
        ("item", [0, 1, 2, 3, 3], "numbers start below"),
        ("user", [0, 0, 0, 0, 0], "it holds 5 interactions, 1 users"),
        ("catalogue_rank", [0, 1, 2, 3, 4], "numbers go beyond"),
    ],
)
def test_a_table_that_contradicts_itself(folder: Path, column: str, values: list[int], reason: str) -> None:
    columns = columns_of(folder) | {column: np.array(values)}
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in SCHEMA]
    rewrite(folder, pa.Table.from_arrays(arrays, schema=SCHEMA))
    with pytest.raises(UserError, match=rf"damaged: .*{reason}.*Delete the folder"):
        load_interactions(folder)


def test_an_edited_table_that_is_sound_is_taken(folder: Path) -> None:
    columns = columns_of(folder)
    arrays = [pa.array(columns[field.name] + 5 * (field.name == "time")) for field in SCHEMA]
    rewrite(folder, pa.Table.from_arrays(arrays, schema=SCHEMA))
    assert load_interactions(folder).time.min() == 15


def test_other_columns_or_types(folder: Path) -> None:
    columns = columns_of(folder)
    rewrite(folder, pa.table({name: pa.array(column.astype(np.int64)) for name, column in columns.items()}))
    with pytest.raises(UserError, match=r"it has the columns user int64, .*, expected user int32, item int32"):
        load_interactions(folder)
    rewrite(folder, pa.table({"user": pa.array(columns["user"])}))
    with pytest.raises(UserError, match=r"it has the columns user int32, expected"):
        load_interactions(folder)


def test_not_a_parquet_file(folder: Path) -> None:
    (folder / TABLE).write_bytes(b"user,item\n1,2\n")
    edit_manifest(folder, sha256=file_sha256(folder / TABLE))
    with pytest.raises(UserError, match="damaged"):
        load_interactions(folder)


def of(*columns: list[int]) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


@pytest.mark.parametrize(
    ("category", "rank", "reason"),
    [
        ([1, 1, 2, 2], [0, 1, 2, 0], "an item has more than one category"),
        ([1, 1, 2, 1], [0, 1, 2, 1], "an item has more than one catalogue rank"),
        ([1, 1, 2, 1], [0, 1, 1, 0], "two items have one catalogue rank"),
    ],
)
def test_items_that_contradict_themselves(folder: Path, category: list[int], rank: list[int], reason: str) -> None:
    rewrite(folder, of([0, 0, 1, 1], [1, 2, 3, 1], category, [1, 2, 1, 2], rank))
    edit_manifest(folder, counts={"interactions": 4, "users": 2, "items": 3, "categories": 2})
    with pytest.raises(UserError, match=rf"damaged: {reason}"):
        load_interactions(folder)


def test_a_number_that_would_need_gigabytes_to_be_counted(folder: Path) -> None:
    most = 2**31 - 1
    rewrite(folder, of([0, most], [1, most], [1, most], [0, 1], [0, most]))
    edit_manifest(folder, counts={"interactions": 2, "users": most + 1, "items": most, "categories": most})
    with pytest.raises(UserError, match="numbers go beyond their last value"):
        load_interactions(folder)


def test_a_small_file_of_endless_rows_is_not_read(folder: Path) -> None:
    rewrite(folder, of(*[[0] * 5_000_000] * 5))
    assert (folder / TABLE).stat().st_size < 100_000
    with pytest.raises(UserError, match="it holds 5,000,000 interactions, the manifest says 5 interactions"):
        load_interactions(folder)


@pytest.mark.parametrize("sha256", [None, 5, "", "ab" * 31, "/../../a" * 8])
def test_a_manifest_without_the_checksum_of_its_table(folder: Path, sha256: object) -> None:
    edit_manifest(folder, sha256=sha256)
    with pytest.raises(UserError, match="has no sha256 of the table"):
        load_interactions(folder)
