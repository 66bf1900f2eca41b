"""One request to one server: bytes of a file are appended to a part, which stays until the file is whole.

A part belongs to a version of the file, not to an address: NAME.HASH.part is named after the ETag or date and the bytes
of the whole file, which NAME.HASH.part.json holds. So a part is continued by any server that has this version, and
servers with different ones keep a part each. What has neither ETag nor date is NAME.part, and cannot be continued.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn
from urllib3.exceptions import HTTPError

PAUSE = 1.0  # seconds before the next request to a server that broke off
LONGEST_RETRY_AFTER = 5  # seconds; a server that wants more patience is passed over
CONNECT_TIMEOUT = 5.0  # seconds, at most: an unreachable host must not hold up the next mirror
CHUNK = 1 << 20  # bytes
MAGIC = {".gz": b"\x1f\x8b", ".zip": b"PK", ".whl": b"PK"}  # first bytes: such a file is no error page


class Fault(Exception):
    """Why a mirror's file cannot be had.

    `pause`: seconds until it is worth asking again, None for never. `progress`: whether a part has grown.
    """

    def __init__(self, reason: str, pause: float | None = None, *, progress: bool = False) -> None:
        super().__init__(reason)
        self.pause, self.progress = pause, progress


@dataclass(frozen=True)
class Target:
    """The wanted file: where it goes, and its bytes and checksum where they are known."""

    path: Path
    size: int | None
    sha256: str | None
    md5: str | None = None

    def beside(self, suffix: str) -> Path:
        """Return the path of a file that belongs to this one."""
        return self.path.with_name(self.path.name + suffix)

    @property
    def magic(self) -> bytes:
        """What the file must begin with; a checksum that its source publishes says it better than its name."""
        return b"" if self.md5 else MAGIC.get(self.path.suffix.lower(), b"")


@dataclass(frozen=True)
class Part:
    """A part to continue: the ETag or date and the bytes of the file that it comes from, and who sent it last."""

    path: Path
    validator: str
    total: int
    url: str

    @property
    def offset(self) -> int:
        """The bytes that are there."""
        return self.path.stat().st_size

    @property
    def state(self) -> Path:
        """The file that holds the other fields."""
        return self.path.with_name(self.path.name + ".json")

    def discard(self) -> None:
        """Remove the part."""
        self.state.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the state."""
        self.state.write_text(json.dumps({"url": self.url, "validator": self.validator, "total": self.total}), "utf-8")


def new_part(target: Target, validator: str, total: int, url: str) -> Part:
    """Return the part of one version of a file, which need not be there yet."""
    name = hashlib.sha256(f"{validator} {total}".encode()).hexdigest()[:8]
    return Part(target.beside(f".{name}.part"), validator, total, public(url))


def parts_of(target: Target) -> list[Part]:
    """Return all parts of a file that can be continued, the largest first."""
    pattern = re.compile(re.escape(target.path.name) + r"(\.[0-9a-f]{8})?\.part\.json")
    folder = target.path.parent
    states = [path for path in folder.iterdir() if pattern.fullmatch(path.name)] if folder.is_dir() else []
    parts = [part for state in sorted(states) if (part := _load(state))]
    return sorted(parts, key=lambda part: -part.offset)


def _load(state: Path) -> Part | None:
    """Return a part, None where its state or itself is missing, impossible, or was cut off by a crash."""
    try:
        fields = json.loads(state.read_text("utf-8"))
        part = Part(state.with_suffix(""), fields["validator"], fields["total"], str(fields.get("url")))
        sound = isinstance(part.total, int) and re.fullmatch("[ -~]+", part.validator)  # what a header can hold
        return part if sound and 0 < part.offset <= part.total else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def receive(target: Target, url: str, session: requests.Session, timeout: float, started: set[str]) -> Path:
    """Ask once for the bytes that a part lacks and append them; returns the path of the part that is complete then.

    Bytes of a part that was there before are progress; those of a new one are so once an address of `started`, for
    a server may give its file another ETag each time. Raises `Fault`, and OSError where nothing can be written.
    """
    response, part = _open(target, url, session, timeout)
    if response is None:
        assert part is not None
        return part.path
    with response:
        offset = part.offset if part else 0
        begin, end = _accept(response, target, part)  # the body begins at `begin`, up to `offset` it is known already
        validator = _validator(response) if end is not None else None
        head = b"" if begin else head_of(response, target)
        if part is None and validator and end is not None:
            part = new_part(target, validator, end, url)
            for other in parts_of(target):
                if other.url == part.url:
                    other.discard()  # the file on this server has changed
        path = part.path if part else target.beside(".part")
        received, failure, surplus = offset, "", False
        with path.open("ab" if offset else "wb") as file, _progress(target, offset, end) as show:
            if part:
                part.save()
            try:
                chunk = _skip(response, head, offset - begin)
                while chunk and not (surplus := end is not None and received + len(chunk) > end):
                    received += file.write(chunk)
                    show(received)
                    chunk = response.raw.read1(CHUNK)
            except HTTPError as error:
                failure = f": {why(error)}"
    if not surplus and (received == end or (end is None and not failure)):
        return path
    if surplus or not part:
        (part or Part(path, "", 0, "")).discard()  # there is nothing to go on from
    if surplus:
        raise Fault(f"sends more than the {end:,} bytes expected")
    of_all = "" if end is None else f" of {end:,}"
    progress = part is not None and received > offset and (offset > 0 or url not in started)
    started.add(url)
    reason = f"the connection broke after {received:,}{of_all} bytes{failure}"
    raise Fault(reason, PAUSE if progress else None, progress=progress)


