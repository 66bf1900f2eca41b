"""What the compiled scanner finds in a line is what orjson and `ast.literal_eval` find there, whatever the line."""

import ast
import json
import warnings

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamodules.sources.plain_lines import ABSENT, DEEPEST, INTEGER, OTHER, STEP, TEXT, Language, find_fields

NAMES = ("asin", "time", "categories")


def parse(line: bytes, language: Language) -> object:
    """Parse in full, by somebody else's parser; raises ValueError or SyntaxError."""
    if language == "json":
        return orjson.loads(line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(line.decode().strip())


def found(line: bytes, language: Language = "json") -> dict[str, object] | None:
    """Return the wanted fields as the scanner sees them, None if it leaves the line to a full parser."""
    lines = find_fields(line + b"\n", NAMES, language)
    assert lines.line(0) == line + b"\n"
    fields: dict[str, object] = {}
    for field, name in enumerate(NAMES):
        kind = lines.kinds[0, field]
        if kind == ABSENT:
            continue
        (text,) = lines.texts(field, np.array([0])).to_pylist()
        fields[name] = text if kind == TEXT else int(text) if kind == INTEGER else parse(text.encode(), language)
        assert kind != TEXT or text
    return fields or None


def wanted(line: bytes, language: Language) -> dict[str, object]:
    value = parse(line, language)
    assert isinstance(value, dict)
    return {name: value[name] for name in NAMES if name in value}


def agrees(line: bytes, language: Language) -> None:
    fields = found(line, language)
    if fields is not None:
        assert repr(fields) == repr(wanted(line, language))  # 1, 1.0 and True are equal, but not the same


keys = st.sampled_from([*NAMES, "a", "", "asin ", "Asin", 'as"in', "t\\ime", "naïve"]) | st.text(max_size=STEP + 5)
numbers = st.integers() | st.floats() | st.integers(0, 2**33) | st.sampled_from([10**17, 10**18, -0.0, 1e300])
texts = st.text(max_size=3 * STEP) | st.text("ab'\"\\/\n\u2019\ud7ff\U0001f600 {}[]:,", max_size=2 * STEP)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
pairs = st.lists(st.tuples(keys, values), max_size=6)  # a key may come twice
ends = st.sampled_from(["", "\r", " ", "\t", "  \r", ",", "}", "x"])
SYNTAX = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "'",
    "\\",
    " ",
    "-",
    ".",
    "0",
    "1",
    "e",
    "u",
    "x",
    "d8",
    "00",
    "a",
    "\r",
    "\t",
]
pieces = st.lists(st.sampled_from([*SYNTAX, '"asin"', "'time'", '"\\u00e9"', "é", "\0", "\x7f"]), max_size=12)


@settings(max_examples=400, deadline=None)
@given(pairs, st.booleans(), st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]), ends)
def test_json_objects(pairs: list[tuple[str, object]], ascii_only: bool, separators: tuple[str, str], end: str) -> None:
    def dump(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=separators)

    line = "{" + separators[0].join(dump(key) + separators[1] + dump(value) for key, value in pairs) + "}" + end
    try:
        parse(line.encode(), "json")
    except (ValueError, UnicodeEncodeError):
        assert found(line.encode("utf-8", "replace")) is None
    else:
        agrees(line.encode(), "json")


@settings(max_examples=400, deadline=None)
@given(pairs, ends)
def test_python_literals(pairs: list[tuple[str, object]], end: str) -> None:
    line = ("{" + ", ".join(f"{key!r}: {value!r}" for key, value in pairs) + "}" + end).encode("utf-8", "replace")
    try:
        parse(line, "python")
    except (ValueError, SyntaxError, TypeError):
        assert found(line, "python") is None
    else:
        agrees(line, "python")


@pytest.mark.parametrize("language", ["json", "python"])
@settings(max_examples=500, deadline=None)
@given(pieces, pieces, st.sampled_from(['{"asin": "B1", "x": %s}%s', '{"asin": "%s", "time": 1%s}', '%s{"asin": 1%s}']))
@example(["1"], [","], '{"asin": "B1", "x": %s}%s')
@example(['"', "a", '"', " ", '"', "a", '"'], [], '{"asin": "B1", "x": %s}%s')
def test_any_piece_of_syntax(language: Language, first: list[str], second: list[str], frame: str) -> None:
    line = (frame % ("".join(first), "".join(second))).encode()
    if found(line, language) is not None:
        agrees(line, language)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_byte_changed(data: st.DataObject) -> None:
    line = bytearray(b'{"asin": "B1", "text": "it\'s \\"\\u2019\\\\", "n": [1, -2.5, {"asin": []}], "time": 12}')
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255).filter(lambda byte: byte != 10))
    for language in ("json", "python"):
        if found(bytes(line), language) is not None:
            agrees(bytes(line), language)


