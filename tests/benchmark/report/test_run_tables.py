"""Tables of an output folder: what is there, what is asked for, and files that no call makes poorer."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmark.analysis.probes import FITTED, Probe, Probes
from benchmark.cli.app import app
from benchmark.records.record import write_record
from benchmark.report import tables
from benchmark.report.probe_tables import write_probes
from benchmark.report.tables import Place, places_of, table_of_runs
from datamodules.errors import UserError

MODEL = "from baselines.base_model import BaseModel\nclass Base(BaseModel):\n    pass\n"


def add(out: Path, dataset: str, protocol: str, model: str, auc: float, seed: int = 0, **changes: Any) -> None:
    """A run of 900 steps without predictions."""
    variant = changes.get("variant", "official")
    settings = {"batch_size": 128, "learning_rate": 0.001, "steps": 900, **changes.pop("settings", {})}
    record = {
        "schema_version": 3,
        "dataset": dataset,
        "protocol": protocol,
        "protocol_hash": "0123abcd",
        "model": model,
        "variant": variant,
        "seed": seed,
        "selection": "last",
        "auc": {"last": auc, "validation": None, "test": auc},
        "logloss": 0.4,
        "calibration": 1.0,
        "best_step": 900,
        **dict.fromkeys(("epochs", "steps", "parameters", "train_seconds", "evaluation_seconds"), 1),
        **dict.fromkeys(("samples_per_second", "peak_memory_mb"), 1),
        "device": "cpu",
        "versions": {},
        "commit": None,
        "code_sha256": "cd" * 32,
        "data_sha256": "ab" * 32,
        "sampler_version": 1,
        "settings": settings,
        "status": "finished",
        **changes,
    }
    write_record(out / dataset / protocol / f"{model}-{variant}" / f"seed-{seed}" / "record.json", record)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two data sets under one protocol, one of them under two more tables."""
    add(tmp_path, "tafeng", "clean", "dien", 0.61)
    add(tmp_path, "tafeng", "clean", "base-model", 0.6)
    add(tmp_path, "generated", "clean", "dien", 0.71)
    add(tmp_path, "generated", "arxiv-v1", "dien", 0.81)
    add(tmp_path, "generated", "arxiv-v1", "dien", 0.91, variant="paper")
    add(tmp_path, "generated", "clean", "din", 0.72)  # of Table 2
    return tmp_path


