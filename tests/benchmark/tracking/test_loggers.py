"""What W&B and TensorBoard are given, read back from the files that they write; and trackers that fail."""

import base64
import hashlib
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread, imsave
from tensorboardX.proto.event_pb2 import Event
from typer.testing import CliRunner

from baselines.lightning_module import NotFinite
from baselines.spec import parse_spec
from benchmark.cli.app import app
from benchmark.records import paper
from benchmark.records.record import FIELDS as RECORD_FIELDS
from benchmark.report.render import Table
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from benchmark.tracking import loggers, trackers, wandb_runs
from benchmark.tracking.loggers import failure_told, open_loggers
from benchmark.tracking.tables import log_figures, log_table
from benchmark.tracking.trackers import SERIES, Tracker, check_tracker, outcome
from benchmark.tracking.wandb_runs import ID_FILE, run_id
from benchmark.tracking.wandb_workspace import COLUMNS, PANELS, create, describe, workspace
from datamodules.errors import UserError
from datamodules.protocol import get_protocol
from tests.benchmark.tracking.wandb_log import history, offline_runs, only, summary, wandb_records

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def config(out: Path, data_dir: str = "data", **changes: object) -> RunConfig:
    base = RunConfig("generated", "clean", "dien", "official", seed=3, steps=40, data_dir=data_dir, out=str(out))
    return replace(base, **changes)  # type: ignore[arg-type]


def fail() -> None:
    """End the run that is open, as failed."""
    with pytest.raises(KeyboardInterrupt), failure_told():
        raise KeyboardInterrupt


@pytest.mark.slow
def test_an_offline_run_holds_every_series_and_the_outcome(tmp_path: Path, data_dir: str) -> None:
    record = train_run(config(tmp_path, data_dir, logger="wandb"))
    folder = config(tmp_path).folder()
    records = wandb_records(offline_runs(tmp_path)[0])

    run = only(records, "run")
    assert run.run_id == (folder / ID_FILE).read_text().split()[0]
    assert (run.run_group, run.job_type) == ("generated/clean/dien-official", "train")
    assert run.display_name == "generated/clean/dien-official/seed-3"
    assert set(run.tags) == {"generated", "clean", "official", "dien-official"}
    settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert settings["seed"] == 3
    assert settings["settings"] == record["settings"]
    assert settings["data_sha256"] == record["data_sha256"]

    curves = pd.read_csv(folder / "metrics.csv")
    assert set(curves.columns) - {"step"} == set(SERIES)
    rows = history(records)
    assert [row["trainer/global_step"] for row in rows] == curves.step.tolist() == [20, 40]
    for name in SERIES:
        logged = [row.get(name, math.nan) for row in rows]
        assert logged == pytest.approx(curves[name].tolist(), rel=1e-12, nan_ok=True), name
    defined = {r.metric.name: r.metric.step_metric for r in records if r.WhichOneof("record_type") == "metric"}
    assert {defined[name] for name in SERIES} == {"trainer/global_step"}

    shown = summary(records)
    assert shown["auc"] == shown["auc_validation"] == record["auc"]["validation"]
    assert (shown["auc_test"], shown["auc_last"]) == (record["auc"]["test"], record["auc"]["last"])
    for name in ("logloss", "parameters", "samples_per_second", "best_step"):
        assert shown[name] == record[name]

    assert shown["best_validation_auc"] == record["validation_auc"]
    artifacts = {r.artifact.type: r.artifact for r in records if r.WhichOneof("record_type") == "artifact"}
    digests = {kind: {e.path: e.digest for e in each.manifest.contents} for kind, each in artifacts.items()}
    assert {kind: set(files) for kind, files in digests.items()} == {
        "record": {"record.json", "config.json", "metrics.csv"},  # no predictions
        "model": {"weights.pt"},
    }
    for name, digest in (digests["record"] | digests["model"]).items():
        assert base64.b64decode(digest) == hashlib.md5((folder / name).read_bytes()).digest()


def test_an_id_holds_for_one_folder_and_its_settings(tmp_path: Path) -> None:
    path = tmp_path / ID_FILE
    first = run_id(path, {"steps": 40})
    assert run_id(path, {"steps": 40}) == first
    second = run_id(path, {"steps": 50})
    assert second != first
    assert run_id(tmp_path / "elsewhere.txt", {"steps": 50}) != second
    path.write_text("torn")
    assert re.fullmatch("[0-9a-f]{8}", run_id(path, {"steps": 50}))


