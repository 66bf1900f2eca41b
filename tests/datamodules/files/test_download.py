"""Downloads from servers that misbehave in every way that we know of; all of them on 127.0.0.1."""

import errno
import gzip
import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datamodules.errors import UserError
from datamodules.files import download, transfer
from datamodules.files.download import DownloadError, fetch, origin
from datamodules.files.transfer import Target, new_part

NAME = "reviews.json.gz"
CONTENT = gzip.compress(random.Random(0).randbytes(60_000), mtime=0)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = gzip.compress(random.Random(1).randbytes(60_000), mtime=0)
CUT = 20_000  # bytes after which connections break
PART = new_part(Target(Path(NAME), None, None), '"v1"', SIZE, "").path.name  # of the version with this ETag
ROOT = Path(__file__).parents[3]

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the script of the mirror, the first folder in the path; the last answer is repeated."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        mirror = self.path.split("/")[1]
        self.server.requests.append((self.path, self.headers))
        script = self.server.scripts[mirror]
        answer = script.pop(0) if len(script) > 1 else script[0]
        answer(self)
        self.close_connection = True

    def start(self, status: int, headers: dict[str, Any]) -> None:
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, Message]] = []
        self.release = threading.Event()  # what hanging answers wait for

    def mirror(self, name: str, *script: Answer) -> str:
        self.scripts[name] = list(script)
        return f"http://127.0.0.1:{self.server_address[1]}/{name}/"

    def asked(self, header: str) -> list[str | None]:
        return [headers.get(header) for _, headers in self.requests]

    def handle_error(self, *arguments: object) -> None:
        pass  # clients hang up on purpose


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses between tries in place of waiting; keep proxies of the environment out."""
    pauses: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return pauses


def reply(body: bytes = CONTENT, status: int = 200, **headers: object) -> Answer:
    """Answer with these bytes, whatever was asked; an underscore in a header's name stands for a hyphen."""

    def answer(handler: Handler) -> None:
        handler.start(status, {"Content-Length": len(body)} | {k.replace("_", "-"): v for k, v in headers.items()})
        handler.wfile.write(body)

    return answer


