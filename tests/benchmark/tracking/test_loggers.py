"""What W&B and TensorBoard are given, read back from the files that they write, and uploaded to a stand-in server."""

import base64
import gzip
import hashlib
import json
import math
import os
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
from tensorboardX.proto.event_pb2 import Event
from wandb.proto.wandb_internal_pb2 import Record

from benchmark.records import paper
from benchmark.records.record import FIELDS as RECORD_FIELDS
from benchmark.report.render import Table
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from benchmark.tracking import trackers
from benchmark.tracking.loggers import ID_FILE, log_table, open_loggers, outcome, run_id
from benchmark.tracking.trackers import SERIES, check_tracker, has_wandb_key
from benchmark.tracking.wandb_workspace import COLUMNS, PANELS, create, describe, workspace
from datamodules.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*anonymous setting.*")


@pytest.fixture(autouse=True)
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a key, at home in an empty folder."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def config(out: Path, data_dir: str = "data", **changes: object) -> RunConfig:
    base = RunConfig("generated", "clean", "dien", "official", seed=3, steps=40, data_dir=data_dir, out=str(out))
    return replace(base, **changes)  # type: ignore[arg-type]


def wandb_records(path: Path) -> list[Record]:
    """The records of a .wandb file: a LevelDB log (blocks of 32 KiB, pieces of a record in them) behind 7 bytes."""
    data, position, piece, records = path.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        piece += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            records.append(Record.FromString(piece))
            piece = b""
    return records


def offline_runs(out: Path) -> list[Path]:
    """The logs below an output folder, once the process that writes them has written their ends."""
    logs = sorted(out.glob("wandb/offline-run-*/run-*.wandb"))
    deadline = time.monotonic() + 30
    while not all(any(record.HasField("exit") for record in wandb_records(log)) for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return logs


def history(records: list[Record]) -> list[dict[str, Any]]:
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row} for row in rows]


def summary(records: list[Record]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records:
        for item in record.summary.update:
            found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def only(records: list[Record], kind: str) -> Any:
    (record,) = [record for record in records if record.WhichOneof("record_type") == kind]
    return getattr(record, kind)


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

    artifact = only(records, "artifact")
    assert artifact.type == "record"
    digests = {entry.path: entry.digest for entry in artifact.manifest.contents}
    assert set(digests) == {"record.json", "config.json", "metrics.csv"}  # no predictions
    for name, digest in digests.items():
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


def test_a_run_that_failed_is_not_gone_on_in_by_the_next(tmp_path: Path) -> None:
    for seed in (0, 1):
        wanted = config(tmp_path, logger="wandb", seed=seed)
        wanted.folder().mkdir(parents=True)
        open_loggers(wanted.tracked({}))[1].log_metrics({"loss": float(seed)}, 20)  # and no close_loggers
    wandb.finish()
    losses = [[row["loss"] for row in history(wandb_records(log))] for log in offline_runs(tmp_path)]
    assert sorted(losses) == [[0.0], [1.0]]


class Server(BaseHTTPRequestHandler):
    """As much of a W&B server as an upload of curves asks for; `curves` collects run id -> lines of its history."""

    curves: dict[str, list[dict[str, Any]]]

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self._answer(self._stream(request) if self.path.endswith("/file_stream") else self._query(request))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, request: dict[str, Any]) -> dict[str, Any]:
        sent = (request.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            lines = self.curves[self.path.split("/")[-2]]
            lines[sent["offset"] :] = map(json.loads, sent["content"])
        return {"exitcode": None, "limits": {}}

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        found = re.match(r"\s*\w+\s+(\w+)", request["query"])
        kind, given = found and found[1], request.get("variables") or {}
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "me"}}
        if kind == "RunResumeStatus":
            lines = self.curves.get(given["name"])
            counts = {"historyLineCount": len(lines or []), "eventsLineCount": 0, "logLineCount": 0}
            tails = {"historyTail": json.dumps([json.dumps(line) for line in (lines or [])[-1:]]), "eventsTail": "[]"}
            texts = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t": 1}', "displayName": None, "tags": []}
            bucket = {"id": "b", "name": given["name"], **counts, **tails, **texts}
            return {"data": {"model": project | {"bucket": None if lines is None else bucket}}}
        if kind == "UpsertBucket":
            self.curves.setdefault(given["name"], [])
            bucket = {"id": "b", "name": given["name"], "displayName": None, "sweepName": None, "project": project}
            return {"data": {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}}
        if kind == "CreateRunFiles":
            url = f"http://{self.headers['Host']}/file"
            files = [{"name": name, "uploadUrl": url} for name in given["files"]]
            return {"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}}
        return {"data": {"serverInfo": {"features": []}} if kind == "ServerFeaturesQuery" else {}}


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    handler = type("Handler", (Server,), {"curves": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", handler.curves
        listening.shutdown()


def test_a_resumed_run_goes_on_in_the_same_wandb_run_also_when_synced(
    tmp_path: Path, server: tuple[str, dict[str, list[dict[str, Any]]]]
) -> None:
    wanted = config(tmp_path, logger="wandb")
    wanted.folder().mkdir(parents=True)
    for steps, resumed_at in (((20, 40), 0), ((60, 80), 40)):
        _, logger = open_loggers(wanted.tracked({"steps": 80}), resumed_at)
        for step in steps:
            logger.log_metrics({"loss": 1 / step}, step)
        wandb.finish(exit_code=int(resumed_at == 0))
    first, second = offline_runs(tmp_path)
    assert first.name == second.name  # a folder a process, one id
    url, curves = server
    # But what W&B has set in this process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40}
    command = [sys.executable, "-m", "wandb", "sync", *(str(log.parent) for log in (first, second))]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.stderr.count("Finished syncing") == 2, done.stderr
    (lines,) = curves.values()
    assert [(line["trainer/global_step"], line["loss"]) for line in lines] == [(s, 1 / s) for s in (20, 40, 60, 80)]
    assert list(curves) == [first.stem.removeprefix("run-")]


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


def test_a_resumed_run_takes_back_tensorboard_points_behind_its_checkpoint(tmp_path: Path) -> None:
    wanted = config(tmp_path, logger="tensorboard")
    for steps, resumed_at in (((20, 40, 60), 0), ((60, 80), 40)):
        _, logger = open_loggers(wanted.tracked({}), resumed_at)
        for step in steps:
            logger.log_metrics({"loss": 1.0}, step)
        logger.finalize("success")
    folder = tmp_path / "tensorboard" / wanted.name
    starts = [event.step for event in events(folder) if event.session_log.status == event.session_log.START]
    assert starts == [41]  # readers drop what an earlier file has from there on
    open_loggers(wanted.tracked({}))[1].finalize("success")
    assert not [event for event in events(folder) if event.summary.value]  # a new run takes the old one's away


def test_a_missing_tensorboard_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    check_tracker("tensorboard")
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="-m pip install tensorboardX, or choose --logger wandb or csv"):
        check_tracker("tensorboard")


def test_keys_are_found_where_wandb_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_wandb_key()
    (tmp_path / ".netrc").write_text("machine wandb.example.org login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080/")
    assert has_wandb_key()
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_wandb_key()


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