def test_a_run_that_was_left_open_is_not_gone_on_in_by_the_next(tmp_path: Path) -> None:
    for seed in (0, 1):
        wanted = config(tmp_path, logger="wandb", seed=seed)
        wanted.folder().mkdir(parents=True)
        open_loggers(wanted.tracked({}))[1].log_metrics({"loss": float(seed)}, 20)
    fail()
    found = [wandb_records(log) for log in offline_runs(tmp_path)]
    assert sorted([row["loss"] for row in history(records)] for records in found) == [[0.0], [1.0]]
    assert [only(records, "exit").exit_code for records in found] == [1, 1]


BAD = """
from baselines.base_model import BaseModel

class Bad(BaseModel):
    def forward(self, batch):
        prediction = super().forward(batch)
        return prediction._replace(logit=prediction.logit * float("nan"))
"""


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard"])
def test_a_tracker_is_told_of_a_failure(tmp_path: Path, data_dir: str, tracker: str) -> None:
    (tmp_path / "bad.py").write_text(BAD, "utf-8")
    wanted = config(tmp_path, data_dir, logger=tracker, model=f"{tmp_path}/bad.py:Bad")
    with pytest.raises(NotFinite):
        train_run(wanted)
    if tracker == "wandb":
        records = wandb_records(offline_runs(tmp_path)[0])
        assert only(records, "exit").exit_code == 1
        assert "NotFinite: the loss is nan at step" in summary(records)["failure"]
    else:
        written = events(tmp_path / "tensorboard" / wanted.name)
        (text,) = [v.tensor.string_val[0] for e in written for v in e.summary.value if "failure" in v.tag]
        assert b"NotFinite: the loss is nan at step" in text


class Broken:
    """A tracker that raises at one of the things that it is told, and counts them."""

    def __init__(self, at: str) -> None:
        self.at, self.told = at, Counter[str]()
        self.tell("open")

    def tell(self, what: str) -> None:
        self.told[what] += 1
        if what == self.at:
            raise OSError("no\nserver")

    def log(self, row: Mapping[str, float], step: int) -> None:
        self.tell("log")

    def finish(self, record: dict[str, Any], folder: Path) -> None:
        self.tell("finish")

    def fail(self, reason: str) -> None:
        self.tell("fail")


@pytest.mark.parametrize("at", ["open", "log", "finish"])
def test_no_exception_of_a_tracker_ends_a_run(
    at: str, tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Broken] = []
    monkeypatch.setattr(loggers, "_tracker_run", lambda *_: made.append(Broken(at)) or made[0])
    said: list[str] = []
    wanted = config(tmp_path, data_dir, logger="wandb")
    record = train_run(wanted, say=said.append)
    assert record["status"] == "finished"
    assert said == [f"{wanted.name}: wandb: OSError: no server; metrics.csv has all curves"]
    assert len(pd.read_csv(wanted.folder() / "metrics.csv")) == 2
    assert [broken.told for broken in made] == {
        "open": [], "log": [{"open": 1, "log": 1}], "finish": [{"open": 1, "log": 2, "finish": 1}]
    }[at]  # fmt: skip


def test_an_exception_over_a_failure_hides_it_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "_tracker_run", lambda *_: Broken("fail"))
    said: list[str] = []
    open_loggers(config(tmp_path, logger="wandb").tracked({}), say=said.append)
    fail()
    assert len(said) == 1


def test_names_that_are_too_long_are_cut(tmp_path: Path) -> None:
    run = replace(
        config(tmp_path, logger="wandb").tracked({}), name="ü" * 300, group="g" * 300, tags=("t" * 99, "a", "a", "")
    )
    run.folder.mkdir(parents=True)
    open_loggers(run)
    fail()
    written = only(wandb_records(offline_runs(tmp_path)[0]), "run")
    assert (written.display_name, written.run_group) == ("ü" * 128, "g" * 128)
    assert sorted(written.tags) == ["a", "t" * 64]


TABLE = Table("Table 4", (), (), (("dataset", "model", "auc_mean", "paper_auc"), ("tafeng", "dien", "0.9273", "")))


