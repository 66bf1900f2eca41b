"""Every file is read and written as UTF-8, whatever the machine's locale is: the source of the packages is parsed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.runs.identity import syntax_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("baselines", "benchmark", "datamodules")
PLACE = {"read_text": 0, "write_text": 1}  # where these take their encoding, if not by name
OPENING = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"}
PROCESSES = {"run", "Popen", "check_output", "check_call", "call"}  # of subprocess


def by_locale(source: str) -> Iterator[int]:
    """Yield the lines of calls that read or write text in the encoding of the locale."""
    for node in ast.walk(syntax_of(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        constants = [value.value for value in (*node.args, *given.values()) if isinstance(value, ast.Constant)]
        modes = [text for text in constants if isinstance(text, str) and set(text) <= set("rwaxbt+")]
        if name in PLACE:
            text = len(node.args) <= PLACE[name]
        elif name in OPENING:
            by_default = name == "open" and (isinstance(called, ast.Name) or not node.args)  # zipfile's is binary
            text = any("b" not in mode for mode in modes) if modes else by_default
        else:
            text = name in PROCESSES and bool({"text", "universal_newlines"} & given.keys())
        if text and "encoding" not in given and "fileobj" not in given:  # tarfile's is binary
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.read_text()", True),
        ('path.read_text("utf-8")', False),
        ("path.write_text(text)", True),
        ('path.write_text(text, encoding="utf-8")', False),
        ("open(path)", True),
        ('open(path, "w")', True),
        ('open(path, "rb")', False),
        ('path.open("a")', True),
        ("path.open()", True),
        ('path.open("rb+")', False),
        ('path.open(mode="w", encoding="utf-8")', False),
        ("archive.open(name)", False),  # of zipfile, binary
        ('gzip.open(path, "rt")', True),
        ('tarfile.open(fileobj=file, mode="r|")', False),
        ('NamedTemporaryFile("w")', True),
        ("TemporaryFile(dir=out)", False),
        ("subprocess.run(command, text=True)", True),
        ('subprocess.run(command, text=True, encoding="utf-8")', False),
        ("subprocess.run(command)", False),
    ],
)
def test_text_in_the_encoding_of_the_locale_is_found(source: str, found: bool) -> None:
    assert bool(list(by_locale(source))) == found


def test_all_text_is_utf_8() -> None:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = [f"{path.relative_to(ROOT)}:{line}" for path in paths for line in by_locale(path.read_text("utf-8"))]
    assert found == []
