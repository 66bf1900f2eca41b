"""Which of a list of sources answers, and pages of links as mirrors; servers on 127.0.0.1 that misbehave."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from datamodules.files.answers import RemoteFile, ask
from datamodules.files.download import fetch
from datamodules.files.index_page import linked
from datamodules.files.mirrors import obtain
from datamodules.files.transfer import Fault
from tests.datamodules.files import test_download
from tests.datamodules.files.test_download import (
    CONTENT,
    NAME,
    OTHER,
    SIZE,
    Answer,
    Handler,
    Server,
    failure,
    hang,
    redirect,
    reply,
    serve,
    without_length,
)

server, pauses = test_download.server, test_download.pauses  # fixtures


def first_bytes(total: str = str(SIZE)) -> Answer:
    """Answer as a good server does that is asked for bytes 0 to 3."""

    def answer(handler: Handler) -> None:
        assert handler.headers["Range"] == "bytes=0-3"
        handler.start(206, {"Content-Length": 4, "Content-Range": f"bytes 0-3/{total}"})
        handler.wfile.write(CONTENT[:4])

    return answer


@pytest.mark.parametrize(
    ("answer", "answers", "says"),
    [
        (first_bytes(), True, f"{SIZE:,} bytes, the size that it should have"),
        (reply(), True, f"{SIZE:,} bytes, the size that it should have"),  # it knows no ranges
        (first_bytes("*"), True, "of unknown length"),
        (without_length(CONTENT), True, "of unknown length"),
        (first_bytes("7"), False, f"has a file of 7 bytes, expected {SIZE:,}"),
        (reply(OTHER[:50]), False, "has a file of 50 bytes"),
        (reply(b"<html>moved</html>"), False, "begins with b'<htm', expected"),
        (reply(b""), False, "empty file"),
        (reply(b"", 404), False, "404"),
        (reply(b"", 503, Retry_After=3600), False, "503"),
        (redirect("/a/x"), False, "redirects"),
        (hang(), False, "timed out"),
        (hang(0), False, "timed out"),
        (lambda handler: None, False, "closed connection without response"),
    ],
)
def test_what_a_server_says(server: Server, answer: Answer, answers: bool, says: str) -> None:
    found = ask(RemoteFile(NAME, (), SIZE), server.mirror("a", answer), timeout=0.3)
    assert (found.answers, found.file) == (answers, NAME)
    assert says in found.says


def test_nobody_listens_and_folders(tmp_path: Path) -> None:
    assert not ask(RemoteFile(NAME, ()), "http://127.0.0.1:9/").answers
    assert not ask(RemoteFile(NAME, ()), str(tmp_path)).answers
    (tmp_path / NAME).write_bytes(CONTENT)
    for source in (str(tmp_path), tmp_path.as_uri()):
        assert ask(RemoteFile(NAME, (), SIZE), source).says == f"{SIZE:,} bytes, the size that it should have"
    assert "password" not in ask(RemoteFile(NAME, ()), "http://me:password@127.0.0.1:9/").source


def page(*links: str) -> Answer:
    text = "".join(f'<a class="x" HREF = "{link}">file</a>\n' for link in links)
    return reply(text.encode(), Content_Type="text/html")


def test_a_page_of_links_leads_to_the_file(server: Server, tmp_path: Path) -> None:
    good = server.mirror("good", serve())
    index = "index:" + server.mirror("page", page("ftp://x/" + NAME, f"/gone/{NAME}", "#top", good + NAME, "other.gz"))
    server.mirror("gone", reply(b"", 404))
    assert linked(index.removeprefix("index:"), NAME, 1.0) == [f"{good[:-5]}gone/{NAME}", good + NAME]
    assert fetch(NAME, [index], tmp_path).read_bytes() == CONTENT


def test_a_page_without_the_file_and_a_file_that_is_wrong(server: Server, tmp_path: Path) -> None:
    bare = "index:" + server.mirror("bare", page("https://example.org/x"))
    assert "the page has no link to the file" in failure(bare, folder=tmp_path)
    wrong = server.mirror("wrong", reply(OTHER, ETag='"x"'))
    index = "index:" + server.mirror("page", page(wrong + NAME))
    message = failure(wrong, index, folder=tmp_path, size=SIZE + 1)
    assert "asked before" in message
    with pytest.raises(Fault, match="404"):
        linked(server.mirror("none", reply(b"", 404)), NAME, 1.0)


def test_every_name_of_a_file_is_looked_for_on_a_page(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = page(server.mirror("good", reply(b"a,b\n")) + "log.csv")
    monkeypatch.setenv("DATA_MIRROR", "index:" + server.mirror("page", index))
    found = obtain(("log",), (".csv.gz", ".csv"), (), tmp_path)
    assert (found.name, found.read_bytes()) == ("log.csv", b"a,b\n")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (reply(b"<a href=x>", Content_Length=500), "the page cannot be read: IncompleteRead"),
        (reply(b"<a href=x>", Content_Encoding="gzip"), "the page cannot be read: Error -3"),
        (hang(3), "the page cannot be read: Read timed out"),
        (page("http://[bad/x"), "the page has no link to the file"),
    ],
)
def test_a_page_that_breaks_off_gives_way_to_the_next_mirror(
    server: Server, tmp_path: Path, answer: Answer, says: str
) -> None:
    index = "index:" + server.mirror("page", answer)
    found = ask(RemoteFile(NAME, (), SIZE), index, timeout=0.3)
    assert not found.answers
    assert says in found.says
    assert says in failure(index, folder=tmp_path, timeout=0.3)
    assert fetch(NAME, [index, server.mirror("good", serve())], tmp_path, timeout=0.3).read_bytes() == CONTENT


def test_mirrors_are_tried_in_order_until_one_has_the_right_file(server: Server, tmp_path: Path) -> None:
    """With an md5 the name's ending is no matter: the archives of Books are bzip2 and called .tar.gz."""
    content = b"BZh9 is bzip2, whatever the name says"
    mirrors = [
        server.mirror("down", reply(b"", 500)),
        server.mirror("wrong", reply(OTHER)),
        server.mirror("good", reply(content)),
    ]
    md5 = hashlib.md5(content).hexdigest()
    assert fetch("data.tar.gz", mirrors, tmp_path, md5=md5).read_bytes() == content
    assert [path.split("/")[1] for path, _ in server.requests][-1] == "good"


def test_prepare_check_says_which_source_answers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = server.mirror("good", first_bytes("99")), server.mirror("bad", reply(b"", 404))
    command = ["prepare", "books-released", "--check", "--json", "--data-dir", str(tmp_path)]
    done = CliRunner().invoke(app.app, [*command, "--mirror", bad, "--mirror", good])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [(one["file"], one["answers"]) for one in found] == [
        (f"{name}.tar.gz", good) for name in ("data", "data1", "data2") for good in (False, True)
    ]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("DATA_MIRROR", f"{bad} {tmp_path}")
    done = CliRunner().invoke(app.app, command)
    assert done.exit_code != 0
    assert "no source has data.tar.gz, data1.tar.gz, data2.tar.gz" in str(done.exception or done.output)