def test_a_table_is_a_wandb_table_and_logged_once(tmp_path: Path) -> None:
    for _ in range(2):
        log_table(TABLE, "table4", tracker="wandb", out=tmp_path, tags=["clean", "official"])
    (log,) = offline_runs(tmp_path)
    records = wandb_records(log)
    run = only(records, "run")
    assert (run.job_type, run.run_group, run.display_name) == ("table", "tables", "table4/clean/official")
    (row,) = history(records)
    assert row["table4/_type"] == "table-file"
    (media,) = (log.parent / "files" / "media" / "table").rglob("*.json")
    logged = json.loads(media.read_text())
    assert logged["columns"] == ["dataset", "model", "auc_mean", "paper_auc"]
    assert logged["data"] == [["tafeng", "dien", 0.9273, None]]
    artifacts = {r.artifact.type: r.artifact for r in records if r.WhichOneof("record_type") == "artifact"}
    digests = {entry.path: entry.digest for entry in artifacts["table"].manifest.contents}
    assert base64.b64decode(digests["table4.csv"]) == hashlib.md5(TABLE.csv().encode()).digest()
    log_table(replace(TABLE, csv_rows=TABLE.csv_rows[:1]), "table4", tracker="wandb", out=tmp_path, tags=["clean"])
    assert len(offline_runs(tmp_path)) == 2


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard"])
def test_a_table_that_a_tracker_does_not_take_is_said(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file in its place", "utf-8")
    said: list[str] = []
    log_table(TABLE, "table4", tracker=tracker, out=tmp_path / "out", tags=["clean"], say=said.append)
    (line,) = said
    assert line.startswith(f"table4: {tracker} did not take the table (")


def events(folder: Path) -> list[Event]:
    """The events of all files in a folder: records of a length, its checksum, the content, its checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            found.append(Event.FromString(data[position + 12 : position + 12 + length]))
            position += 16 + length
    return found


def test_tensorboard_gets_the_same_curves(tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # files are named by it: all of a short run's begin in one second
    record = train_run(config(tmp_path, data_dir, logger="tensorboard"))
    written = events(tmp_path / "tensorboard" / config(tmp_path).name)
    points = {(v.tag, e.step): v.simple_value for e in written for v in e.summary.value}
    curves = pd.read_csv(config(tmp_path).folder() / "metrics.csv")
    for name in SERIES:
        expected = {step: value for step, value in zip(curves.step, curves[name], strict=True) if not pd.isna(value)}
        assert {s: v for (tag, s), v in points.items() if tag == name} == pytest.approx(expected, rel=1e-6), name
    (auc,) = [value for (tag, _), value in points.items() if tag == "outcome/auc"]
    assert auc == pytest.approx(record["auc"]["validation"])
    assert any(record["data_sha256"].encode() in event.SerializeToString() for event in written)


def test_a_large_model_stays_here(tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_runs, "MOST_BYTES", 1000)
    train_run(config(tmp_path, data_dir, logger="wandb"))
    assert only(wandb_records(offline_runs(tmp_path)[0]), "artifact").type == "record"


def drawn_figure(folder: Path) -> list[Path]:
    """A picture of 4 by 3 points, all of them red, and a file beside it."""
    imsave(folder / "figure2.png", np.tile(np.array([1.0, 0.0, 0.0]), (3, 4, 1)))
    (folder / "figure2.svg").write_text("<svg/>")
    return [folder / "figure2.png", folder / "figure2.svg"]


def test_figures_are_images_and_logged_once(tmp_path: Path) -> None:
    drawn = drawn_figure(tmp_path)
    for _ in range(2):
        log_figures(drawn, "figure2", tracker="wandb", out=tmp_path, tags=["clean"])
    (log,) = offline_runs(tmp_path)
    records = wandb_records(log)
    assert (only(records, "run").job_type, only(records, "run").display_name) == ("figure", "figure2/clean")
    (row,) = history(records)
    assert (row["figure2/_type"], row["figure2/width"], row["figure2/height"]) == ("image-file", 4, 3)
    digests = {entry.path: entry.digest for entry in only(records, "artifact").manifest.contents}
    for path in drawn:
        assert base64.b64decode(digests[path.name]) == hashlib.md5(path.read_bytes()).digest()


def test_tensorboard_gets_figures_too(tmp_path: Path) -> None:
    log_figures(drawn_figure(tmp_path), "figure2", tracker="tensorboard", out=tmp_path, tags=["clean"])
    written = events(tmp_path / "tensorboard" / "figures" / "figure2" / "clean")
    ((tag, image),) = [(v.tag, v.image) for e in written for v in e.summary.value if v.HasField("image")]
    assert (tag, image.width, image.height) == ("figure2", 4, 3)
    pixels = imread(io.BytesIO(image.encoded_image_string))
    assert (pixels[..., :3] == [1.0, 0.0, 0.0]).all()


def test_the_documented_sweep_runs_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/wandb-sweep.yaml, made a command line by W&B's own code, for the ends of its space."""
    # Here: it takes seconds, and every process of the suite imports this file.
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((ROOT / "docs" / "wandb-sweep.yaml").read_text("utf-8"))
    record = dict.fromkeys(RECORD_FIELDS) | {"auc": {"last": 0.5}, "selection": "last"}
    assert sweep["metric"]["name"] in outcome(record)
    assert sweep["metric"] == {"name": "best_validation_auc", "goal": "maximize"}
    assert get_protocol(sweep["command"][2].split("--protocol ")[1].split()[0]).selection == "validation"
    ends = [{name: {"value": space[end]} for name, space in sweep["parameters"].items()} for end in ("min", "max")]
    stub = tmp_path / "bin" / "dien-bench"
    stub.parent.mkdir()
    stub.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    stub.chmod(0o755)
    for values in ends:
        arguments = create_sweep_command_args({"args": values})
        words = [
            word
            for part in create_sweep_command(list(sweep["command"]))
            for word in (arguments[part[2:-1]] if part.startswith("${") else [part])
        ]
        done = subprocess.run(
            words, env=os.environ | {"PATH": f"{stub.parent}:{os.environ['PATH']}"}, capture_output=True, check=True
        )
        given = json.loads(done.stdout)
        spec = parse_spec(given[given.index("--models") + 1])
        assert spec.options == {name: value["value"] for name, value in values.items()}
        shown = CliRunner().invoke(app, [*given, "--dry-run", "--out", str(tmp_path / "runs"), "--json"])
        assert shown.exit_code == 0, shown.output
        (planned,) = json.loads(shown.stdout)
        assert planned["run"].startswith("tafeng/clean/dien+")


def test_a_resumed_run_takes_back_tensorboard_points_behind_its_checkpoint(tmp_path: Path) -> None:
    wanted = config(tmp_path, logger="tensorboard")
    for steps, resumed_at in (((20, 40, 60), 0), ((60, 80), 40)):
        _, logger = open_loggers(wanted.tracked({}), resumed_at)
        for step in steps:
            logger.log_metrics({"loss": 1.0}, step)
    fail()
    folder = tmp_path / "tensorboard" / wanted.name
    starts = [event.step for event in events(folder) if event.session_log.status == event.session_log.START]
    assert starts == [41]  # readers drop what an earlier file has from there on
    open_loggers(wanted.tracked({}))
    assert not [event for event in events(folder) if event.summary.value]  # a new run takes the old one's away


def test_a_missing_tensorboard_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    check_tracker("tensorboard")
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="-m pip install tensorboardX, or choose --logger wandb or csv"):
        check_tracker("tensorboard")