def serve(content: bytes = CONTENT, cut: int | None = None, **validators: Any) -> Answer:
    """Answer as a good server does, with Range and If-Range; `cut`: hang up after so many bytes."""
    validators = validators or {"ETag": '"v1"'}

    def answer(handler: Handler) -> None:
        start = 0
        condition = handler.headers.get("If-Range")
        if (asked := handler.headers.get("Range")) and condition in (None, *validators.values()):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers = {k.replace("_", "-"): v for k, v in validators.items()}
        if start >= len(content):
            handler.start(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.start(206 if start else 200, {"Content-Length": len(content) - start, **headers})
        handler.wfile.write(content[start:][:cut])

    return answer


def chunked(content: bytes, whole: bool = True) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(200, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(content), 10_000):
            piece = content[start : start + 10_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n" if whole else b"")

    return answer


def without_length(body: bytes) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(200, {})
        handler.wfile.write(body)

    return answer


def hang(sent: int | None = None) -> Answer:
    """Say nothing (None), or send the headers and so many bytes, and then wait."""

    def answer(handler: Handler) -> None:
        if sent is not None:
            handler.start(200, {"Content-Length": SIZE, "ETag": '"v1"'})
            handler.wfile.write(CONTENT[:sent])
            handler.wfile.flush()
        handler.server.release.wait(10)

    return answer


def redirect(location: str) -> Answer:
    return reply(b"", 302, Location=location)


def failure(*mirrors: str, folder: Path, **options: Any) -> str:
    with pytest.raises(DownloadError) as raised:
        fetch(NAME, mirrors, folder, **options)
    assert not (folder / NAME).exists()
    return str(raised.value)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def leave_part(folder: Path, server: Server) -> str:
    """Leave a part of CUT bytes, as a broken connection does, and return the mirror, which is well again."""
    failure(server.mirror("a", serve(cut=CUT), reply(b"", 500)), folder=folder)
    assert (folder / PART).stat().st_size == CUT
    server.requests.clear()
    return server.mirror("a", serve())


# --- a good server, and a file that is there already ---


@pytest.mark.parametrize("known", [{}, {"size": SIZE}, {"sha256": SHA256.upper()}, {"size": SIZE, "sha256": SHA256}])
def test_downloads_once(server: Server, tmp_path: Path, known: dict[str, Any]) -> None:
    mirror = server.mirror("a", serve())
    for _ in range(2):
        assert fetch(NAME, [mirror], tmp_path / "new" / "folder", **known) == tmp_path / "new" / "folder" / NAME
    assert (tmp_path / "new" / "folder" / NAME).read_bytes() == CONTENT
    assert files(tmp_path / "new" / "folder") == {NAME, f"{NAME}.sha256"}
    assert [path for path, _ in server.requests] == [f"/a/{NAME}"]
    assert server.asked("Accept-Encoding") == ["identity"]
    assert server.asked("Range") == [None]


def test_checksum_file_is_readable_by_sha256sum(server: Server, tmp_path: Path) -> None:
    fetch(NAME, [server.mirror("a", serve())], tmp_path)
    lines = (tmp_path / f"{NAME}.sha256").read_text().splitlines()
    assert lines == [f"# {SIZE} bytes", f"{SHA256}  {NAME}", f"# from {server.mirror('a', serve())}{NAME}"]
    done = subprocess.run(["sha256sum", "-c", "--strict", f"{NAME}.sha256"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0


def test_mirror_without_slash_and_name_that_needs_quoting(server: Server, tmp_path: Path) -> None:
    assert fetch("a b.csv", [server.mirror("a", serve()).rstrip("/")], tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/a/a%20b.csv"]


def test_name_with_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain name"):
        fetch("../x.gz", [], tmp_path)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({}, f"its sha256 is {hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}"),
        ({"sha256": SHA256}, f"its sha256 is {hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}"),
        ({"size": 7}, f"it has {len(OTHER):,} bytes, expected 7"),
    ],
)
def test_changed_file_is_reported_and_kept(server: Server, tmp_path: Path, known: dict[str, Any], found: str) -> None:
    mirror = server.mirror("a", serve())
    path = fetch(NAME, [mirror], tmp_path)
    assert len(OTHER) == SIZE
    path.write_bytes(OTHER)
    with pytest.raises(DownloadError) as raised:
        fetch(NAME, [mirror], tmp_path, **known)
    assert found in str(raised.value)
    assert f"Delete {path}" in str(raised.value)
    assert (f"{NAME}.sha256" in str(raised.value)) == ("sha256" not in known)
    assert path.read_bytes() == OTHER
    assert len(server.requests) == 1


def test_file_put_by_hand_is_taken(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(NAME, [], tmp_path) == tmp_path / NAME
    assert fetch(NAME, [], tmp_path, size=SIZE, sha256=SHA256) == tmp_path / NAME
    assert files(tmp_path) == {NAME}


@pytest.mark.parametrize(("content", "found"), [(b"", "0 bytes"), (b"<html>", "it begins with b'<htm'")])
def test_bad_file_put_by_hand(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DownloadError, match=found):
        fetch(NAME, [], tmp_path)
    assert (tmp_path / NAME).read_bytes() == content


def test_unreadable_checksum_file_and_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    (tmp_path / f"{NAME}.sha256").write_text("")
    with pytest.raises(DownloadError, match=r"sha256 holds no checksum\. Delete it"):
        fetch(NAME, [], tmp_path)
    (tmp_path / "x.gz").mkdir()
    with pytest.raises(DownloadError, match="cannot be read"):
        fetch("x.gz", [], tmp_path)


# --- local folders as mirrors ---


@pytest.mark.parametrize("form", ["path", "uri"])
def test_local_folder_is_used_in_place(tmp_path: Path, form: str) -> None:
    local = tmp_path / "with space"
    local.mkdir()
    (local / NAME).write_bytes(CONTENT)
    mirror = str(local) if form == "path" else local.as_uri()
    assert fetch(NAME, [mirror], tmp_path / "data", sha256=SHA256) == local / NAME
    assert not (tmp_path / "data").exists()


def test_a_checksum_that_sha256sum_wrote_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    (tmp_path / f"{NAME}.sha256").write_text(f"{SHA256}  {NAME}\n")
    assert fetch(NAME, [str(tmp_path)], tmp_path / "data") == tmp_path / NAME
    (tmp_path / NAME).write_bytes(OTHER)
    assert f"its sha256 is {hashlib.sha256(OTHER).hexdigest()}" in failure(str(tmp_path), folder=tmp_path / "data")


def test_local_folder_without_a_good_file_gives_way(server: Server, tmp_path: Path) -> None:
    empty, wrong = tmp_path / "empty", tmp_path / "wrong"
    empty.mkdir()
    wrong.mkdir()
    (wrong / NAME).write_bytes(OTHER)
    message = failure(str(empty), str(wrong), "ftp://host/x", "", folder=tmp_path / "data", sha256=SHA256)
    assert f"{empty}: no file {empty / NAME}" in message
    assert f"{wrong / NAME} is not as expected: its sha256 is" in message
    assert "ftp://host/x: not a mirror" in message
    mirrors = [str(empty), str(wrong), server.mirror("a", serve())]
    assert fetch(NAME, mirrors, tmp_path / "data", sha256=SHA256) == tmp_path / "data" / NAME
    assert (wrong / NAME).read_bytes() == OTHER


# --- resuming ---


@pytest.mark.parametrize(
    ("validators", "if_range"),
    [
        ({"ETag": '"v1"'}, '"v1"'),
        ({"ETag": '"v1"', "Last_Modified": "Tue, 01 Jul 2014 00:00:00 GMT"}, '"v1"'),
        (
            {"ETag": 'W/"v1"', "Last_Modified": "Tue, 01 Jul 2014 00:00:00 GMT"},
            "Tue, 01 Jul 2014 00:00:00 GMT",
        ),
    ],
)
def test_broken_connection_is_continued(
    server: Server, tmp_path: Path, pauses: list[float], validators: dict[str, Any], if_range: str
) -> None:
    mirror = server.mirror("a", serve(cut=CUT, **validators), serve(cut=CUT, **validators), serve(**validators))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert server.asked("If-Range") == [None, if_range, if_range]
    assert pauses == [download.PAUSE] * 2
    assert files(tmp_path) == {NAME, f"{NAME}.sha256"}


def test_a_mirror_that_brings_bytes_is_stayed_with(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror("a", serve(cut=2_000))
    assert fetch(NAME, [mirror, server.mirror("b", serve())], tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == [f"/a/{NAME}"] * -(-SIZE // 2_000)
    assert origin(tmp_path / NAME) == f"{mirror}{NAME}"


def test_a_mirror_that_stops_for_good_and_the_next_run_goes_on(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror("a", serve(cut=10_000), serve(cut=10_000), reply(b"", 500))
    message = failure(mirror, folder=tmp_path)
    assert f"{mirror}: 500 Internal Server Error" in message
    assert f"20,000 bytes are kept in {tmp_path / PART}" in message
    assert len(server.requests) == 4  # once more after a pause, since it had brought something
    assert fetch(NAME, [server.mirror("a", serve())], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range")[4:] == ["bytes=20000-"]


@pytest.mark.parametrize("second", ['"v1"', '"v2"'])
def test_two_mirrors_that_break_off_finish_together(server: Server, tmp_path: Path, second: str) -> None:
    """Each brings a piece, then nothing; with one ETag they share a part, with two each keeps its own."""

    def moody(etag: str, content: bytes) -> list[Answer]:
        return [serve(content, cut=15_000, ETag=etag), reply(b"", 500)] * 10

    other = CONTENT if second == '"v1"' else OTHER
    a, b = server.mirror("a", *moody('"v1"', CONTENT)), server.mirror("b", *moody(second, other))
    found = fetch(NAME, [a, b], tmp_path)
    assert found.read_bytes() in (CONTENT, other)
    assert files(tmp_path) == {NAME, f"{NAME}.sha256"}
    ranges = [(path[1], headers.get("Range")) for path, headers in server.requests]
    if second == '"v1"':
        starts = [start for _, start in ranges]
        assert starts[0] is None
        assert len(set(starts)) == 5  # 60,000 bytes in pieces of 15,000, whoever brought them
        assert origin(found) == f"{a}{NAME}" or origin(found) == f"{b}{NAME}"
    else:
        assert ("b", "bytes=15000-") in ranges  # asked for a's part first, then for the file, later for its own


def test_two_mirrors_that_give_up_leave_each_others_parts_alone(server: Server, tmp_path: Path) -> None:
    """Over several runs, as a user repeats the command: what each run brought is there in the next."""
    sizes = []
    for _ in range(3):
        a = server.mirror("a", serve(cut=12_000), reply(b"", 500))
        b = server.mirror("b", serve(OTHER, cut=9_000, ETag='"v2"'), reply(b"", 500))
        failure(a, b, folder=tmp_path)
        sizes.append(sorted(path.stat().st_size for path in tmp_path.glob("*.part")))
    assert sizes == [[9_000, 12_000], [18_000, 24_000], [27_000, 36_000]]


def test_etags_that_change_with_every_answer_do_not_go_on_for_ever(server: Server, tmp_path: Path) -> None:
    mirrors = [
        server.mirror(name, *(serve(cut=CUT, ETag=f'"{name}{number}"') for number in range(50))) for name in "ab"
    ]
    assert "the connection broke" in failure(*mirrors, folder=tmp_path)
    assert len(server.requests) < 20
    assert len(list(tmp_path.glob("*.part"))) <= 2  # one a mirror


def test_the_same_version_without_ranges_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    """A server that always sends all of it: what is known already is passed over, and never lost."""
    leave_part(tmp_path, server)
    whole = reply(CONTENT[: CUT + 500], Content_Length=SIZE, ETag='"v1"')
    failure(server.mirror("b", whole), folder=tmp_path)
    assert (tmp_path / PART).read_bytes() == CONTENT[: CUT + 500]
    assert fetch(NAME, [server.mirror("b", reply(ETag='"v1"'))], tmp_path).read_bytes() == CONTENT


def test_a_part_of_an_older_version_of_the_program_is_continued(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror("a", serve())
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:CUT])
    state = {"url": f"{mirror}{NAME}", "validator": '"v1"', "total": SIZE}
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps(state))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-"]
    assert files(tmp_path) == {NAME, f"{NAME}.sha256"}


def test_a_wrong_file_is_not_asked_for_again_and_again(server: Server, tmp_path: Path) -> None:
    wrong = server.mirror("a", serve(OTHER, cut=CUT, ETag='"v2"'))
    moody = server.mirror("b", *[serve(cut=9_000), reply(b"", 500)] * 3)
    failure(wrong, moody, folder=tmp_path, sha256=SHA256)
    assert [path[1] for path, _ in server.requests].count("a") == -(-SIZE // CUT)


@pytest.mark.parametrize("validators", [{"X_No": "validator"}, {"ETag": 'W/"v1"'}])
def test_without_a_strong_validator_nothing_is_continued(
    server: Server, tmp_path: Path, validators: dict[str, Any]
) -> None:
    broken, good = server.mirror("a", serve(cut=CUT, **validators)), server.mirror("b", serve(**validators))
    assert fetch(NAME, [broken, good], tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == [f"/a/{NAME}", f"/b/{NAME}"]
    assert server.asked("Range") == [None, None]


def test_no_progress_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    message = failure(server.mirror("a", serve(cut=0)), folder=tmp_path)
    assert f"the connection broke after 0 of {SIZE:,} bytes" in message
    assert len(server.requests) == 1


def test_another_mirror_continues_the_same_version_and_no_other(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    failure(server.mirror("b", serve(OTHER, cut=9_000, ETag='"v2"'), reply(b"", 500)), folder=tmp_path)
    assert (tmp_path / PART).read_bytes() == CONTENT[:CUT]
    server.requests.clear()
    assert fetch(NAME, [server.mirror("c", serve())], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-"]


def test_server_without_ranges_starts_from_zero(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    assert fetch(NAME, [server.mirror("a", reply(ETag='"v1"'))], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-"]


def test_file_that_changed_on_the_server_starts_from_zero(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    assert fetch(NAME, [server.mirror("a", serve(OTHER, ETag='"v2"'))], tmp_path).read_bytes() == OTHER
    assert server.asked("If-Range") == ['"v1"']


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"v2"', "Content_Range": f"bytes {CUT}-{SIZE - 1}/{SIZE}"},  # If-Range ignored
        {"ETag": '"v1"', "Content_Range": f"bytes 0-{SIZE - 1 - CUT}/{SIZE}"},  # other bytes
        {"ETag": '"v1"', "Content_Range": f"bytes {CUT}-{SIZE - 1}/{SIZE + 1}"},  # other length
        {"ETag": '"v1"'},
    ],
)
def test_wrong_continuation_starts_from_zero(server: Server, tmp_path: Path, headers: dict[str, Any]) -> None:
    leave_part(tmp_path, server)
    mirror = server.mirror("a", reply(OTHER[CUT:], 206, **headers), serve(OTHER, ETag='"v2"'))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == OTHER
    assert server.asked("Range") == [f"bytes={CUT}-", None]


def test_416_restarts_once(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    assert fetch(NAME, [server.mirror("a", reply(b"", 416), serve())], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-", None]


def test_416_for_ever_is_a_failure(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    message = failure(server.mirror("a", reply(b"", 416)), folder=tmp_path)
    assert "416 Requested Range Not Satisfiable" in message
    assert len(server.requests) == 2


def test_part_that_is_complete_already(server: Server, tmp_path: Path) -> None:
    mirror = leave_part(tmp_path, server)
    (tmp_path / PART).write_bytes(CONTENT)
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={SIZE}-"]


def test_a_part_is_not_complete_where_the_server_has_a_shorter_file_now(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    mirror = server.mirror("a", reply(b"", 416, Content_Range=f"bytes */{CUT}"), serve(OTHER[:CUT], ETag='"v2"'))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == OTHER[:CUT]


def test_part_that_is_too_long_starts_from_zero(server: Server, tmp_path: Path) -> None:
    mirror = leave_part(tmp_path, server)
    (tmp_path / PART).write_bytes(CONTENT + b"x")
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None]


def test_a_file_without_a_version_leaves_a_part_alone(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    failure(server.mirror("a", serve(OTHER, cut=CUT, X_No="validator")), folder=tmp_path)
    assert files(tmp_path) == {PART, f"{PART}.json"}  # what cannot be continued is not kept
    assert fetch(NAME, [server.mirror("a", serve())], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-", f"bytes={CUT}-"]


UNUSABLE = [(5, SIZE), ("", SIZE), ("a\r\nX-Injected: 1", SIZE), ("\u20ac", SIZE), ('"v1"', ".*"), ('"v1"', None)]


@pytest.mark.parametrize(("validator", "total"), UNUSABLE)
def test_a_state_that_no_request_can_be_made_of_starts_from_zero(
    server: Server, tmp_path: Path, validator: object, total: object
) -> None:
    mirror = leave_part(tmp_path, server)
    path = tmp_path / f"{PART}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"validator": validator, "total": total}))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None]


@pytest.mark.parametrize("state", ["", "{", "[]", '{"url": 1}', "[" * 100_000])
def test_unreadable_state_starts_from_zero(server: Server, tmp_path: Path, state: str) -> None:
    mirror = leave_part(tmp_path, server)
    (tmp_path / f"{PART}.json").write_text(state)
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None]


def test_piecewise_server(server: Server, tmp_path: Path) -> None:
    """A 206 that ends before the file does is continued as a broken connection is."""
    leave_part(tmp_path, server)
    piece = reply(CONTENT[CUT:40_000], 206, ETag='"v1"', Content_Range=f"bytes {CUT}-39999/{SIZE}")
    assert fetch(NAME, [server.mirror("a", piece, serve())], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-", "bytes=40000-"]


def test_wrong_bytes_after_resuming_are_noticed(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    lying = server.mirror("a", serve(OTHER))  # the ETag of CONTENT, the bytes of another file
    good = server.mirror("b", serve())
    assert fetch(NAME, [lying, good], tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-", None]


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_killed_process_is_continued(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror("a", hang(sent=CUT), serve())
    part = tmp_path / PART
    process = start_fetch(mirror, tmp_path)
    with process:
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = part.stat().st_size
    assert kept > 0
    assert not (tmp_path / NAME).exists()
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None, f"bytes={kept}-"]


# --- answers that are not the file ---

HTML = b"<!DOCTYPE html><title>Log in</title>"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(b"gone", 404), "404 Not Found"),
        (reply(b"no", 403), "403 Forbidden"),
        (reply(b"oops", 500), "500 Internal Server Error"),
        (reply(b"later", 503, Retry_After=120), "503 Service Unavailable (Retry-After: 120)"),
        (
            reply(b"", 503, Retry_After="Wed, 01 Jan 2031 00:00:00 GMT"),
            "503 Service Unavailable (Retry-After: Wed, 01 Jan 2031 00:00:00 GMT)",
        ),
        (reply(b"", 204), "204 No Content"),
        (reply(CONTENT, 206, Content_Range=f"bytes 0-{SIZE - 1}/{SIZE}"), "206 Partial Content"),
        (reply(HTML, Content_Type="text/html; charset=utf-8"), "answers with a web page instead of the file"),
        (reply(HTML), "delivers something else: begins with b'<!DO', expected b'\\x1f\\x8b'"),
        (reply(b""), "delivers an empty file"),
        (chunked(b""), "delivers an empty file"),
        (reply(Content_Encoding="br"), "sends the file encoded (br) although asked not to"),
        (without_length(CONTENT), "does not tell the length of the file"),
        (chunked(CONTENT, whole=False), f"the connection broke after {SIZE:,} bytes"),
        (reply(Content_Length=SIZE + 1), f"the connection broke after {SIZE:,} of {SIZE + 1:,} bytes"),
        (lambda handler: None, "Remote end closed connection without response"),
        (redirect("/a/again"), "Exceeded 10 redirects"),
        (redirect("ftp://host/file"), "No connection adapters were found"),
        (redirect("http://[::1"), "Invalid IPv6 URL"),
        (hang(), "Read timed out. (read timeout=0.2)"),
        (hang(sent=0), f"the connection broke after 0 of {SIZE:,} bytes: Read timed out"),
        (hang(sent=CUT), f"the connection broke after {CUT:,} of {SIZE:,} bytes: Read timed out"),
    ],
)
def test_useless_answer_gives_way_to_the_next_mirror(
    server: Server, tmp_path: Path, answer: Answer, reason: str
) -> None:
    bad = server.mirror("a", answer)
    message = failure(bad, folder=tmp_path, timeout=0.2)
    assert f"  {bad}: {reason}" in message
    assert fetch(NAME, [bad, server.mirror("b", serve())], tmp_path, timeout=0.2).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer",
    [reply(HTML, Content_Type="text/html"), reply(HTML), reply(b"", 500), reply(b""), hang(sent=0), hang()],
)
def test_useless_answer_leaves_an_older_part_alone(server: Server, tmp_path: Path, answer: Answer) -> None:
    leave_part(tmp_path, server)
    failure(server.mirror("a", answer), folder=tmp_path, timeout=0.2)
    assert fetch(NAME, [server.mirror("a", serve())], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [f"bytes={CUT}-"] * 2


@pytest.mark.parametrize("status", [429, 503])
def test_short_retry_after_is_honoured(server: Server, tmp_path: Path, pauses: list[float], status: int) -> None:
    mirror = server.mirror("a", reply(b"", status, Retry_After=2), serve())
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert pauses == [2.0]


def test_busy_server_is_not_asked_for_ever(server: Server, tmp_path: Path) -> None:
    assert "503" in failure(server.mirror("a", reply(b"", 503, Retry_After=0)), folder=tmp_path)
    assert len(server.requests) == 3


@pytest.mark.parametrize("number", ["9" * 5000, "\xb2", "-1", "1e9"])
def test_numbers_in_headers_that_are_none(server: Server, tmp_path: Path, number: str) -> None:
    assert "503" in failure(server.mirror("a", reply(b"", 503, Retry_After=number)), folder=tmp_path)
    assert len(server.requests) == 1
    failure(server.mirror("b", reply(CONTENT, Content_Length=number)), folder=tmp_path, timeout=0.2)
    assert not (tmp_path / NAME).exists()


def test_a_checksum_file_of_endless_digits(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    (tmp_path / f"{NAME}.sha256").write_text(f"# {'1' * 5000} bytes\n{SHA256}  {NAME}\n")
    with pytest.raises(DownloadError, match="holds no checksum"):
        fetch(NAME, [], tmp_path)


def test_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    target = server.mirror("b", serve(cut=CUT), serve())
    assert fetch(NAME, [server.mirror("a", redirect(target))], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None, None, f"bytes={CUT}-", f"bytes={CUT}-"]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_gz_labelled_as_encoded_is_not_decompressed(server: Server, tmp_path: Path, encoding: str) -> None:
    mirror = server.mirror("a", reply(Content_Encoding=encoding))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    message = "sends the file encoded"
    with pytest.raises(DownloadError, match=message):
        fetch("reviews.csv", [mirror], tmp_path)


def test_gz_that_a_server_compressed_once_more_gives_way_to_the_next_mirror(server: Server, tmp_path: Path) -> None:
    twice = server.mirror("twice", reply(gzip.compress(CONTENT), Content_Encoding="gzip"))
    assert fetch(NAME, [twice, server.mirror("good", serve())], tmp_path / "a").read_bytes() == CONTENT
    assert "it is compressed twice" in failure(twice, folder=tmp_path / "b")


def test_chunked_answer(server: Server, tmp_path: Path) -> None:
    assert fetch(NAME, [server.mirror("a", chunked(CONTENT))], tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("known", [{"size": SIZE}, {"sha256": SHA256}, {"md5": hashlib.md5(CONTENT).hexdigest()}])
def test_answer_without_length_is_good_where_size_or_checksum_is_known(
    server: Server, tmp_path: Path, known: dict[str, Any]
) -> None:
    cut, whole = (
        server.mirror("a", without_length(CONTENT[:CUT])),
        server.mirror("b", without_length(CONTENT)),
    )
    assert fetch(NAME, [cut, whole], tmp_path, **known).read_bytes() == CONTENT


# --- size and checksum ---


def test_wrong_checksum_removes_the_part(server: Server, tmp_path: Path) -> None:
    bad = server.mirror("a", serve(OTHER))
    message = failure(bad, folder=tmp_path, sha256=SHA256)
    assert f"{bad}: delivers a wrong file: its sha256 is {hashlib.sha256(OTHER).hexdigest()}, expected" in message
    assert files(tmp_path) == set()
    assert fetch(NAME, [bad, server.mirror("b", serve())], tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_wrong_size_is_refused_before_the_body(server: Server, tmp_path: Path) -> None:
    message = failure(server.mirror("a", serve()), folder=tmp_path, size=SIZE + 1)
    assert f"offers {SIZE:,} bytes, expected {SIZE + 1:,}" in message
    assert files(tmp_path) == set()


@pytest.mark.parametrize("answer", [chunked(CONTENT + b"x" * 50_000), without_length(CONTENT + b"x")])
def test_more_bytes_than_expected(server: Server, tmp_path: Path, answer: Answer) -> None:
    message = failure(server.mirror("a", answer), folder=tmp_path, size=SIZE)
    assert f"sends more than the {SIZE:,} bytes expected" in message
    assert files(tmp_path) == set()


def test_bytes_behind_the_promised_length_are_not_taken(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror("a", reply(CONTENT + b"x" * 50_000, Content_Length=SIZE))
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT


def test_continuation_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, server)
    content_range = f"bytes {CUT}-{SIZE - 1}/{SIZE}"
    long = reply(CONTENT[CUT:] + b"x", 206, ETag='"v1"', Content_Range=content_range)
    assert f"sends more than the {SIZE:,} bytes" in failure(server.mirror("a", long), folder=tmp_path)
    assert files(tmp_path) == set()


# --- hosts that cannot be reached ---


def refused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_unreachable_hosts_fail_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    known = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> object:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    closed = refused()
    start = time.monotonic()
    message = failure(
        "http://nowhere.invalid/x",
        closed,
        "http://",
        folder=tmp_path,
        size=1234,
        sha256=SHA256,
        advice="Set AMAZON_MIRROR to a folder that holds the files.",
    )
    assert time.monotonic() - start < 2
    assert pauses == []
    lines = message.splitlines()
    assert lines[0] == f"cannot get {NAME} from any mirror:"
    assert lines[1].startswith("  http://nowhere.invalid/x: Failed to resolve 'nowhere.invalid'")
    assert lines[2].startswith(f"  {closed}: Failed to establish a new connection: ")
    assert "Connection refused" in lines[2]
    assert lines[3].startswith("  http://: Invalid URL")
    assert lines[4] == f"A copy can be put there by hand: {tmp_path / NAME} (1,234 bytes, sha256 {SHA256})"
    assert lines[5:] == ["Set AMAZON_MIRROR to a folder that holds the files."]


def test_server_that_does_not_speak_tls(server: Server, tmp_path: Path) -> None:
    address = server.mirror("a", serve()).replace("http://", "https://")
    message = failure(address, folder=tmp_path)
    assert f"  {address}: [SSL: " in message
    assert " object at 0x" not in message


def test_missing_certificates_are_no_disk_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    address = server.mirror("a", serve()).replace("http://", "https://")
    message = failure(address, folder=tmp_path)
    assert f"  {address}: Could not find a suitable TLS CA certificate bundle" in message


def test_host_that_does_not_answer_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def connect(address: object, timeout: float, *arguments: object, **options: object) -> socket.socket:
        limits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    assert "timed out. (connect timeout=5.0)" in failure("http://127.0.0.1:9", folder=tmp_path, timeout=60)
    assert limits == [transfer.CONNECT_TIMEOUT]


def test_no_mirror_at_all(tmp_path: Path) -> None:
    assert "no mirror is given" in failure(folder=tmp_path)
    assert issubclass(DownloadError, UserError)


def test_proxies_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    host = refused()
    monkeypatch.setenv("http_proxy", host.replace("//", "//me:secret@"))
    message = failure("http://mirror.invalid/files", "https://127.0.0.1:9", str(tmp_path), folder=tmp_path)
    lines = message.splitlines()
    assert lines[1].endswith(f"(through the proxy {host}, from the environment)")
    assert "secret" not in message
    assert "proxy" not in lines[2] + lines[3]


def test_where_a_file_came_from(server: Server, tmp_path: Path) -> None:
    """The mirror that gave it, not the first that was asked."""
    address = server.mirror("b", serve()).replace("//", "//someone:secret@", 1)
    path = fetch(NAME, [server.mirror("a", reply(b"", 500)), address], tmp_path)
    assert origin(path) == f"{server.mirror('b', serve())}{NAME}"
    (tmp_path / "by-hand.gz").write_bytes(CONTENT)
    assert origin(tmp_path / "by-hand.gz") == str(tmp_path / "by-hand.gz")
    (tmp_path / "by-hand.gz.sha256").write_bytes(b"# 7 bytes\n\xff")
    assert origin(tmp_path / "by-hand.gz") == str(tmp_path / "by-hand.gz")


def test_passwords_are_not_shown(tmp_path: Path, server: Server) -> None:
    address = server.mirror("a", serve(cut=CUT), reply(b"", 500)).replace("//", "//someone:secret@", 1)
    assert "secret" not in failure(address, refused().replace("//", "//someone:secret@"), folder=tmp_path)
    assert "secret" not in (tmp_path / f"{PART}.json").read_text()
    server.mirror("a", serve())
    assert fetch(NAME, [address], tmp_path).read_bytes() == CONTENT


# --- writing ---


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / PART).symlink_to("/dev/full")
    message = failure(server.mirror("a", serve()), server.mirror("b", serve()), folder=tmp_path)
    assert message.startswith(f"cannot write {tmp_path / NAME}: {os.strerror(errno.ENOSPC)}. Make room")
    assert len(server.requests) == 1  # no other mirror can help


def test_full_disk_at_the_end_keeps_the_part(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mirror = server.mirror("a", serve())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert f"{SIZE:,} bytes are kept in {tmp_path / PART}" in failure(mirror, folder=tmp_path)
    assert fetch(NAME, [mirror], tmp_path).read_bytes() == CONTENT
    assert server.asked("Range") == [None, f"bytes={SIZE}-"]


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    mirror = server.mirror("a", serve())
    message = failure(mirror, folder=tmp_path / "file" / "folder")
    assert message.startswith(f"cannot write {tmp_path / 'file' / 'folder' / NAME}: ")
    assert server.requests == []


# --- several processes ---


def start_fetch(mirror: str, folder: Path) -> "subprocess.Popen[str]":
    """Start another process that fetches; it says so on its standard error where it has to wait."""
    code = f"from datamodules.files.download import fetch; fetch({NAME!r}, [{mirror!r}], {str(folder)!r})"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


def test_second_process_waits_for_the_first(server: Server, tmp_path: Path) -> None:
    arrived = threading.Event()

    def slow(handler: Handler) -> None:
        handler.start(200, {"Content-Length": SIZE, "ETag": '"v1"'})
        handler.wfile.write(CONTENT[:CUT])
        arrived.set()
        handler.server.release.wait(8)
        handler.wfile.write(CONTENT[CUT:])

    mirror = server.mirror("a", slow)
    with start_fetch(mirror, tmp_path) as first:
        assert arrived.wait(30)
        with start_fetch(mirror, tmp_path) as second:
            assert second.stderr is not None
            said = second.stderr.readline()
            assert said.startswith(f"waiting for process {first.pid} on ")
            assert said.endswith(f"{NAME}.lease), which downloads the file\n")
            assert not (tmp_path / NAME).exists()
            server.release.set()
            assert second.wait(30) == 0
        assert first.wait(30) == 0
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert files(tmp_path) == {NAME, f"{NAME}.sha256"}


# --- progress ---


def test_nothing_is_printed_for_a_short_download(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(NAME, [server.mirror("a", serve())], tmp_path)
    assert capsys.readouterr() == ("", "")


def test_a_line_every_ten_seconds_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 9.0, 10.0, 10.0, 15.0, 21.0, 21.0])
    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    target = Target(tmp_path / NAME, None, None)
    with transfer._progress(target, 0, 500_000_000) as show:
        for received in (1_000_000, 2_000_000, 3_000_000, 400_000_000):
            show(received)
    assert capsys.readouterr().err == f"{NAME}: 2 of 500 MB\n{NAME}: 400 of 500 MB\n"


def test_a_bar_on_a_terminal(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    fetch(NAME, [server.mirror("a", serve())], tmp_path)
    assert NAME in terminal.getvalue()
    assert "100%" in terminal.getvalue()
