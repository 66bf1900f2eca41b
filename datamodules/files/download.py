"""Resumable, checked download of one file from the first mirror that can give it.

Beside NAME in the data folder may lie: NAME.part and NAME.part.json, a download that broke off and how to
go on with it; NAME.sha256, bytes and checksum at the download (`sha256sum -c` reads it); NAME.lease.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn
from urllib3.exceptions import HTTPError

from datamodules.errors import UserError
from datamodules.files.lock import locked

TRIES = 3  # requests to one mirror that delivers, but breaks off
PAUSE = 1.0  # seconds before the second request, twice that before the third
LONGEST_RETRY_AFTER = 5  # seconds; a server that wants more patience is passed over
CONNECT_TIMEOUT = 5.0  # seconds, at most: an unreachable host must not hold up the next mirror
CHUNK = 1 << 20  # bytes
MAGIC = {".gz": b"\x1f\x8b", ".zip": b"PK", ".whl": b"PK"}  # first bytes: such a file is no error page


class DownloadError(UserError):
    """A file that no mirror delivers, that cannot be written, or that has changed since it was downloaded."""


class _Fault(Exception):
    """Why a mirror's file cannot be had; `pause`: seconds until it is worth asking again, None for never."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class _Target:
    """The wanted file: where it goes, and its bytes and checksum where they are known."""

    path: Path
    size: int | None
    sha256: str | None

    def beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    @property
    def magic(self) -> bytes:
        return MAGIC.get(self.path.suffix.lower(), b"")

    def discard_part(self) -> None:
        self.beside(".part.json").unlink(missing_ok=True)
        self.beside(".part").unlink(missing_ok=True)


@dataclass(frozen=True)
class _Saved:
    """A part to continue: the bytes it has, the ETag or date and the bytes of the file that it comes from."""

    offset: int
    validator: str
    total: int


def fetch(
    filename: str,
    mirrors: Sequence[str],
    folder: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    timeout: float = 10.0,
    advice: str = "",
) -> Path:
    """Return the path of a verified copy of `filename`, downloaded into `folder` if it is not there yet.

    A mirror is an http(s) URL to which the name is appended, or a local folder (path or file:// URL), whose
    file is used in place. They are tried in order. `size`: bytes, `timeout`: seconds without an answer.

    Raises DownloadError if no mirror delivers (the message ends with `advice`), if `folder` cannot be written
    or if the file is in `folder` but not as expected; a file that has its final name is never deleted.
    """
    if Path(filename).name != filename:
        raise ValueError(f"filename must be a plain name without folders, got {filename!r}")
    target = _Target(Path(folder) / filename, size, sha256.lower() if sha256 else None)
    if os.path.exists(target.path):  # unlike Path.exists, without an error where a folder is closed to us
        return _present(target)
    failures = []
    for mirror in mirrors:
        try:
            if mirror.lower().startswith(("http://", "https://")):
                return _from_server(target, f"{mirror.rstrip('/')}/{quote(filename)}", timeout)
            return _from_folder(target, mirror)
        except _Fault as fault:
            failures.append(f"  {_public(mirror)}: {fault}")
    lines = [f"cannot get {filename} from any mirror:", *(failures or ["  no mirror is given"])]
    known = [] if size is None else [f"{size:,} bytes"]
    known += [f"sha256 {sha256}"] if sha256 else []
    lines.append(f"A copy can be put there by hand: {target.path}" + f" ({', '.join(known)})" * bool(known))
    raise DownloadError("\n".join(filter(None, [*lines, _kept(target), advice])))


def _present(target: _Target) -> Path:
    """Return the path of a file that is there, or raise DownloadError saying what is wrong with it."""
    size, sha256, unwanted = target.size, target.sha256, str(target.path)
    note = target.beside(".sha256")
    try:
        if sha256 is None and note.exists():
            recorded = re.match(r"# (\d{1,18}) bytes\n([0-9a-f]{64}) ", note.read_text("utf-8", "replace"))
            if not recorded:
                raise DownloadError(f"{note} holds no checksum. Delete it, then run the command again.")
            size = int(recorded[1]) if size is None else size
            sha256, unwanted = recorded[2], f"{unwanted} and {note.name}, written at its download"
        _check(target.path, target.magic, size, sha256)
    except (_Fault, OSError) as error:
        problem = error if isinstance(error, _Fault) else f"it cannot be read ({error.strerror})"
        what = f"{target.path} is not as expected: {problem}."
        raise DownloadError(f"{what} Delete {unwanted}, then run the command again.") from None
    return target.path


