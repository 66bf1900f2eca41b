"""`--config` and `--print-config`: what a file gives is what its options give, and what is no option is refused."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.runs.config import RunConfig
from datamodules.errors import UserError

TINY = [
    "--datasets", "generated", "--protocol", "clean", "--models", "base-model", "--seeds", "1", "--steps", "12",
    "--logger", "csv", "--workers", "1",
]  # fmt: skip


def printed(*words: object) -> str:
    """What `dien-bench run ... --print-config` prints."""
    result = CliRunner().invoke(app, ["run", *map(str, words), "--print-config"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def options(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(printed(*words))
    return found


def file(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.mark.usefixtures("trains_here")
def test_the_config_of_a_run_gives_that_run_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIEN_BENCH_DATA", raising=False)
    assert not app(["run", *TINY, "--learning-rate", "0.02", "--out", "first"], standalone_mode=False)
    folder = Path("generated/clean/base-model-official/seed-1")
    words = ["--config", str("first" / folder / "config.json"), "--out", "second"]
    assert not app(["run", *words], standalone_mode=False)
    (only,) = Path("second").rglob("record.json")
    assert only == "second" / folder / "record.json"
    first, second = (
        json.loads((out / folder / "record.json").read_text("utf-8")) for out in (Path("first"), Path("second"))
    )
    measured = ("auc", "validation_auc", "logloss", "best_step", "steps", "settings", "data_sha256", "code_sha256")
    assert {name: first[name] for name in measured} == {name: second[name] for name in measured}
    assert first["settings"]["learning_rate"] == 0.02


def test_what_is_printed_gives_the_command_back(tmp_path: Path) -> None:
    words = [
        "--datasets", "sports beauty", "--variant", "paper", "--model", "din", "--model", "a b.py:C",
        "--seeds", "0-2 7", "--steps", "40", "--checkpoint-seconds", "0.5", "--no-wandb", "--retry-failed",
        "--out", tmp_path / "Überläufe", "--table", "4", "--json", "--learning-rate", "1e-05",
    ]  # fmt: skip
    text = printed(*words)
    path = file(tmp_path, text)
    assert printed("--config", path) == text
    found = yaml.safe_load(text)
    assert found["model"] == ["din", "a b.py:C"]
    assert (found["wandb"], found["retry_failed"], found["json"], found["table"]) == (False, True, True, "4")
    assert found["learning_rate"] == 1e-5
    assert "models" not in found
    assert options() == options("--config", file(tmp_path, printed()))


def test_the_command_line_comes_before_the_file_and_the_file_before_defaults(tmp_path: Path) -> None:
    path = file(
        tmp_path, "steps: 7\nbatch-size: 32\ndatasets: [sports, beauty]\nseeds: [0, 3]\nwandb: false\nmodels:\n"
    )
    found = options("--steps", 9, "--wandb", "--config", path)
    assert (found["steps"], found["batch_size"], found["wandb"]) == (9, 32, True)
    assert (found["datasets"], found["seeds"], found["variant"]) == ("sports beauty", "0 3", "official")
    given = {"dataset": "beauty", "model": "din", "seed": 4, "settings": None, "steps": None}
    found = options("--config", file(tmp_path, json.dumps(given), "config.json"), "--models", "pnn")
    assert (found["datasets"], found["models"], found["seeds"]) == ("beauty", "pnn", "4")


def test_the_environment_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIEN_BENCH_DATA", "elsewhere")
    assert options("--config", file(tmp_path, "data_dir: here"))["data_dir"] == "elsewhere"
    monkeypatch.delenv("DIEN_BENCH_DATA")
    assert options("--config", file(tmp_path, "data_dir: here"))["data_dir"] == "here"


def test_every_field_of_a_run_is_an_option(tmp_path: Path) -> None:
    given = {
        "dataset": "beauty", "protocol": "clean", "model": "din", "variant": "paper", "seed": 3, "steps": 5,
        "batch_size": 6, "learning_rate": 0.5, "data_dir": "d", "out": "o", "logger": "csv", "device": "cpu",
        "devices": 2, "checkpoint_seconds": 1.5,
    }  # fmt: skip
    assert set(given) == {field.name for field in fields(RunConfig)}
    found = options("--config", file(tmp_path, json.dumps(given), "config.json"))
    renamed = {"dataset": "datasets", "model": "models", "seed": "seeds"}
    assert {name: found[renamed.get(name, name)] for name in given} == given | {"seed": "3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step: 3", r"run\.yaml: unknown option 'step', did you mean 'steps'"),
        ("config: other.yaml", "unknown option 'config'"),
        ("steps: 3\nsteps: 4", "'steps' stands twice"),
        ("dataset: beauty,sports", "unknown option 'dataset', did you mean 'datasets'"),
        ("dataset: beauty\ndatasets: sports", "stands twice, under two names"),
        ("batch_size: 3\nbatch-size: 4", "stands twice, under two names"),
        ("steps: {a: 1}", "steps is {'a': 1}, expected one value"),
        ("seeds: [[1]]", r"seeds is \[\[1\]\], expected one value"),
        ("- steps", "expected names with values"),
        ("1: 2", "the key 1 is no name"),
        ("[a]: 2", r"run\.yaml"),
        ("a: [", r"cannot read .*run\.yaml"),
        ("!!python/object/apply:os.system ['true']", r"cannot read .*run\.yaml"),
        ("\x00", r"cannot read .*run\.yaml"),
        ("dataset: beauty\nsettings: {steps: 3}", "Field required"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        app(["run", "--config", str(file(tmp_path, text)), "--print-config"], standalone_mode=False)


@pytest.mark.parametrize("text", ["steps: 1.5", "steps: true", "steps: many", "steps: [1, 2]", "variant: papers"])
def test_a_value_that_the_option_would_not_take_is_refused(tmp_path: Path, text: str) -> None:
    result = CliRunner().invoke(app, ["run", "--config", str(file(tmp_path, text)), "--print-config"])
    assert result.exit_code == 2
    assert f"--{text.partition(':')[0]}" in result.output


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.yaml"):
        app(["run", "--config", str(tmp_path / "gone.yaml")], standalone_mode=False)