def invoke(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


def lines(path: Path) -> list[tuple[str, ...]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        (row["dataset"], row["protocol"], row["variant"], row["model"], row["auc_mean"])
        for row in rows
        if row["auc_mean"]
    ]


CLEAN = [
    ("generated", "clean", "official", "dien", "0.710000"),
    ("tafeng", "clean", "official", "base-model", "0.600000"),
    ("tafeng", "clean", "official", "dien", "0.610000"),
]
OFFICIAL = [("generated", "arxiv-v1", "official", "dien", "0.810000")]
PAPER = [("generated", "arxiv-v1", "paper", "dien", "0.910000")]


def test_a_table_takes_what_is_there(out: Path) -> None:
    made = json.loads(invoke("table", 4, "--out", out, "--json").stdout)
    assert lines(out / "table4.csv") == OFFICIAL + PAPER + CLEAN
    assert lines(out / "table4-arxiv-v1.csv") == OFFICIAL
    assert lines(out / "table4-arxiv-v1-paper.csv") == PAPER
    assert lines(out / "table4-clean.csv") == CLEAN
    assert [Path(name).name for name in made["files"]][:3] == ["table4.md", "table4.csv", "table4-arxiv-v1.md"]
    assert len([row for row in made["rows"] if row["auc_mean"]]) == 5
    parts = [(out / f"table4-{name}.md").read_text("utf-8") for name in ("arxiv-v1", "arxiv-v1-paper", "clean")]
    assert (out / "table4.md").read_text("utf-8") == "\n".join(parts)


def test_every_row_of_the_papers_table_has_a_line(out: Path) -> None:
    invoke("table", 4, "--out", out, "--protocol", "arxiv-v1", "--variant", "official")
    with (out / "table4.csv").open(encoding="utf-8", newline="") as file:
        models = [row["model"] for row in csv.DictReader(file)]
    assert models == ["base-model", "gru-attention", "aigru", "agru", "augru", "dien"]


@pytest.mark.parametrize(
    "asked",
    [
        ["--protocol", "clean"],
        ["--protocol", "clean", "--datasets", "tafeng"],
        ["--protocol", "clean", "--models", "dien"],
        ["--datasets", "tafeng", "--models", "dien"],
        ["--datasets", "generated", "--protocol", "clean", "--models", "aigru"],
    ],
)
def test_files_hold_what_is_there_also_where_less_is_asked_for(out: Path, asked: list[str]) -> None:
    made = json.loads(invoke("table", 4, "--out", out, "--json", *asked).stdout)
    assert sorted(lines(out / "table4-clean.csv")) == CLEAN
    assert (out / "table4.csv").read_bytes() == (out / "table4-clean.csv").read_bytes()
    shown = {(row["dataset"], row["model"]) for row in made["rows"]}
    if "--models" in asked:
        assert {model for _, model in shown} == {asked[-1]}
    if "tafeng" in asked:
        assert {dataset for dataset, _ in shown} == {"tafeng"}
    assert not (out / "table4-arxiv-v1.csv").exists()


def test_a_table_of_another_protocol_stays(out: Path) -> None:
    invoke("table", 4, "--out", out, "--protocol", "arxiv-v1", "--variant", "official")
    before = (out / "table4-arxiv-v1.csv").read_bytes()
    invoke("table", 4, "--out", out, "--protocol", "clean")
    assert (out / "table4-arxiv-v1.csv").read_bytes() == before
    assert lines(out / "table4.csv") == CLEAN


def test_nothing_is_overwritten_with_nothing(out: Path) -> None:
    invoke("table", 4, "--out", out)
    before = {path: path.read_bytes() for path in out.glob("table4*")}
    for asked in (["--datasets", "sports"], ["--protocol", "din-2018"], ["--protocol", "clean", "--variant", "paper"]):
        said = CliRunner().invoke(app, ["table", "4", "--out", str(out), *asked])
        assert isinstance(said.exception, UserError)
        assert "it has generated under arxiv-v1, variant official; " in str(said.exception)
    assert {path: path.read_bytes() for path in out.glob("table4*")} == before
    (out / "empty").mkdir()
    with pytest.raises(UserError, match="it has no record"):
        places_of(out / "empty", None, None, None)


def test_what_cannot_stand_in_the_table_is_left_out_by_name_unless_it_was_asked_for(out: Path) -> None:
    add(out, "generated", "clean", "augru", 0.5, settings={"steps": 80})
    said: list[str] = []
    place = Place("clean", "official")
    made = table_of_runs("4", place, ["tafeng"], ["dien"], out, said.append)
    assert [line[0] for line in made.whole.csv_rows[1:] if line[5]] == ["tafeng", "tafeng"]
    assert [line for line in said if line.startswith("not all of generated is in the files: runs cannot stand")]
    with pytest.raises(UserError, match="cannot stand in one table"):
        table_of_runs("4", place, ["generated"], None, out, said.append)
    alone = table_of_runs("4", place, ["generated"], ["dien"], out, said.append)
    assert [line[3] for line in alone.whole.csv_rows[1:] if line[0] == "generated" and line[5]] == ["dien"]


def file_of(folder: Path, text: str = MODEL) -> tuple[str, dict[str, str]]:
    """A model's file, and the settings that a run of it has."""
    from baselines import file_hash

    folder.mkdir()
    (folder / "m.py").write_text(text)
    name = f"{folder}/m.py:Base"
    return name, {"model": name, **file_hash(name)}


def test_runs_of_another_file_are_not_shown(tmp_path: Path, out: Path) -> None:
    first, settings = file_of(tmp_path / "ma")
    other, _ = file_of(tmp_path / "mb", MODEL + "# another\n")
    same, _ = file_of(tmp_path / "mc")
    add(out, "tafeng", "clean", "base", 0.6543, settings=settings)
    for model in (first, same):
        assert "0.6543" in invoke("table", 4, "--out", out, "--datasets", "tafeng", "--model", model).stdout
    before = (out / "table4.md").read_bytes()
    said = CliRunner().invoke(app, ["table", "4", "--out", str(out), "--model", other])
    assert "0.6543" not in said.stdout
    assert isinstance(said.exception, UserError)
    assert f"is a run of another file than {other}, under the same name 'base': {first}" in str(said.exception)
    assert (out / "table4.md").read_bytes() == before
    said = CliRunner().invoke(
        app, ["figure", "2", "--out", str(out), "--model", other, "--datasets", "tafeng", "--protocol", "clean"]
    )
    assert "is a run of another file than" in str(said.exception)
    assert "0.6543" in invoke("table", 4, "--out", out, "--datasets", "tafeng").stdout  # whatever is there
    shutil.rmtree(tmp_path / "mb")
    said = CliRunner().invoke(app, ["table", "4", "--out", str(out), "--model", other])
    assert "cannot read the model's file" in str(said.exception)


def probes(auc: float) -> Probes:
    return Probes(
        "generated",
        "clean",
        "0123abcd",
        "ab" * 32,
        10,
        (Probe(FITTED, "fitted", 8, auc, 0.5, 0.99), Probe("popularity", "popular", 0, auc, 0.5, 0.99)),
    )


def test_probes_are_those_of_the_folder_then_of_the_board_wherever_one_stands(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(out, "generated", "clean", "base-model", 0.5)
    write_probes(probes(0.8765), tmp_path / "cwd" / "leaderboards" / "probes")
    monkeypatch.chdir(tmp_path / "cwd")

    def shown() -> str:
        made = table_of_runs("4", Place("clean", "official"), ["generated"], None, out, print)
        return made.shown.markdown()

    assert "0.8765" not in shown()
    write_probes(probes(0.7654), tmp_path / "board")
    monkeypatch.setattr(tables, "BOARD_PROBES", tmp_path / "board")
    assert "Warning: a rule without parameters (that the candidate is popular) scores 0.7654" in shown()
    write_probes(probes(0.6543), out)
    assert "scores 0.6543" in shown()


def test_the_board_of_this_checkout_has_probes() -> None:
    assert list(tables.BOARD_PROBES.glob("probes-*.json"))
