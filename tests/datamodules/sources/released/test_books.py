"""Books as released: made-up files read back, and their batches beside those of the released iterator."""

import errno
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.analysis.probes import measure, read_probes
from benchmark.leaderboard.store import add_runs, verify
from benchmark.records.record import read_record
from benchmark.report.probe_tables import write_probes
from benchmark.report.tables import places_of, table_of_runs
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from datamodules import datasets
from datamodules.batch import Batch
from datamodules.datamodule import InteractionsDataModule
from datamodules.datasets import check_fits, get_dataset, prepare_dataset
from datamodules.errors import UserError
from datamodules.protocol import get_protocol
from datamodules.samples.file import prepare_samples
from datamodules.sources.released import books
from datamodules.sources.released.books import Release, read_books
from datamodules.sources.released.finished import ROWS, load_finished
from tests.datamodules.sources.released.made_up import Files, archives, iterate, make_books

NAME, PROTOCOL = "books-released", "released"


@pytest.fixture(scope="module")
def files() -> Files:
    return make_books(users=2_000, longest=130)  # 3,600 training rows: a window and a half of 20 batches of 128


@pytest.fixture(scope="module")
def data_dir(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    spec = archives(files, folder / "raw" / NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.FINISHED, NAME, spec)
        prepare_samples(NAME, PROTOCOL, folder)
        yield folder


def module_of(data_dir: Path, **settings: object) -> InteractionsDataModule:
    data = InteractionsDataModule(NAME, PROTOCOL, data_dir=str(data_dir), **settings)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def rows_of(batch: Batch) -> list[tuple[object, ...]]:
    """A batch as the released iterator has it: (user, item, category, items, categories, label) a row."""
    plain = batch.per_target()
    rows = []
    for b, length in enumerate(plain.lengths.tolist()):
        numbers = (int(plain.user["user"][b]), int(plain.target["item"][b]), int(plain.target["category"][b]))
        history = (plain.history[name][b, :length].tolist() for name in ("item", "category"))
        rows.append((*numbers, *history, int(plain.label[b])))
    return rows


def test_training_batches_are_those_of_the_released_iterator(files: Files, data_dir: Path) -> None:
    data = module_of(data_dir, seed=3)
    expected = [batch for _ in range(2) for batch in iterate(files, "train", 128, maxlen=100)]
    batches = data.training_batches()
    assert data.steps == 40
    for step in range(40):  # beyond the first pass: the order stays
        assert rows_of(batches[step]) == expected[step], step
    assert max(len(row[3]) for batch in expected for row in batch) == 100
    whole = [
        len(cells.split(b"\t")[4].split(b"\x02")) for cells in files.members["local_train_splitByUser"].splitlines()
    ]
    assert sum(length > 100 for length in whole) > 50  # cut, and sorted by their whole length


def test_test_batches_are_those_of_the_released_iterator_uncut(files: Files, data_dir: Path) -> None:
    (loader,) = module_of(data_dir).val_dataloader()
    found = [rows_of(batch) for window in loader for batch in window.batches()]
    expected = list(iterate(files, "test", 128, maxlen=None))
    assert found == expected
    flat = [row for batch in expected for row in batch]
    assert any(row[3] == [0] for row in flat)  # the empty history: one unknown item, as the iterator has it
    assert any(row[1] == 0 and row[2] == 0 for row in flat)  # an item and a category of no vocabulary
    assert {row[0] for row in flat} == {0}  # no test user is in the vocabulary


def test_with_quicksort_only_rows_of_equal_length_change_places(files: Files, data_dir: Path) -> None:
    """How NumPy's quicksort orders equal lengths depends on its version and the processor: that much is left open."""
    data, quick = module_of(data_dir), list(iterate(files, "train", 128, maxlen=None, sort="quicksort"))
    stable = list(iterate(files, "train", 128, maxlen=None))
    assert len(quick) == len(stable) == data.training_batches().batches_per_epoch
    for first in range(0, len(quick), 20):
        windows = [[row for batch in made[first : first + 20] for row in batch] for made in (quick, stable)]
        assert [len(row[3]) for row in windows[0]] == [len(row[3]) for row in windows[1]]
        assert Counter(map(repr, windows[0])) == Counter(map(repr, windows[1]))


def test_auxiliary_negatives_come_from_all_reviews_with_their_items_category(files: Files, data_dir: Path) -> None:
    """They are drawn at random, as by the iterator: compared is what they are drawn from, and what is ruled out."""
    data = module_of(data_dir, seed=1)
    items = [line.split(b"\t")[1] for line in files.members["reviews-info"].splitlines()]
    pool = Counter(files.items.get(item, 0) for item in items)
    rows = data.vocabulary.items
    assert Counter(rows["item"][data.ready.pool].tolist()) == pool
    category_of = {}
    for line in files.members["item-info"].splitlines():
        item, kind = line.strip().split(b"\t") if b"\t" in line.strip() else (line.strip(), b"")
        category_of.setdefault(files.items.get(item, 0), files.categories.get(kind, 0))
    batch = data.training_batches()[2].per_target()
    for b, length in enumerate(batch.lengths.tolist()):
        drawn = batch.negatives["item"][b, 1:length].tolist()
        assert set(drawn) <= set(pool)
        assert all(
            one != behaviour for one, behaviour in zip(drawn, batch.history["item"][b, 1:].tolist(), strict=False)
        )
        assert batch.negatives["category"][b, 1:length].tolist() == [category_of[one] for one in drawn]


def test_tables_have_the_sizes_of_the_vocabularies(files: Files, data_dir: Path) -> None:
    schema = module_of(data_dir).schema
    assert schema.user == {"user": len(files.users)}
    unseen = {b"unseen item", b""}  # numbered behind the vocabulary, and on row 0
    assert schema.behaviour == {"item": len(files.items) + len(unseen), "category": len(files.categories)}
    assert str(get_protocol(PROTOCOL)).startswith("Samples as published")


def test_runs_make_a_table_beside_the_proceedings_and_a_board(files: Files, data_dir: Path, tmp_path: Path) -> None:
    out, where = tmp_path / "runs", {"data_dir": str(data_dir), "out": str(tmp_path / "runs")}
    for seed in (0, 1):
        train_run(RunConfig(NAME, PROTOCOL, "base-model", "official", seed, steps=2, **where))
    record = read_record(out / NAME / PROTOCOL / "base-model-official" / "seed-0" / "record.json")
    assert record.selection == "test"
    assert not record.settings["shuffle"]
    assert record.settings["auxiliary_negatives"] == "popularity"
    write_probes(measure(NAME, module_of(data_dir).ready), out)
    (place,) = places_of(out, None, None, None)
    text = table_of_runs("4", place, [NAME], None, out, print).shown.markdown()
    line = next(line for line in text.splitlines() if "BaseModel" in line)
    assert "0.7686 ± 0.00253" in line
    assert "| lower |" in line
    assert "catalogue" in text  # a probe
    assert add_runs(out, tmp_path / "board") == (2, 0)
    assert verify(tmp_path / "board") == (2, [])
    assert read_probes([tmp_path / "board" / "probes"], NAME, PROTOCOL) is not None


def test_prepared_rows_are_read_back_or_refused(files: Files, data_dir: Path, tmp_path: Path) -> None:
    spec = archives(files, tmp_path / "raw" / NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.FINISHED, NAME, spec)
        said: list[str] = []
        folder = prepare_dataset(NAME, tmp_path, said.append)
    rows = load_finished(folder)
    assert rows.counts["test rows"] == spec.expected["test rows"]
    assert "exactly the known" in said[-1]
    content = bytearray((folder / ROWS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / ROWS).write_bytes(content)
    with pytest.raises(UserError, match="sha256"):
        load_finished(folder)


def refusal(files: Files, folder: Path, **members: bytes | None) -> str:
    """What reading says of files in which some members are other ones, or left out."""
    changed = {name.replace("_pkl", ".pkl").replace("__", "-"): content for name, content in members.items()}
    kept = {name: content for name, content in (files.members | changed).items() if content is not None}
    spec = archives(files._replace(members=kept), folder / "raw" / NAME)
    (folder / "scratch").mkdir()
    with pytest.raises(UserError) as caught:
        spec.read(folder, folder / "scratch")
    return str(caught.value)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"mid_voc.pkl": b"cos\nsystem\n(S'true'\ntR."}, "mid_voc.pkl is not a vocabulary"),
        ({"uid_voc.pkl": b"(dS'a'\nI5\ns."}, "not 0, 1, 2"),
        ({"reviews-info": b"a\tb\n"}, "reviews-info is not as in the release"),
        ({"reviews-info": None}, "lack reviews-info"),
        ({"local_test_splitByUser": b"2\tu\ti\tc\ti\tc\n"}, "neither 0 nor 1"),
        ({"local_test_splitByUser": b"1\tu\ti\tc\ti\x02j\tc\n"}, "more items than categories"),
        ({"item-info": make_books().members["item-info"].replace(b"History", b"Back\\slash")}, "another category"),
    ],
)
def test_members_that_are_not_of_the_release_are_refused(
    members: dict[str, bytes | None], message: str, tmp_path: Path
) -> None:
    small = make_books()
    kept = {name: content for name, content in (small.members | members).items() if content is not None}
    spec = archives(small._replace(members=kept), tmp_path / "raw" / NAME)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(UserError, match=message):
        spec.read(tmp_path, tmp_path / "scratch")


