"""Names of data sets, the check of the counts, and preparation: once, and by one process at a time."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from datamodules import datasets
from datamodules.datasets import DATASETS, check_counts, get_dataset, prepare_dataset
from datamodules.errors import UserError
from datamodules.files.manifest import MANIFEST
from datamodules.interactions import load_interactions
from datamodules.sources.amazon import CATEGORIES
from datamodules.sources.generated import generate_interactions
from datamodules.sources.spec import Counts

REAL = Path(__file__).parents[3] / "shared" / "data" / "amazon"


def test_names() -> None:
    assert len(DATASETS) == len(CATEGORIES) + 2
    assert all(name == spec.name for name, spec in DATASETS.items())
    assert {"electronics", "books", "sports", "beauty", "toys-and-games", "cds-and-vinyl", "tafeng"} < set(DATASETS)
    assert get_dataset("kindle-store").expected.interactions == 982_619


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("electronic", "electronics"),
        ("Beauty", "beauty"),
        ("Sports_and_Outdoors", "sports"),
        ("sports-and-outdoors", "sports"),
        ("Toys_and_Games", "toys-and-games"),
        ("ta-feng", "tafeng"),
    ],
)
def test_an_unknown_name(name: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"unknown data set '{name}', did you mean '{meant}'"):
        get_dataset(name)


def test_budgets_and_order() -> None:
    steps = {name: spec.steps for name, spec in DATASETS.items()}
    assert [name for name in steps if steps[name] is None] == ["books", "electronics", "tafeng"]
    assert {steps[name] for name in steps if steps[name]} == {8_100, 200}
    assert [name for name, spec in DATASETS.items() if not spec.order_within_time] == ["tafeng"]


FOUND = generate_interactions(users=40, items=30, categories=5)
EXACT = replace(DATASETS["generated"], expected=FOUND.counts)


def test_counts_as_expected() -> None:
    assert check_counts(FOUND, EXACT) == (f"{FOUND.counts} - exactly the known interactions, users, items, categories")
    some = replace(EXACT, expected=Counts(interactions=FOUND.counts.interactions))
    assert check_counts(FOUND, some) == f"{FOUND.counts} - exactly the known interactions"
    assert check_counts(FOUND, replace(EXACT, expected=Counts())) == str(FOUND.counts)


@pytest.mark.parametrize("what", ["interactions", "users", "items", "categories"])
def test_counts_that_differ_stop_and_both_are_shown(what: str) -> None:
    spec = replace(EXACT, expected=replace(FOUND.counts, **{what: 4_321}))
    with pytest.raises(UserError, match=f"generated has other {what} than it should") as caught:
        check_counts(FOUND, spec)
    assert str(FOUND.counts) in str(caught.value)
    assert f"4,321 {what}" in str(caught.value)


def test_a_number_of_categories_that_was_only_printed_is_reported_not_enforced() -> None:
    spec = replace(EXACT, expected=replace(FOUND.counts, categories=6), categories_are_exact=False)
    assert check_counts(FOUND, spec).endswith("as known, except that the paper prints 6 categories")
    with pytest.raises(UserError, match="other users and categories"):
        check_counts(FOUND, replace(spec, expected=replace(spec.expected, users=1)))
    for printed in (2, 11):  # found 5: a difference that large is no slip of the paper
        with pytest.raises(UserError, match="other categories"):
            check_counts(FOUND, replace(spec, expected=replace(spec.expected, categories=printed)))


def test_items_without_category_are_no_published_category() -> None:
    categories = {item: "unknown" if item == FOUND.item_ids[0] else name for item, name in FOUND.category_of.items()}
    raw = replace(FOUND, category_of=categories, missing_categories=1)
    assert raw.counts.categories == FOUND.counts.categories + 1
    assert "5 categories and 1 items without one - exactly" in check_counts(raw, EXACT)


def test_malformed_lines_are_named_where_counts_differ() -> None:
    with pytest.raises(UserError, match="3 malformed lines were left out"):
        check_counts(replace(FOUND, malformed=3), replace(EXACT, expected=Counts(users=1)))


def test_the_second_preparation_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    folder = prepare_dataset("generated", tmp_path / "new" / "data", said.append)
    assert folder == tmp_path / "new" / "data" / "generated"
    assert len(said) == 2
    assert "exactly the known" in said[1]
    assert load_interactions(folder).users == 300

    before = (folder / MANIFEST).stat().st_mtime_ns
    monkeypatch.setitem(DATASETS, "generated", replace(DATASETS["generated"], read=forbidden))
    assert prepare_dataset("generated", tmp_path / "new" / "data", said.append) == folder
    assert (len(said), (folder / MANIFEST).stat().st_mtime_ns) == (2, before)


def forbidden(data_dir: Path):
    raise AssertionError("must not be read again")


def test_wrong_counts_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(DATASETS["generated"], expected=Counts(users=1))
    monkeypatch.setitem(DATASETS, "generated", wrong)
    with pytest.raises(UserError, match=r"found .*300 users.*\n.*expected .* 1 users"):
        prepare_dataset("generated", tmp_path, lambda line: None)
    assert not (tmp_path / "generated").exists()


def test_notes_of_the_reader_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = lambda data_dir: replace(generate_interactions(), notes=("two lines", "left out"))  # noqa: E731
    monkeypatch.setitem(DATASETS, "generated", replace(DATASETS["generated"], read=read))
    said: list[str] = []
    prepare_dataset("generated", tmp_path, said.append)
    assert said[1:3] == ["generated: two lines", "generated: left out"]


def test_two_processes_prepare_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, waiting, reads = threading.Event(), threading.Event(), []

    def read(data_dir: Path):
        reads.append(1)
        started.set()
        assert waiting.wait(20)
        return generate_interactions()

    def report(line: str) -> None:
        if "which is preparing it" in line:
            waiting.set()

    monkeypatch.setitem(DATASETS, "generated", replace(DATASETS["generated"], read=read))
    first = threading.Thread(target=prepare_dataset, args=("generated", tmp_path, report))
    first.start()
    assert started.wait(20)
    second = threading.Thread(target=prepare_dataset, args=("generated", tmp_path, report))
    second.start()
    first.join(20)
    second.join(20)
    assert not first.is_alive()
    assert not second.is_alive()
    assert len(reads) == 1
    assert load_interactions(tmp_path / "generated").users == 300


def test_a_table_of_an_older_reader_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare_dataset("generated", tmp_path, lambda line: None)
    other = lambda data_dir: generate_interactions(seed=1)  # noqa: E731
    newer = replace(DATASETS["generated"], source_version=2, read=other, expected=Counts())
    monkeypatch.setitem(DATASETS, "generated", newer)
    before = load_interactions(folder).manifest["sha256"]
    said: list[str] = []
    prepare_dataset("generated", tmp_path, said.append)
    assert load_interactions(folder).manifest["sha256"] != before
    assert said[0] == "generated: version 1 of the reader made the table that is there, this is version 2: made anew"
    prepare_dataset("generated", tmp_path, said.append)
    assert len(said) == 3
    monkeypatch.setitem(DATASETS, "generated", replace(newer, source_version=3, read=forbidden))
    with pytest.raises(AssertionError):  # what cannot be read leaves the older table
        prepare_dataset("generated", tmp_path, said.append)
    assert load_interactions(folder).users == 300


def test_the_lock_is_released_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(DATASETS, "generated", replace(DATASETS["generated"], expected=Counts(users=1)))
        with pytest.raises(UserError):
            prepare_dataset("generated", tmp_path, lambda line: None)
    said: list[str] = []
    prepare_dataset("generated", tmp_path, said.append)
    assert not any("waiting" in line for line in said)


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write to .*data: .*choose another data directory"):
        prepare_dataset("generated", tmp_path / "data", lambda line: None)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "write_interactions", full)
    with pytest.raises(UserError, match="No space left on device"):
        prepare_dataset("generated", tmp_path, lambda line: None)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real subsets are not here")
@pytest.mark.parametrize("name", ["sports", "beauty"])
def test_the_real_subsets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMAZON_MIRROR", str(REAL))
    said: list[str] = []
    table = load_interactions(prepare_dataset(name, tmp_path, said.append))
    expected = DATASETS[name].expected
    assert Counts(len(table.user), table.users, table.items, table.categories) == expected
    assert said[-1] == f"{name}: {expected} - exactly the known interactions, users, items, categories"
    assert table.manifest["malformed_lines"] == table.manifest["items_without_category"] == 0
