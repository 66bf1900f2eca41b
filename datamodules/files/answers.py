"""Whether a source has a file, as far as it says without sending it."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import requests
from urllib3.exceptions import HTTPError

from datamodules.files.index_page import PREFIX, linked
from datamodules.files.transfer import Fault, Target, get, head_of, length_of, public


@dataclass(frozen=True)
class RemoteFile:
    """A raw file of a data set: its name, where it is looked for in this order, and what is known of it."""

    name: str
    mirrors: tuple[str, ...]
    size: int | None = None  # bytes
    md5: str | None = None
    variable: str = "DATA_MIRROR"  # of the environment, that takes the place of the mirrors

    @property
    def sources(self) -> tuple[str, ...]:
        """Where it is looked for now."""
        own = os.environ.get(self.variable, "").strip()
        return several(own) if own else self.mirrors


@dataclass(frozen=True)
class Answer:
    """What one source says about one file."""

    file: str
    source: str
    answers: bool
    says: str


def several(text: str) -> tuple[str, ...]:
    """The sources that a text names: one folder or URL, or several of them with spaces in between.

    >>> several("https://a.org/x http://b.org")
    ('https://a.org/x', 'http://b.org')
    >>> several("/data/my files")
    ('/data/my files',)
    """
    words = text.split()
    urls = [word.lower().startswith(("http://", "https://", "file://", PREFIX)) for word in words]
    apart = not os.path.isdir(text) and all(url or os.path.isdir(word) for url, word in zip(urls, words, strict=True))
    return tuple(words) if apart else (text,)


def ask(file: RemoteFile, source: str, timeout: float = 10.0) -> Answer:
    """Ask a source for the first bytes of a file; one that sends another size or beginning does not count."""
    target = Target(Path(file.name), file.size, None, file.md5)
    try:
        size = _ask(target, source, timeout)
        if size is not None and file.size not in (None, size):
            raise Fault(f"has a file of {size:,} bytes, expected {file.size:,}")
        if size == 0:
            raise Fault("has an empty file")
    except Fault as fault:
        return Answer(file.name, public(source), False, str(fault))
    length = "of unknown length" if size is None else f"{size:,} bytes"
    checked = "the size that it should have" if file.size else ""
    later = "its md5 is verified after the download" if file.md5 else ""
    return Answer(file.name, public(source), True, ", ".join(filter(None, (length, checked, later))))


def _ask(target: Target, source: str, timeout: float) -> int | None:
    """The size of the file that a source has, None where it does not say; raises `Fault` where it has none."""
    if source.startswith(PREFIX):
        failures = []
        for address in linked(source.removeprefix(PREFIX), target.path.name, timeout):
            try:
                return _ask_server(target, address, timeout)
            except Fault as fault:
                failures.append(f"{public(address)}: {fault}")
        raise Fault("links to " + "; ".join(failures))
    if source.lower().startswith(("http://", "https://")):
        return _ask_server(target, f"{source.rstrip('/')}/{quote(target.path.name)}", timeout)
    folder = Path(url2pathname(urlsplit(source).path)) if source.lower().startswith("file://") else Path(source)
    path = folder.expanduser() / target.path.name
    if not os.path.isfile(path):
        raise Fault(f"no file {path}")
    return path.stat().st_size


def _ask_server(target: Target, url: str, timeout: float) -> int | None:
    with requests.Session() as session:
        session.max_redirects = 10
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "dien-bench", "Range": "bytes=0-3"})
        with get(session, url, None, timeout) as response:
            if response.status_code not in (200, 206):
                raise Fault(f"{response.status_code} {response.reason}".strip())
            try:
                head_of(response, target)
            except (OSError, HTTPError) as error:
                raise Fault(f"breaks off: {error}") from None
            return length_of(response)
