"""Resumable, checked download of one file from the first mirror that can give it.

Beside NAME in the data folder may lie: NAME.sha256, bytes and checksum at the download (`sha256sum -c` reads it) and
where it came from; NAME.lease; and NAME.*part and NAME.*part.json, downloads that broke off (`transfer.py`).
"""

import hashlib
import os
import re
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import requests

from datamodules.errors import UserError, cannot_write
from datamodules.files.index_page import PREFIX, linked
from datamodules.files.lock import locked
from datamodules.files.transfer import MAGIC, PAUSE, Fault, Target, parts_of, public, receive

TRIES = 3  # requests in a row to one mirror that bring nothing
MOST_TRIES = 1000  # requests to one mirror that brings a little each time


class DownloadError(UserError):
    """A file that no mirror delivers, that cannot be written, or that has changed since it was downloaded."""


def fetch(
    filename: str,
    mirrors: Sequence[str],
    folder: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    timeout: float = 10.0,
    advice: str = "",
) -> Path:
    """Return the path of a verified copy of `filename`, downloaded into `folder` if it is not there yet.

    A mirror is an http(s) URL to which the name is appended, a page of links (index:URL), or a local folder (path or
    file:// URL), whose file is used in place. They are tried in order, each as long as it brings bytes, and those that
    brought some again, until none does. `size`: bytes, `md5`: as the source publishes it, `timeout`: seconds without an
    answer.

    Raises DownloadError if no mirror delivers (the message ends with `advice`), if `folder` cannot be written
    or if the file is in `folder` but not as expected; a file that has its final name is never deleted.
    """
    if Path(filename).name != filename:
        raise ValueError(f"filename must be a plain name without folders, got {filename!r}")
    target = Target(Path(folder) / filename, size, sha256.lower() if sha256 else None, md5)
    if os.path.exists(target.path):  # unlike Path.exists, without an error where a folder is closed to us
        return _present(target)
    failures: dict[str, str] = {}
    started: set[str] = set()
    left = list(mirrors)
    while left:
        progressed = []
        for mirror in left:
            try:
                if mirror.startswith(PREFIX):
                    return _from_index(target, mirror.removeprefix(PREFIX), mirrors, timeout, started)
                if mirror.lower().startswith(("http://", "https://")):
                    return _from_server(target, f"{mirror.rstrip('/')}/{quote(filename)}", timeout, started)
                return _from_folder(target, mirror)
            except Fault as fault:
                failures[mirror] = f"  {public(mirror)}: {fault}{through(mirror)}"
                progressed += [mirror] * fault.progress
        if left := progressed:
            time.sleep(PAUSE)
    lines = [f"cannot get {filename} from any mirror:", *(failures.values() or ["  no mirror is given"])]
    known = [] if size is None else [f"{size:,} bytes"]
    known += [f"sha256 {sha256}"] if sha256 else []
    known += [f"md5 {md5}"] if md5 else []
    lines.append(f"A copy can be put there by hand: {target.path}" + f" ({', '.join(known)})" * bool(known))
    raise DownloadError("\n".join(filter(None, [*lines, _kept(target), advice])))