PLAIN = [
    ('{"asin": "B1", "time": 12}', {"asin": "B1", "time": 12}),
    ('{"asin":"B1","time":0}\r', {"asin": "B1", "time": 0}),
    ('{ "x" : { "asin" : "no" , "l": [ [ ] , { } ] } , "asin" : "B1" } ', {"asin": "B1"}),
    ('{"asin": "old", "asin": "B1", "time": 1, "time": [2, {"time": 3}]}', {"asin": "B1", "time": [2, {"time": 3}]}),
    (
        '{"asin": "", "time": -1, "categories": [["a", "b"], []]}',
        {"asin": "", "time": -1, "categories": [["a", "b"], []]},
    ),
    ('{"asin": "tab\\t", "time": 1.50, "x": 123456789012345678}', {"asin": "tab\t", "time": 1.5}),
    ('{"x": "' + "y" * 5 * STEP + '\\\\", "asin": "B' + "1" * STEP + '"}', {"asin": "B" + "1" * STEP}),
]


@pytest.mark.parametrize("language", ["json", "python"])
@pytest.mark.parametrize(("line", "fields"), PLAIN)
def test_plain_lines_are_read(line: str, fields: dict[str, object], language: Language) -> None:
    assert found(line.encode(), language) == fields


def test_escapes_of_each_language() -> None:
    json_line = rb'{"text": "\"\\\/\b\f\n\r\t\u2019\uD7ff\ue000", "asin": "B1"}'
    assert found(json_line) == wanted(json_line, "json") == {"asin": "B1"}
    assert found(json_line, "python") is None
    python_line = rb"""{'text': '\'\"\\\n\r\t\xe2\xFF "', "asin": "B1's", 'x': "it's"}"""
    assert found(python_line, "python") == wanted(python_line, "python") == {"asin": "B1's"}
    assert found(python_line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  ",
        b"[1]",
        b"{",
        b'{"asin": "B1"',
        b'{"asin": "B1}',
        b'{"asin": "B1",}',
        b'{"asin": "B1"}}',
        b'{"asin": "B1", "x": 01}',
        b'{"asin": "B1", "x": 1.}',
        b'{"asin": "B1", "x": .5}',
        b'{"asin": "B1", "x": -}',
        b'{"asin": "B1", "x": 1e5}',
        b'{"asin": "B1", "x": 1234567890123456789}',
        b'{"asin": "B1", "x": nan}',
        b'{"asin": "B1", "x": "\xc3\xa9"}',
        b'{"asin": "B1", "x": "\\ud83d\\ude00"}',
        b'{"\\u0061sin": "B2", "asin": "B1"}',
        b'{"asin": "B1", "x": "\\q"}',
        b'{"asin": "B1", "x": "\\u12g4"}',
        b'{"asin": "B1", "x": "\x00"}',
        b'{"asin" "B1"}',
        b'{"asin": "B1" "C"}',
        b'{"asin": [1, 2}}',
        b'{"asin": {"a": 1]}',
        b'{"asin": {"a"}}',
        b"\xef\xbb\xbf{}",
        b' {"asin": 1}',
    ],
)
def test_other_lines_are_left_to_a_full_parser(line: bytes) -> None:
    assert found(line) is None
    assert found(line, "python") is None


@pytest.mark.parametrize("language", ["json", "python"])
def test_nesting(language: Language) -> None:
    for opening, closing in (("[", "]"), ('{"asin": ', "}")):
        for depth, plain in ((DEEPEST - 1, True), (DEEPEST, False), (10 * DEEPEST, False)):
            line = ('{"asin": ' + opening * depth + "1" + closing * depth + "}").encode()
            assert (found(line, language) is not None) == plain
            if plain:
                agrees(line, language)


def test_lines_of_a_block_are_told_apart() -> None:
    block = b'{"asin": "B1"}\n\nnot plain\n{"time": 7, "asin": ""}\r\n{"asin": "\n"}\n'
    lines = find_fields(block, NAMES, "json")
    assert [lines.line(row) for row in range(len(lines.ends))] == block.splitlines(keepends=True)
    assert lines.kinds.tolist() == [[TEXT, 0, 0], [0] * 3, [0] * 3, [OTHER, INTEGER, 0], [0] * 3, [0] * 3]
    assert lines.texts(0, np.array([3, 0])).to_pylist() == ['""', "B1"]
    assert lines.texts(0, np.array([], np.int64)).to_pylist() == []
    assert find_fields(b"\n", NAMES, "json").kinds.shape == (1, 3)
    with pytest.raises(ValueError, match="does not end with a newline"):
        find_fields(b"{}", NAMES, "json")