def _open(
    target: Target, url: str, session: requests.Session, timeout: float
) -> tuple[requests.Response | None, Part | None]:
    """Return the answer to a request for the file and the part that it continues; no answer where the part is whole.

    The part that this server sent is asked for first, else the largest; where the server has another version of which
    there is a part too, that one is asked for.
    """
    parts = parts_of(target)
    asked = next((part for part in parts if part.url == public(url)), parts[0] if parts else None)
    tried = []
    while True:
        response = get(session, url, asked, timeout)
        if asked and response.status_code in (206, 416):
            if _continues(response, asked):
                return response, asked
            response.close()
            there = (response.status_code, response.headers.get("Content-Range"), asked.offset)
            if there == (416, f"bytes */{asked.total}", asked.total):
                return None, asked
            tried.append(asked)
            asked = None
            continue
        if response.status_code != 200:
            return response, None
        version = _validator(response), _number(response.headers.get("Content-Length", ""))
        same = next((part for part in parts if (part.validator, part.total) == version), None)
        if same is None or same is asked or same in tried:
            return response, same
        response.close()
        tried += [asked] if asked else []
        asked = same


def head_of(response: requests.Response, target: Target) -> bytes:
    """Return the first bytes of a body, or raise Fault where they are not those of the file."""
    try:
        head = response.raw.read(4)
    except HTTPError as error:
        total = _number(response.headers.get("Content-Length", ""))
        of_all = "" if total is None else f" of {total:,}"
        raise Fault(f"the connection broke after 0{of_all} bytes: {why(error)}") from error
    if not head:
        raise Fault("delivers an empty file")
    if not head.startswith(target.magic):
        raise Fault(f"delivers something else: begins with {head!r}, expected {target.magic!r}")
    return bytes(head)


def _skip(response: requests.Response, head: bytes, count: int) -> bytes:
    """Return the first bytes of a body, of which `head` is read, behind `count` bytes that are known already."""
    chunk = head or response.raw.read1(CHUNK)
    while chunk and count >= len(chunk):
        count -= len(chunk)
        chunk = response.raw.read1(CHUNK)
    return bytes(chunk[count:])


def get(session: requests.Session, url: str, saved: Part | None, timeout: float) -> requests.Response:
    """Send one request, for the bytes behind `saved` if given; the body of the answer is still unread."""
    headers = {"Range": f"bytes={saved.offset}-", "If-Range": saved.validator} if saved else {}
    limits = (min(timeout, CONNECT_TIMEOUT), timeout)
    try:
        return session.get(url, headers=headers, stream=True, timeout=limits)
    except (OSError, HTTPError, ValueError) as error:  # of requests: OSErrors; of an address: the last
        raise Fault(why(error)) from error


def why(error: BaseException) -> str:
    """Return the innermost cause of a network error, without the objects that libraries print."""
    for inner in (getattr(error, "reason", None), *reversed(error.args)):
        if isinstance(inner, Exception):
            return why(inner)
    text = error.args[-1] if error.args and isinstance(error.args[-1], str) else str(error)
    return re.sub(r"^\w+\(host=.*?\): ", "", text)


def _accept(response: requests.Response, target: Target, saved: Part | None) -> tuple[int, int | None]:
    """Return the offset of the body in the file and the bytes of the whole file, or raise Fault.

    What headers can tell is checked here, before a byte of an older part is overwritten.
    """
    status, headers, name = response.status_code, response.headers, target.path.name.lower()
    if status != 200 and not (status == 206 and saved):
        after = headers.get("Retry-After", "")
        pause = _number(after) if status in (429, 503) else None
        reason = f"{status} {response.reason}" + (f" (Retry-After: {after:.80})" if after else "")
        raise Fault(reason, pause if pause is not None and pause <= LONGEST_RETRY_AFTER else None)
    if "html" in headers.get("Content-Type", "") and not name.endswith((".html", ".htm")):
        raise Fault("answers with a web page instead of the file")
    # Some servers label a .gz file itself as encoded; the bytes are those of the file all the same.
    harmless = {"", "identity"} | ({"gzip", "x-gzip"} if name.endswith(".gz") else set())
    if (encoding := headers.get("Content-Encoding", "").lower()) not in harmless:
        raise Fault(f"sends the file encoded ({encoding}) although asked not to")
    if saved and status == 206:
        return saved.offset, saved.total
    chunked, length = "Transfer-Encoding" in headers, headers.get("Content-Length", "")
    total = None if chunked else _number(length)
    if total is not None and target.size not in (None, total):
        raise Fault(f"offers {total:,} bytes, expected {target.size:,}")
    if total is None and not (target.size or target.sha256 or target.md5 or chunked):
        raise Fault("does not tell the length of the file, so a file cut short could not be noticed")
    return 0, target.size if total is None else total


def _number(text: str) -> int | None:
    """Return the number in a header, None where it has none (thousands of digits are none)."""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def length_of(response: requests.Response) -> int | None:
    """Return the bytes of the whole file that an answer is about, None where it does not say."""
    if response.status_code == 206:
        return _number(response.headers.get("Content-Range", "").rpartition("/")[2])
    return _number(response.headers.get("Content-Length", ""))


def _validator(response: requests.Response) -> str | None:
    """Return what names this version of the file in If-Range (RFC 9110, 13.1.5): strong ETag or date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _continues(response: requests.Response, part: Part) -> bool:
    """Return whether an answer goes on exactly where the part ends, and comes from the same file."""
    expected = rf"bytes {part.offset}-\d+/({part.total}|\*)"
    same_range = re.fullmatch(expected, response.headers.get("Content-Range", ""))
    return same_range is not None and _validator(response) in (None, part.validator)


def public(url: str) -> str:
    """Return an address without the user name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", url)


@contextmanager
def _progress(target: Target, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
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