def origin(path: Path) -> str:
    """Return the address from which a file was downloaded, its path where it came in another way."""
    try:
        found = re.search(r"^# from (\S+)$", path.with_name(f"{path.name}.sha256").read_text("utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        found = None
    return found[1] if found else str(path)


def through(mirror: str) -> str:
    """Return which proxy the environment puts between us and a mirror, as words to append to a message, or nothing."""
    if not mirror.lower().startswith(("http://", "https://")):
        return ""
    proxy = requests.utils.select_proxy(mirror, requests.utils.get_environ_proxies(mirror))
    return f" (through the proxy {public(proxy)}, from the environment)" if proxy else ""


def _present(target: Target) -> Path:
    """Return the path of a file that is there, or raise DownloadError saying what is wrong with it."""
    size, sha256, unwanted = target.size, target.sha256, str(target.path)
    note = target.beside(".sha256")
    try:
        if sha256 is None and note.exists():
            recorded = re.match(r"(# (\d{1,18}) bytes\n)?([0-9a-f]{64}) ", note.read_text("utf-8", "replace"))
            if not recorded:
                raise DownloadError(f"{note} holds no checksum. Delete it, then run the command again.")
            size = int(recorded[2]) if size is None and recorded[1] else size
            written = ", written at its download" if recorded[1] else ""  # else by sha256sum, in somebody's folder
            sha256, unwanted = recorded[3], f"{unwanted} and {note.name}{written}"
        _check(replace(target, size=size, sha256=sha256), target.magic)
    except (Fault, OSError) as error:
        problem = error if isinstance(error, Fault) else f"it cannot be read ({error.strerror})"
        what = f"{target.path} is not as expected: {problem}."
        raise DownloadError(f"{what} Delete {unwanted}, then run the command again.") from None
    return target.path


def _check(target: Target, magic: bytes) -> str:
    """Return the sha256 of a file that begins with `magic`, or raise Fault if the file is not as expected."""
    path, size, sha256 = target.path, target.size, target.sha256
    if (found := path.stat().st_size) != size and (size is not None or found == 0):
        raise Fault(f"it has {found:,} bytes, expected {'more' if size is None else format(size, ',')}")
    with path.open("rb") as file:
        if not (head := file.read(4)).startswith(magic):
            raise Fault(f"it begins with {head!r}, expected {magic!r}")
        file.seek(0)
        if magic == MAGIC[".gz"] and _begins_with_gzip(file.read(1 << 16)):
            raise Fault("it is compressed twice")  # by a server that encodes what is compressed already
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 not in (None, digest):
        raise Fault(f"its sha256 is {digest}, expected {sha256}")
    if target.md5:
        with path.open("rb") as file:
            if (found_md5 := hashlib.file_digest(file, _md5).hexdigest()) != target.md5:
                raise Fault(f"its md5 is {found_md5}, expected {target.md5}")
    return digest


def _begins_with_gzip(compressed: bytes) -> bool:
    """Whether what is compressed is compressed itself; damage behind the beginning is found by whoever reads it."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(compressed, 2) == MAGIC[".gz"]
    except zlib.error:
        return False


def _md5() -> "hashlib._Hash":
    """md5 where it is the checksum that a source publishes; a system under FIPS rules allows it for this."""
    return hashlib.md5(usedforsecurity=False)


def _from_folder(target: Target, mirror: str) -> Path:
    """Return the path of the file in a local folder, after verification."""
    if mirror.lower().startswith("file://"):
        folder = Path(url2pathname(urlsplit(mirror).path))
    elif not mirror or "://" in mirror:
        raise Fault("not a mirror, expected an http://, https:// or file:// URL or a folder")
    else:
        folder = Path(mirror).expanduser()
    local = replace(target, path=folder / target.path.name)
    if not os.path.exists(local.path):
        raise Fault(f"no file {local.path}")
    try:
        return _present(local)
    except DownloadError as error:
        raise Fault(str(error)) from None


def _from_index(target: Target, page: str, others: Sequence[str], timeout: float, started: set[str]) -> Path:
    """Download from the first address that a page links to and that can give the file; `others` were asked already."""
    failures, progress = [], False
    for url in linked(page, target.path.name, timeout):
        if url.rpartition("/")[0] in [other.rstrip("/") for other in others]:
            failures.append(f"it links to {public(url)}, asked before")
            continue
        try:
            return _from_server(target, url, timeout, started)
        except Fault as fault:
            failures.append(f"{public(url)}: {fault}")
            progress |= fault.progress
    raise Fault("; ".join(failures), progress=progress)


def _from_server(target: Target, url: str, timeout: float, started: set[str]) -> Path:
    """Download, verify and publish, one process at a time."""
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.beside(".lease"), _say_waiting):
            if target.path.exists():  # another process has finished in the meantime
                return _present(target)
            return _publish(target, _download(target, url, timeout, started), url)
    except OSError as error:
        raise DownloadError(f"{cannot_write(target.path, error)} {_kept(target)}".rstrip()) from error


def _say_waiting(holder: str) -> None:
    print(f"waiting for {holder}, which downloads the file", file=sys.stderr, flush=True)


def _publish(target: Target, part: Path, url: str) -> Path:
    """Verify the finished part and give it its final name; a wrong part is removed."""
    try:
        digest = _check(replace(target, path=part), target.magic)
    except Fault as fault:
        part.with_name(part.name + ".json").unlink(missing_ok=True)
        part.unlink()
        raise Fault(f"delivers a wrong file: {fault}") from None
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    # The checksum goes first, so that a file with its final name always has one.
    note = f"# {part.stat().st_size} bytes\n{digest}  {target.path.name}\n# from {public(url)}\n"
    target.beside(".sha256").write_text(note, "utf-8")
    os.replace(part, target.path)
    part.with_name(part.name + ".json").unlink(missing_ok=True)
    for other in parts_of(target):
        other.discard()
    return target.path


def _download(target: Target, url: str, timeout: float, started: set[str]) -> Path:
    """Return the path of a whole part from one server, going on where a connection broke."""
    progress, idle = False, 0
    with requests.Session() as session:
        session.max_redirects = 10
        # "identity": the bytes of the file itself; a server must not compress, nor a library decompress a .gz
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "dien-bench"})
        for attempt in range(MOST_TRIES):
            try:
                return receive(target, url, session, timeout, started)
            except Fault as fault:
                progress |= fault.progress
                idle = 0 if fault.progress else idle + 1
                if fault.pause is None or idle == TRIES or attempt == MOST_TRIES - 1:
                    raise Fault(str(fault), progress=progress) from fault
                time.sleep(fault.pause)
    raise AssertionError("the last try returns or raises")


def _kept(target: Target) -> str:
    parts = parts_of(target)
    return f"{parts[0].offset:,} bytes are kept in {parts[0].path}; the next try goes on there." if parts else ""
