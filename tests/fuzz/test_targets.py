"""Mutated inputs for every reader: sound ones with bits flipped, pieces cut, moved and put in. See README.md."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

PIECES = [
    b"\0",
    b"\xff" * 8,
    b"\n",
    b'"',
    b"'",
    b"{",
    b"]",
    b",",
    b"-",
    b"1" * 30,
    b"9" * 5000,
    b"[" * 3000,
    b"1e999",
    b"NaN",
]
SLOW = {"interactions", "wheel", "tafeng-csv", "manifest", "predictions"}  # tens of milliseconds an input

spots = st.integers(0, 1 << 16)  # of the input, modulo its length
cut = st.tuples(st.just("cut"), spots, st.integers(1, 64))
flip = st.tuples(st.just("flip"), spots, st.integers(0, 7))
put = st.tuples(st.just("put"), spots, st.sampled_from(PIECES) | st.binary(min_size=1, max_size=8))
copy = st.tuples(st.just("copy"), spots, spots)
end = st.tuples(st.just("end"), spots, st.none())


def mutated(content: bytes, changes: list[tuple[str, int, object]]) -> bytes:
    """Return the content after the changes, one after the other."""
    for kind, spot, how in changes:
        at = spot % max(len(content), 1)
        match kind, how:
            case "cut", int(length):
                content = content[:at] + content[at + length :]
            case "flip", int(bit):
                content = content[:at] + bytes(byte ^ (1 << bit) for byte in content[at : at + 1]) + content[at + 1 :]
            case "put", bytes(piece):
                content = content[:at] + piece + content[at:]
            case "copy", int(target):
                place = target % max(len(content), 1)
                content = content[:place] + content[at : at + 64] + content[place:]
            case "end", None:
                content = content[:at]
    return content


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_read_or_refused(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()

    @settings(max_examples=20 if name in SLOW else 100, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(seeds), st.lists(flip | flip | cut | put | copy | end, max_size=5))
    def check(seed: bytes, changes: list[tuple[str, int, object]]) -> None:
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, about bytes that are then refused
            target.check(mutated(seed, changes), Path(folder))

    for seed in seeds:
        with TemporaryDirectory() as folder:
            target.check(seed, Path(folder))
    check()