def _check(path: Path, magic: bytes, size: int | None, sha256: str | None) -> str:
    """Return the sha256 of a file, or raise _Fault if the file is not as expected."""
    if (found := path.stat().st_size) != size and (size is not None or found == 0):
        raise _Fault(f"it has {found:,} bytes, expected {'more' if size is None else format(size, ',')}")
    with path.open("rb") as file:
        if not (head := file.read(4)).startswith(magic):
            raise _Fault(f"it begins with {head!r}, expected {magic!r}")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 not in (None, digest):
        raise _Fault(f"its sha256 is {digest}, expected {sha256}")
    return digest


def _from_folder(target: _Target, mirror: str) -> Path:
    """Return the path of the file in a local folder, after verification."""
    if mirror.lower().startswith("file://"):
        folder = Path(url2pathname(urlsplit(mirror).path))
    elif not mirror or "://" in mirror:
        raise _Fault("not a mirror, expected an http://, https:// or file:// URL or a folder")
    else:
        folder = Path(mirror).expanduser()
    local = _Target(folder / target.path.name, target.size, target.sha256)
    if not os.path.exists(local.path):
        raise _Fault(f"no file {local.path}")
    try:
        return _present(local)
    except DownloadError as error:
        raise _Fault(str(error)) from None


def _from_server(target: _Target, url: str, timeout: float) -> Path:
    """Download, verify and publish, one process at a time."""
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.beside(".lease"), _say_waiting):
            if target.path.exists():  # another process has finished in the meantime
                return _present(target)
            _download(target, url, timeout)
            return _publish(target)
    except OSError as error:
        what = f"cannot write {target.path}: {error.strerror or error}."
        raise DownloadError(f"{what} Make room or choose another folder. {_kept(target)}".rstrip()) from error


def _say_waiting(holder: str) -> None:
    print(f"waiting for {holder}, which downloads the file", file=sys.stderr, flush=True)


def _publish(target: _Target) -> Path:
    """Verify the finished part and give it its final name; a wrong part is removed."""
    part = target.beside(".part")
    try:
        digest = _check(part, target.magic, target.size, target.sha256)
    except _Fault as fault:
        target.discard_part()
        raise _Fault(f"delivers a wrong file: {fault}") from None
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    # The checksum goes first, so that a file with its final name always has one.
    target.beside(".sha256").write_text(f"# {part.stat().st_size} bytes\n{digest}  {target.path.name}\n", "utf-8")
    os.replace(part, target.path)
    target.discard_part()
    return target.path


def _download(target: _Target, url: str, timeout: float) -> None:
    """Fill the part from one server, going on where a connection broke."""
    with requests.Session() as session:
        session.max_redirects = 10
        # "identity": the bytes of the file itself; a server must not compress, nor a library decompress a .gz
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "dien-bench"})
        for attempt in range(TRIES):
            try:
                return _receive(target, url, session, timeout)
            except _Fault as fault:
                if fault.pause is None or attempt == TRIES - 1:
                    raise
                time.sleep(fault.pause * (attempt + 1))


def _receive(target: _Target, url: str, session: requests.Session, timeout: float) -> None:
    """Ask once for the bytes that the part lacks and append them; returns if the part is complete then."""
    part, state = target.beside(".part"), target.beside(".part.json")
    saved = _saved(target, url)
    response = _get(session, url, saved, timeout)
    if saved and response.status_code in (206, 416) and not _continues(response, saved):
        response.close()
        if (response.status_code, response.headers.get("Content-Range")) == (416, f"bytes */{saved.offset}"):
            return  # the part was complete already
        saved = None
        response = _get(session, url, None, timeout)
    with response:
        offset, end = _accept(response, target, saved)
        validator = _validator(response) if end is not None else None
        received, failure, surplus = offset, "", False
        try:
            chunk = response.raw.read1(CHUNK) if offset else response.raw.read(4)
            if not offset:
                if not chunk:
                    raise _Fault("delivers an empty file")
                if not chunk.startswith(target.magic):
                    raise _Fault(f"delivers something else: begins with {chunk!r}, expected {target.magic!r}")
                state.unlink(missing_ok=True)  # it describes bytes that are now overwritten
            with part.open("ab" if offset else "wb") as file, _progress(target, offset, end) as show:
                if not offset and validator:
                    state.write_text(json.dumps({"url": _public(url), "validator": validator, "total": end}), "utf-8")
                while chunk and not (surplus := end is not None and received + len(chunk) > end):
                    received += file.write(chunk)
                    show(received)
                    chunk = response.raw.read1(CHUNK)
        except HTTPError as error:
            failure = f": {_why(error)}"
    if surplus:
        target.discard_part()
        raise _Fault(f"sends more than the {end:,} bytes expected")
    if received != end and (failure or end is not None):
        of_all = "" if end is None else f" of {end:,}"
        pause = PAUSE if validator and received > offset else None  # otherwise there is nothing to go on from
        raise _Fault(f"the connection broke after {received:,}{of_all} bytes{failure}", pause)