def test_a_mode_that_the_user_set_stays(tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train_run(config(tmp_path, data_dir, logger="wandb"))
    assert not (tmp_path / "wandb").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb-workspaces' own use of pydantic
def test_panels_show_what_runs_log(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"auc": {"last": 0.5, "validation": None, "test": 0.5}, "selection": "last"}
    figures = outcome(dict.fromkeys(RECORD_FIELDS) | record)
    known = {"line": set(SERIES), "bar": set(figures), "table": {f"table{number}" for number in paper.TABLES}}
    for panel in PANELS:
        assert set(panel.values) <= known[panel.kind], panel
        assert panel.title in describe()
    assert set(COLUMNS) <= set(figures)
    made = workspace("me", "dien-bench", "DIEN")
    section = json.loads(made._to_model().model_dump_json(by_alias=True))["spec"]["section"]
    panels = [panel for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    assert len(panels) == len(PANELS)
    lines = [panel["config"] for panel in panels if panel["viewType"] == "Run History Line Plot"]
    assert {line["xAxis"] for line in lines} == {"trainer/global_step"}
    assert {(line["groupBy"], line["groupAgg"], line["groupArea"]) for line in lines} == {("group", "mean", "stddev")}
    assert section["runSets"][0]["filters"]["filters"][0]["key"]["name"] == "jobType"
    with pytest.raises(UserError, match="wandb login"):
        create(None, "dien-bench", "DIEN")
    monkeypatch.setattr("benchmark.tracking.wandb_workspace.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb-workspaces"):
        workspace("me", "dien-bench", "DIEN")
