"""A click log of the user's own: the rules against pandas, and the data set that it becomes."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.datamodule import InteractionsDataModule
from datamodules.datasets import get_dataset, own_datasets, prepare_dataset
from datamodules.errors import UserError
from datamodules.files.manifest import MANIFEST, file_sha256
from datamodules.interactions import load_interactions
from datamodules.samples.file import prepare_samples
from datamodules.sources import clicks
from datamodules.sources.click_file import ClickFile
from datamodules.sources.clicks import import_clicks, read_clicks


def make_log(path: Path, users: int = 40, rows: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    log = pd.DataFrame(
        {
            "user": [f'user "{n}", of {users}' for n in rng.integers(0, users, rows)],
            "item": [f"item {n}" for n in rng.integers(0, 60, rows)],
            "category": [f"c{n}" for n in rng.integers(0, 4, rows)],
            "time": 1_511_544_070 + rng.integers(0, 50, rows) * 3600,
            "label": (rng.random(rows) < 0.8).astype(int),
        }
    )
    log.to_csv(path, index=False)
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clicks.csv"


def quiet(line: str) -> None:
    pass


def test_the_rules(path: Path) -> None:
    log = make_log(path)
    clicks = log[log.label == 1]
    category = {}
    for item, group in clicks.groupby("item"):
        times = Counter(group.category)
        category[item] = min(times, key=lambda name: (-times[name], name))
    first = clicks.sort_values("time", kind="stable").drop_duplicates(["user", "item"])
    kept = first[first.groupby("user").item.transform("size") >= 11]
    raw = read_clicks(ClickFile(path), min_behaviours=11)
    assert 10 <= len(raw.user_ids) < log.user.nunique()
    found = {
        (raw.user_ids[user], raw.item_ids[item], time)
        for user, item, time in zip(raw.user, raw.item, raw.time.tolist(), strict=True)
    }
    assert found == set(kept[["user", "item", "time"]].itertuples(index=False, name=None))
    assert len(raw.time) == len(kept)
    assert raw.category_of == {item: category[item] for item in kept.item.unique()}
    left_out = {f"{len(log) - len(clicks)} rows with label 0", f"{len(clicks) - len(first)} clicks repeat"}
    assert all(any(note.startswith(start) for note in raw.notes) for start in left_out)


def test_the_data_set_works_by_its_name(path: Path, tmp_path: Path) -> None:
    make_log(path)
    said: list[str] = []
    folder = import_clicks(ClickFile(path), "my-log", tmp_path / "data", steps=17, title="A log", report=said.append)
    table = load_interactions(folder)
    assert said[-1] == f"my-log: {len(table.user)} interactions, 40 users, 60 items, 4 categories"
    assert table.manifest["inputs"] == [
        {"file": "clicks.csv", "sha256": file_sha256(path), "bytes": path.stat().st_size}
    ]
    path.unlink()  # the log is not needed any more
    assert own_datasets(tmp_path / "data") == ["my-log"]
    spec = get_dataset("my-log", tmp_path / "data")
    assert (spec.title, spec.steps, spec.expected.users, spec.order_within_time) == ("A log", 17, 40, True)
    assert prepare_dataset("my-log", tmp_path / "data", quiet) == folder
    for protocol in ("arxiv-v1", "aaai-2019", "clean", "din-2018"):
        assert prepare_samples("my-log", protocol, tmp_path / "data").users == 40
    data = InteractionsDataModule("my-log", data_dir=str(tmp_path / "data"), batch_size=8)
    data.setup()
    assert data.steps == 17
    assert data.schema.rows == {"user": 41, "item": 61, "category": 5}


def test_three_passes_and_ties_without_order(path: Path, tmp_path: Path) -> None:
    make_log(path)
    import_clicks(ClickFile(path), "log", tmp_path / "data", order_within_time=False, report=quiet)
    data = InteractionsDataModule("log", "aaai-2019", data_dir=str(tmp_path / "data"), batch_size=8)
    data.setup()
    assert data.steps == 3 * 9  # 36 training users, two samples each
    assert not data.ready.order_within_time


def test_a_budget_in_which_nothing_is_learned_is_said(path: Path, tmp_path: Path) -> None:
    """The number is that of the data module, which counts the batches."""
    make_log(path, users=100, rows=1500)
    said: list[str] = []
    import_clicks(ClickFile(path), "few", tmp_path / "data", report=said.append)
    data = InteractionsDataModule("few", "aaai-2019", data_dir=str(tmp_path / "data"))
    data.setup()
    (line,) = [line for line in said if "steps" in line]
    assert f"three passes over the training samples, about {data.steps} steps of batch 128" in line
    assert "--steps 8100" in line
    said.clear()
    import_clicks(ClickFile(path), "given", tmp_path / "data", steps=5, report=said.append)
    assert not [line for line in said if "steps" in line]
    assert clicks._budget(23_600, None)
    assert not clicks._budget(23_900, None)  # 1,008 steps


def test_categories_of_items_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    names = [f"c{n}" for n in rng.permutation(40)]
    item, category = rng.integers(0, 300, 5_000).astype(np.int32), rng.integers(0, 40, 5_000).astype(np.int32)
    item[:300] = np.arange(300)
    found, several = clicks._categories(item, category, names)
    for number in range(300):
        counts = Counter(names[code] for code in category[item == number])
        assert names[found[number]] == min(counts, key=lambda name: (-counts[name], name))
    assert several == sum(len(set(category[item == number])) > 1 for number in range(300))


def test_the_same_log_gives_the_same_table(path: Path, tmp_path: Path) -> None:
    make_log(path)
    folders = [import_clicks(ClickFile(path), "log", tmp_path / name, report=quiet) for name in "ab"]
    first, second = (json.loads((folder / MANIFEST).read_text()) for folder in folders)
    assert first == second


@pytest.mark.parametrize(
    ("users", "label", "least", "message"),
    [
        (1, 1, 2, "has 1 users with at least 2 different items clicked, expected 10"),
        (9, 1, 2, "has 9 users"),
        (40, 0, 2, "has 0 users"),
        (40, 1, 61, "has 0 users with at least 61"),
        (40, 1, 0, "must be at least 1, got 0"),
    ],
)
def test_too_few_users(path: Path, tmp_path: Path, users: int, label: int, least: int, message: str) -> None:
    make_log(path, users).assign(label=label).to_csv(path, index=False)
    with pytest.raises(UserError, match=message):
        import_clicks(ClickFile(path), "log", tmp_path / "data", min_behaviours=least, report=quiet)
    assert not (tmp_path / "data" / "log").exists()


TAKEN = ["raw", "tafeng", "market", "taobao-ad", "books-released"]


@pytest.mark.parametrize("name", ["", "My-Log", "a b", "../up", ".hidden", "a+b=1", "x" * 65, "a.b", *TAKEN])
def test_names_that_are_impossible_or_taken(path: Path, tmp_path: Path, name: str) -> None:
    make_log(path)
    with pytest.raises(UserError, match=r"cannot be named|data set of the suite"):
        import_clicks(ClickFile(path), name, tmp_path / "data", report=quiet)
    assert not list(tmp_path.rglob(MANIFEST))


def test_what_is_there_stays(path: Path, tmp_path: Path) -> None:
    make_log(path)
    folder = import_clicks(ClickFile(path), "log", tmp_path, report=quiet)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    make_log(path, seed=1)
    with pytest.raises(UserError, match="is there already"):
        import_clicks(ClickFile(path), "log", tmp_path, report=quiet)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_another_process_imports_meanwhile_stays(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_log(path)
    manifest = tmp_path / "log" / MANIFEST

    @contextmanager
    def waits(lock: Path, waiting: Callable[[str], None]) -> Iterator[None]:
        manifest.parent.mkdir()
        manifest.write_text("another's")
        yield

    monkeypatch.setattr(clicks, "locked", waits)
    with pytest.raises(UserError, match="is there already"):
        import_clicks(ClickFile(path), "log", tmp_path, report=quiet)
    assert manifest.read_text() == "another's"


def test_texts_are_listed_once_and_not_for_every_item(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_log(path)
    listed = []
    texts = clicks._Codes.texts.fget
    assert texts is not None
    monkeypatch.setattr(clicks._Codes, "texts", property(lambda codes: listed.append(1) or texts(codes)))
    assert len(read_clicks(ClickFile(path)).item_ids) > 10
    assert len(listed) <= 10


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"steps": 0, "order_within_time": true}', '{"steps": "9"}'])
def test_a_damaged_manifest(path: Path, tmp_path: Path, content: str) -> None:
    make_log(path)
    folder = import_clicks(ClickFile(path), "log", tmp_path, report=quiet)
    (folder / MANIFEST).write_text(content)
    with pytest.raises(UserError, match="not the manifest of an imported data set"):
        get_dataset("log", tmp_path)


def test_unknown_names_count_the_imported_ones(path: Path, tmp_path: Path) -> None:
    make_log(path)
    import_clicks(ClickFile(path), "my-log", tmp_path, report=quiet)
    with pytest.raises(UserError, match="did you mean 'my-log'"):
        get_dataset("my-lgo", tmp_path)
    with pytest.raises(UserError, match="unknown data set 'my-log'"):
        get_dataset("my-log", tmp_path / "elsewhere")