def test_other_numbers_of_rows_are_refused(tmp_path: Path) -> None:
    small, line = make_books(), b"1\tu\ti\tHistory\tj\tHistory\n"
    spec = archives(
        small._replace(members=small.members | {"local_test_splitByUser": 3 * line}), tmp_path / "raw" / NAME
    )
    (release,) = spec.read.args  # type: ignore[attr-defined]
    release = Release(release.md5, release.expected | {"test rows": 14})
    with pytest.raises(UserError, match="3 test rows, expected 14"):
        read_books(release, tmp_path, tmp_path)


def test_a_full_disk_is_no_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = archives(make_books(), tmp_path / "raw" / NAME)
    monkeypatch.setitem(datasets.FINISHED, NAME, spec)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(books, "copyfileobj", full)
    with pytest.raises(UserError, match=r"cannot write to .*: No space left on device\. Make room"):
        datasets.prepare_dataset(NAME, tmp_path, lambda line: None)


def test_another_archive_is_refused_by_its_md5(tmp_path: Path) -> None:
    spec = archives(make_books(), tmp_path / "raw" / NAME)
    archives(make_books(seed=1), tmp_path / "raw" / NAME)
    with pytest.raises(UserError, match="its md5 is"):
        spec.read(tmp_path, tmp_path)


def test_protocol_and_data_set_belong_together() -> None:
    with pytest.raises(UserError, match="finished samples: use released"):
        check_fits(get_dataset(NAME), get_protocol("clean"))
    with pytest.raises(
        UserError, match=r"makes samples of finished samples \(books-released, electronics-x1\), and sports has"
    ):
        check_fits(get_dataset("sports"), get_protocol(PROTOCOL))
    with pytest.raises(UserError, match="next-day"):
        check_fits(get_dataset("market"), get_protocol(PROTOCOL))
