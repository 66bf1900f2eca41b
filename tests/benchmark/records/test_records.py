"""Run records: what is written is read back, and whatever is not a record is refused by file and field."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmark.records.record import (
    FIELDS,
    AucBySelection,
    Record,
    json_schema,
    parse_record,
    read_records,
    run_folder,
    write_record,
)
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

BOARD = Path(__file__).parents[3] / "leaderboards" / "results"
BOARD_RECORDS = [
    line for path in sorted(BOARD.glob("sports/*/runs.jsonl")) for line in path.read_text("utf-8").splitlines()
]


def record_fields(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 3,
        "dataset": "sports",
        "protocol": "arxiv-v1",
        "protocol_hash": "0123abcd",
        "model": "dien",
        "variant": "official",
        "seed": 0,
        "selection": "test",
        "auc": {"last": 0.88, "validation": None, "test": 0.89},
        "logloss": 0.41,
        "calibration": 1.02,
        "best_step": 800,
        "epochs": 3.0,
        "steps": 900,
        "parameters": 12345,
        "train_seconds": 60.5,
        "evaluation_seconds": 4.5,
        "samples_per_second": 1900.0,
        "peak_memory_mb": 700,
        "device": "cpu",
        "versions": {"python": "3.11", "torch": "2.13"},
        "commit": None,
        "code_sha256": "cd" * 32,
        "data_sha256": "ab" * 32,
        "sampler_version": 1,
        "settings": {"batch_size": 128, "learning_rate": 0.001, "steps": 900},
        "status": "finished",
        **changes,
    }


def store(root: Path, **changes: Any) -> Path:
    fields = record_fields(**changes)
    names = ("dataset", "protocol", "model", "variant", "seed")
    path = run_folder(root, *(fields[name] for name in names)) / "record.json"
    write_record(path, fields)
    return path


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = store(tmp_path)
    assert path == tmp_path / "sports/arxiv-v1/dien-official/seed-0/record.json"
    assert json.loads(path.read_text()) == record_fields()
    [record] = read_records(tmp_path)
    assert isinstance(record, Record)
    assert record.auc == AucBySelection(last=0.88, validation=None, test=0.89)
    assert record.reported_auc == 0.89
    for name, value in record_fields().items():
        assert name == "auc" or getattr(record, name) == value
    assert record.path == path


def test_the_file_does_not_depend_on_the_order_of_the_fields(tmp_path: Path) -> None:
    fields = record_fields()
    write_record(tmp_path / "a.json", fields)
    write_record(tmp_path / "b.json", dict(reversed(fields.items())))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_filters_and_order(tmp_path: Path) -> None:
    for seed in (10, 2):
        for model in ("dien", "din"):
            store(tmp_path, model=model, seed=seed)
    store(tmp_path, dataset="beauty")
    store(tmp_path, protocol="clean", selection="test")
    store(tmp_path, variant="paper")
    assert len(read_records(tmp_path)) == 7
    assert read_records(tmp_path)[0].dataset == "beauty"
    chosen = read_records(tmp_path, dataset="sports", protocol="arxiv-v1", variant="official")
    assert [(r.model, r.seed) for r in chosen] == [("dien", 2), ("dien", 10), ("din", 2), ("din", 10)]
    assert [r.seed for r in read_records(tmp_path, model="din")] == [2, 10]
    assert [r.variant for r in read_records(tmp_path, variant="paper")] == ["paper"]
    assert read_records(tmp_path, dataset="books") == []
    # any folder on the way to a record may be the root
    assert len(read_records(tmp_path / "sports/arxiv-v1", model="din")) == 2


def test_a_root_given_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path)
    monkeypatch.chdir(tmp_path / "sports/arxiv-v1")
    assert len(read_records(Path(), dataset="sports")) == 1


def test_unfinished_runs_are_no_records(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "sports", "arxiv-v1", "dien", "official", 0)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / ".record.json.1.tmp").write_text("{")
    assert read_records(tmp_path) == []


def test_a_damaged_record_of_another_data_set_does_no_harm(tmp_path: Path) -> None:
    store(tmp_path, dataset="beauty").write_text("{")
    store(tmp_path)
    assert len(read_records(tmp_path, dataset="sports")) == 1
    with pytest.raises(UserError, match=r"beauty.*cannot be read as JSON"):
        read_records(tmp_path)


def test_no_such_root(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*absent"):
        read_records(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"dataset": "sp', "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"logloss": NaN}', "NaN is not a JSON number"),
        (b"[]", "holds a JSON list, expected an object"),
        (b"{}", "lacks the field 'schema_version'"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = store(tmp_path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", list(record_fields()))
def test_every_field_is_needed(name: str) -> None:
    fields = record_fields()
    del fields[name]
    with pytest.raises(UserError, match=f"here lacks the field '{name}'"):
        parse_record(fields, Path("here"))


@pytest.mark.parametrize("name", ["acu", "path"])
def test_unknown_fields_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"here has the unknown field '{name}'"):
        parse_record(record_fields(**{name: 1}), Path("here"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seed", -1, "the field 'seed' is -1, expected greater than or equal to 0. Delete"),
        ("variant", "offical", "the field 'variant' is \"offical\", expected 'official' or 'paper'. Delete"),
        (
            "data_sha256",
            "ab",
            "the field 'data_sha256' is \"ab\", expected 64 hexadecimal digits in lower case. Delete",
        ),
        (
            "auc",
            {"last": 2, "validation": None, "test": 0.5},
            "the field 'auc.last' is 2, expected less than or equal to 1",
        ),
        ("auc", 0.9, "the field 'auc' is 0.9, expected an object."),
        ("auc", {"last": 0.9, "test": 0.9}, "lacks the field 'auc.validation'. Delete"),
        ("settings", {"steps": 1}, "expected batch_size in it to be a JSON integer of at least 1. Delete"),
        (
            "settings",
            {"batch_size": 128, "learning_rate": 0.1, "steps": 9, "deep": []},
            "'settings.deep' is [], expected a valid boolean or a valid integer or a valid number or a valid string",
        ),
        ("versions", {"torch\n": "1"}, "the field 'versions.torch\\n' is \"1\", expected a string that is not empty"),
    ],
)
def test_messages_name_the_value_and_what_was_expected(name: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_record(record_fields(**{name: value}), Path("here"))
    assert message in str(caught.value)


def test_a_record_begins_with_its_version(tmp_path: Path) -> None:
    assert next(iter(json.loads(store(tmp_path).read_text("utf-8")))) == "schema_version"


@pytest.mark.parametrize(("version", "advice"), [(4, "Update dien-bench"), (2, "Train the run again")])
def test_a_record_of_another_version(tmp_path: Path, version: int, advice: str) -> None:
    with pytest.raises(UserError, match=rf"has schema_version {version}, this dien-bench reads 3\. {advice}"):
        parse_record(record_fields(schema_version=version), tmp_path)


def test_the_schema_for_programs_is_up_to_date() -> None:
    committed = (Path(__file__).parents[3] / "docs" / "record.schema.json").read_text("utf-8")
    assert committed == json_schema(), "run: python -m benchmark.records.record > docs/record.schema.json"
    schema = json.loads(committed)
    assert set(schema["properties"]) == set(FIELDS)
    assert set(schema["required"]) == set(record_fields())


def test_the_schema_for_programs_refuses_what_is_refused_here() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(json_schema()))
    for record in (record_fields(), record_fields(validation_auc=0.87, gauc=0.8), *map(json.loads, BOARD_RECORDS)):
        check.validate(record)
    for name, values in WRONG.items():
        for value in values:
            # JSON Schema counts 1.0 and 3.0 among the integers, JSON has no infinity, Python's $ ends before a newline
            if value not in (1.0, 3.0) and not any(odd in repr(value) for odd in ("inf", "nan", r"\n")):
                assert not check.is_valid(record_fields(**{name: value})), (name, value)


WRONG: dict[str, list[Any]] = {
    "schema_version": ["3", 3.0, True, None],
    "dataset": ["", 1, None, "a/b", "..", "a\0b"],
    "protocol": ["", None],
    "protocol_hash": ["", 12],
    "model": ["x/y.py:Z", "."],
    "variant": ["offical", None, []],
    "seed": [-1, 1.0, True, "0", None],
    "selection": ["best", None],
    "auc": [
        0.9,
        {},
        {"last": 0.5, "test": 0.5},
        {"last": 0.5, "validation": None, "test": 0.5, "train": 0.5},
        {"last": 1.01, "validation": None, "test": 0.5},
        {"last": -0.1, "validation": None, "test": 0.5},
        {"last": "0.5", "validation": None, "test": 0.5},
        {"last": True, "validation": None, "test": 0.5},
        {"last": float("nan"), "validation": None, "test": 0.5},
    ],
    "validation_auc": [-0.1, 1.1, "0.5", True],
    "gauc": [-0.1, 1.1, "0.5", True],
    "logloss": [-0.1, float("inf"), "0.4"],
    "calibration": [-0.1, float("inf"), "1"],
    "best_step": [-1, 8.5],
    "epochs": [None, -1.0],
    "steps": [None, 1.5],
    "parameters": [None, -1],
    "train_seconds": [None, float("nan")],
    "evaluation_seconds": [None],
    "processor_seconds": [-1, "60", float("nan")],
    "samples_per_second": ["fast", -1],
    "peak_memory_mb": ["700 MB"],
    "device": ["", None],
    "versions": [[], {"torch": 2}],
    "commit": ["", 7],
    "code_sha256": ["ab", "AB" * 32, "ab" * 32 + "\n", 7],
    "data_sha256": ["ab", "AB" * 32, None],
    "sampler_version": [-1, 1.0, "1", True],
    "settings": [
        None,
        {},
        [],
        {"batch_size": 128, "learning_rate": True, "steps": 9},
        {"batch_size": 128, "learning_rate": 0.1, "steps": 9, "more": float("inf")},
        {"batch_size": 0, "learning_rate": 0.1, "steps": 9},
        {"batch_size": 128, "learning_rate": "0.1", "steps": 9},
        {"batch_size": 128, "learning_rate": 0.1, "steps": None},
    ],
    "status": ["done", None],
    "reason": ["", 1, "a\nb"],
}


def test_every_field_has_wrong_values() -> None:
    assert set(WRONG) == set(FIELDS)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_wrong_values_are_refused_by_file_and_field(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "record.json"
    said = rf"(the field '{name}[.\w]*' is .*, expected |lacks the field '{name}\.|has the unknown field '{name}\.)"
    with pytest.raises(UserError, match=said) as caught:
        write_record(path, record_fields(**{name: value}))
    assert str(path) in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"auc": {"last": None, "validation": None, "test": 0.9}}, "auc.last"),
        ({"auc": {"last": 0.9, "validation": None, "test": None}}, "auc.test"),
        ({"selection": "validation"}, "auc.validation"),
        ({"logloss": None}, "logloss"),
    ],
)
def test_a_finished_run_has_the_figures_that_it_reports(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=f"'{field}' is null, expected a number, since the run finished"):
        parse_record(record_fields(**changes), Path("here"))
    none = {"last": None, "validation": None, "test": None}
    failed = parse_record(record_fields(status="failed", logloss=None, auc=none), Path("here"))
    with pytest.raises(ValueError, match="no AUC for its selection 'test'"):
        _ = failed.reported_auc


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ("beauty/arxiv-v1/dien-official/seed-0", "dataset"),
        ("sports/clean/dien-official/seed-0", "protocol"),
        ("sports/arxiv-v1/din-official/seed-0", "model"),
        ("sports/arxiv-v1/dien-paper/seed-0", "variant"),
        ("sports/arxiv-v1/dien-official/seed-1", "seed"),
        ("sports/arxiv-v1/dien-official/seed-00", "seed"),
    ],
)
def test_a_record_lies_where_its_fields_put_it(tmp_path: Path, place: str, field: str) -> None:
    write_record(tmp_path / place / "record.json", record_fields())
    with pytest.raises(UserError, match=f"the field '{field}' says .*, but its folder says"):
        read_records(tmp_path)


def test_writing_replaces_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "record.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*record.json: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "out" / "record.json", b"new")


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31m", "a\u202eb", "\u2066", "\udc80", "=cmd()", "+1", "-1", "@SUM(A1)", "a\0"]
)
@pytest.mark.parametrize("field", ["dataset", "protocol", "model"])
def test_names_that_do_not_show_and_formulas_are_refused(field: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the field '{field}' is .*expected a (name without slashes|string of whole)"):
        parse_record(record_fields(**{field: name}), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "cpu\x1b]0;title\x07"},
        {"commit": "a\u202eb"},
        {"versions": {"torch\n": "1"}},
        {"versions": {"torch": "\ud800"}},
        {"settings": {"batch_size": 1, "steps": 1, "learning_rate": 1, "model": "a\u2067b"}},
        {"settings": {"batch_size": 1, "steps": 1, "learning_rate": 1, "deep": [[]]}},
    ],
)
def test_text_that_does_not_show_is_refused_everywhere(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the field '{next(iter(changes))}[^']*' is"):
        parse_record(record_fields(**changes), tmp_path)


def test_names_in_any_script_are_names(tmp_path: Path) -> None:
    for name in ("Δίκτυο", "模型", "dien+auxiliary_weight=0.5", "a b", "<b>", "x=1"):
        assert parse_record(record_fields(model=name), tmp_path).model == name
