"""Training again what is there: which folders lose what, and when nothing is touched."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.executors.fresh import forget_runs
from benchmark.runs import train
from benchmark.runs.config import RunConfig, lock_of
from datamodules.errors import UserError
from datamodules.files.lock import take


def config(out: Path, seed: int, model: str = "base-model") -> RunConfig:
    return RunConfig("generated", "clean", model, "official", seed, steps=4, out=str(out), data_dir=str(out / "data"))


def leave(run: RunConfig) -> Path:
    """The folder of a run with files and a folder in it, none of which is a record."""
    folder = run.folder()
    (folder / "more").mkdir(parents=True)
    for name in ("config.json", "metrics.csv", "checkpoint.pt", "more/file"):
        (folder / name).write_text("x", "utf-8")
    return folder


def test_only_the_runs_that_are_asked_for_are_emptied_and_each_is_named_before(tmp_path: Path) -> None:
    runs = [config(tmp_path, 0), config(tmp_path, 1), config(tmp_path, 0, "din"), config(tmp_path, 2)]
    folders = [leave(run) for run in runs[:3]]
    said: list[str] = []

    def say(text: str) -> None:
        assert (folders[len(said)] / "metrics.csv").exists()
        assert all(lock_of(run).exists() for run in runs[:2])  # both are held until all is done
        said.append(text)

    forget_runs([runs[0], runs[1], runs[3]], say)
    assert [str(folder) in text for folder, text in zip(folders[:2], said, strict=True)] == [True, True]
    assert [sorted(path.name for path in folder.iterdir()) for folder in folders[:2]] == [[], []]
    assert len(list(folders[2].iterdir())) == 4
    assert not runs[3].folder().exists()


def test_nothing_is_removed_while_one_of_them_is_being_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [config(tmp_path, seed) for seed in (0, 1)]
    folders = [leave(run) for run in runs]
    monkeypatch.setattr("datamodules.files.lock._lease", lambda path: __import__("filelock").SoftFileLease(path))
    lock = take(lock_of(runs[1]))
    try:
        with pytest.raises(UserError, match=r"is being run by process \d+"):
            forget_runs(runs, print)
    finally:
        lock.release()
    assert [len(list(folder.iterdir())) for folder in folders] == [4, 4]


@pytest.mark.usefixtures("trains_here")
def test_a_row_of_other_code_is_trained_again_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop of editing: what `run` refuses, --fresh trains, and the seeds that it would leave are not mixed in."""
    arguments = ["run", "--datasets", "generated", "--models", "base-model", "--protocol", "clean", "--steps", "4"]
    arguments += ["--no-wandb", "--workers", "1", "--out", str(tmp_path), "--data-dir", str(tmp_path / "data")]
    for seed in (0, 1):
        train.train_run(config(tmp_path, seed))
    paths = [config(tmp_path, seed).folder() / "record.json" for seed in (0, 1)]
    for path in paths:  # as if the model had been edited since
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"code_sha256": "0" * 64}), "utf-8")
    before = [path.read_bytes() for path in paths]

    def run(*more: str) -> str:
        result = CliRunner().invoke(app, [*arguments, *more])
        if isinstance(result.exception, UserError):
            return str(result.exception)
        assert result.exit_code == 0, result.output
        return result.output

    assert "--fresh" in run("--seeds", "0 1")
    assert "other code" in run("--seeds", "0", "--fresh")  # seed 1 would be of other code than seed 0
    assert "to be removed" in run("--seeds", "0 1", "--fresh", "--dry-run")
    assert [path.read_bytes() for path in paths] == before
    assert f"{paths[0].parent}: this run is removed" in run("--seeds", "0 1", "--fresh")
    assert all(json.loads(path.read_text("utf-8"))["code_sha256"] != "0" * 64 for path in paths)