def _get(session: requests.Session, url: str, saved: _Saved | None, timeout: float) -> requests.Response:
    """Send one request, for the bytes behind `saved` if given; the body of the answer is still unread."""
    headers = {"Range": f"bytes={saved.offset}-", "If-Range": saved.validator} if saved else {}
    limits = (min(timeout, CONNECT_TIMEOUT), timeout)
    try:
        return session.get(url, headers=headers, stream=True, timeout=limits)
    except (OSError, HTTPError, UnicodeError) as error:  # the exceptions of requests are OSErrors
        raise _Fault(_why(error)) from error


def _why(error: BaseException) -> str:
    """Return the innermost cause of a network error, without the objects that libraries print."""
    for inner in (getattr(error, "reason", None), *reversed(error.args)):
        if isinstance(inner, Exception):
            return _why(inner)
    text = error.args[-1] if error.args and isinstance(error.args[-1], str) else str(error)
    return re.sub(r"^\w+\(host=.*?\): ", "", text)


def _accept(response: requests.Response, target: _Target, saved: _Saved | None) -> tuple[int, int | None]:
    """Return the offset of the body in the file and the bytes of the whole file, or raise _Fault.

    What headers can tell is checked here, before a byte of an older part is overwritten.
    """
    status, headers, name = response.status_code, response.headers, target.path.name.lower()
    if status != 200 and not (status == 206 and saved):
        after = headers.get("Retry-After", "")
        pause = _number(after) if status in (429, 503) else None
        reason = f"{status} {response.reason}" + (f" (Retry-After: {after:.80})" if after else "")
        raise _Fault(reason, pause if pause is not None and pause <= LONGEST_RETRY_AFTER else None)
    if "html" in headers.get("Content-Type", "") and not name.endswith((".html", ".htm")):
        raise _Fault("answers with a web page instead of the file")
    # Some servers label a .gz file itself as encoded; the bytes are those of the file all the same.
    harmless = {"", "identity"} | ({"gzip", "x-gzip"} if name.endswith(".gz") else set())
    if (encoding := headers.get("Content-Encoding", "").lower()) not in harmless:
        raise _Fault(f"sends the file encoded ({encoding}) although asked not to")
    if saved and status == 206:
        return saved.offset, saved.total
    chunked, length = "Transfer-Encoding" in headers, headers.get("Content-Length", "")
    total = None if chunked else _number(length)
    if total is not None and target.size not in (None, total):
        raise _Fault(f"offers {total:,} bytes, expected {target.size:,}")
    if total is None and target.size is None and target.sha256 is None and not chunked:
        raise _Fault("does not tell the length of the file, so a file cut short could not be noticed")
    return 0, target.size if total is None else total


def _number(text: str) -> int | None:
    """Return the number in a header, None where it has none (thousands of digits are none)."""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _validator(response: requests.Response) -> str | None:
    """Return what names this version of the file in If-Range (RFC 9110, 13.1.5): strong ETag or date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _continues(response: requests.Response, saved: _Saved) -> bool:
    """Return whether an answer goes on exactly where the part ends, and comes from the same file."""
    expected = rf"bytes {saved.offset}-\d+/({saved.total}|\*)"
    same_range = re.fullmatch(expected, response.headers.get("Content-Range", ""))
    return same_range is not None and _validator(response) in (None, saved.validator)


def _saved(target: _Target, url: str | None = None) -> _Saved | None:
    """Return how to continue the part, None if there is none or it came from another address than `url`."""
    try:
        state = json.loads(target.beside(".part.json").read_text("utf-8"))
        saved = _Saved(target.beside(".part").stat().st_size, state["validator"], state["total"])
        sound = isinstance(saved.total, int) and re.fullmatch("[ -~]+", saved.validator)  # what a header can hold
        return saved if sound and saved.offset and (url is None or _public(url) == state["url"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # missing, or cut off by a crash
        return None


def _kept(target: _Target) -> str:
    saved = _saved(target)
    return f"{saved.offset:,} bytes are kept in {target.path}.part; the next try goes on there." if saved else ""


def _public(url: str) -> str:
    """Return an address without the user name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", url)


@contextmanager
def _progress(target: _Target, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the bytes received: a bar on a terminal, else a line every ten seconds."""
    name = target.path.name
    if sys.stderr.isatty():
        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total, completed=done)
            yield lambda received: bar.update(task, completed=received)
        return
    shown = time.monotonic()

    def line(received: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 10:
            shown = time.monotonic()
            of_all = "" if total is None else f" of {total / 1e6:,.0f}"
            print(f"{name}: {received / 1e6:,.0f}{of_all} MB", file=sys.stderr, flush=True)

    yield line
