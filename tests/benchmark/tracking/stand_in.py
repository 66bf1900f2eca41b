"""A server that stands in for W&B's: it answers what an upload of curves asks, and can fail from any moment on."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

KEY = "0123456789" * 4
Fault = Literal[
    "",
    "hangs",  # takes requests, and never answers
    "500",
    "401",
    "cut",  # closes the connection in the middle of its answer
    "page",  # the login page of a hotel's network
    "no viewer",  # how W&B answers to a key that it does not know
]


class StandIn(ThreadingHTTPServer):
    """The server and what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.curves: dict[str, list[dict[str, Any]]] = {}  # run id -> lines of its history
        self.exit_codes: dict[str, int] = {}  # of runs that have ended
        self.artifacts: list[str] = []  # their types
        self.asked: list[str] = []  # "POST <path>", a whole address where it is a proxy
        self.fault: Fault = ""
        self.stopped = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """Say nothing: connections are torn on purpose."""


@contextmanager
def serve() -> Iterator[StandIn]:
    """A server for as long as the block lasts."""
    with StandIn() as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.fault == "hangs":
            self.server.stopped.wait()
            self.close_connection = True
        elif self.server.fault in ("500", "401"):
            self._answer({}, int(self.server.fault))
        elif self.server.fault == "cut":
            self._answer({"data": {"viewer": {}}}, cut=1)
        elif self.server.fault == "page":
            self._send(200, b"<html>Room number?</html>", 0)
        elif self.path.startswith("/sdk/otel/"):  # telemetry, in another form
            self._answer({})
        else:
            request = json.loads(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self._answer(self._stream(request) if self.path.endswith("/file_stream") else self._query(request))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def _answer(self, content: dict[str, Any], status: int = 200, cut: int = 0) -> None:
        self._send(status, json.dumps(content).encode(), cut)

    def _send(self, status: int, body: bytes, cut: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])
        self.close_connection = bool(cut)

    def _stream(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self.path.split("/")[-2]
        sent = (request.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            lines = self.server.curves[run]
            lines[sent["offset"] :] = map(json.loads, sent["content"])
        if request.get("complete"):
            self.server.exit_codes[run] = request["exitcode"]
        return {"exitcode": None, "limits": {}}

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        found = re.match(r"\s*\w+\s+(\w+)", request["query"])
        kind, given = found and found[1], request.get("variables") or {}
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "me"}}
        if kind == "Viewer":
            viewer = {"id": "u", "username": "me", "entity": "me", "teams": {"edges": []}}
            return {"data": {"viewer": None if self.server.fault == "no viewer" else viewer}}
        if kind == "RunResumeStatus":
            lines = self.server.curves.get(given["name"])
            counts = {"historyLineCount": len(lines or []), "eventsLineCount": 0, "logLineCount": 0}
            tails = {"historyTail": json.dumps([json.dumps(line) for line in (lines or [])[-1:]]), "eventsTail": "[]"}
            texts = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t": 1}', "displayName": None, "tags": []}
            bucket = {"id": "b", "name": given["name"], **counts, **tails, **texts}
            return {"data": {"model": project | {"bucket": None if lines is None else bucket}}}
        if kind == "UpsertBucket":
            self.server.curves.setdefault(given["name"], [])
            bucket = {"id": "b", "name": given["name"], "displayName": None, "sweepName": None, "project": project}
            return {"data": {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}}
        if kind == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.server.url}/file"} for name in given["files"]]
            return {"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}}
        if kind == "ArtifactType":
            return {"data": {"project": {"artifact": None}}}
        if kind == "CreateArtifact":  # as one that is there already, so that its files are not sent
            self.server.artifacts.append(given["input"]["artifactTypeName"])
            sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
            return {"data": {"createArtifact": {"artifact": artifact}}}
        return {"data": {"serverInfo": {"features": []}} if kind == "ServerFeaturesQuery" else {}}
