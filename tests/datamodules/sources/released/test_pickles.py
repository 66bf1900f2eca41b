"""Vocabularies as Python 2 pickles them, against `pickle` itself, and pickles that are something else."""

import io
import pickle
import random

import pytest

from datamodules.sources.released.pickles import read_vocabulary
from tests.datamodules.sources.released.made_up import pickled

KEYS = [b"plain", b"it's", b'"', b"both ' and \"", b"back\\slash", b"caf\xc3\xa9", b"\xff\x00\n\r\t", b"", b"x" * 300]
NUMBERS = [0, 1, 255, 256, 65_535, 65_536, 2**31 - 2, 7, 42]
WANTED = dict(zip(KEYS, NUMBERS, strict=True))
UNICODE = {key.decode("latin-1"): number for key, number in WANTED.items()}


class Refusing(pickle.Unpickler):
    """Python's own unpickler without names: what it makes of bytes is made of plain values."""

    def find_class(self, module: str, name: str) -> object:
        raise ValueError(f"{module}.{name}")


def reference(content: bytes) -> object:
    found = Refusing(io.BytesIO(content), encoding="bytes").load()
    assert type(found) is dict
    return {key.encode() if isinstance(key, str) else key: number for key, number in found.items()}


@pytest.mark.parametrize("puts", [True, False])
def test_what_python_2_wrote_is_read_as_pickle_reads_it(puts: bool) -> None:
    content = pickled(WANTED, puts=puts)
    assert read_vocabulary(content) == WANTED == reference(content)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_unicode_keys_of_every_protocol_become_utf_8(protocol: int) -> None:
    content = pickle.dumps(UNICODE, protocol)
    assert read_vocabulary(content) == {key.encode(): number for key, number in UNICODE.items()} == reference(content)


def test_strings_of_protocols_1_and_2_longs_and_the_memo() -> None:
    short = b"}q\x01(U\x01aq\x02K\x05T\x02\x00\x00\x00bbr\x03\x00\x00\x00J\x07\x00\x00\x00u."
    assert read_vocabulary(short) == reference(short) == {b"a": 5, b"bb": 7}
    memo = b"\x80\x02}(U\x01aL12L\nU\x01b\x8a\x02\x10\x27u."
    assert read_vocabulary(memo) == reference(memo) == {b"a": 12, b"b": 10_000}
    again = b"(dp1\nS'a'\nI300\np2\nsS'b'\ng2\ns."
    assert read_vocabulary(again) == reference(again) == {b"a": 300, b"b": 300}
    assert read_vocabulary(b"(d.") == {}


HOSTILE = {
    "a call": b"cos\nsystem\n(S'true'\ntR.",
    "a call inside": b"(dp1\nS'a'\ncos\ngetcwd\n(tRs.",
    "an instance": b"(ios\nsystem\n.",
    "built": b"(d(dS'x'\nI1\nsb.",
    "a list": b"(lp1\nI1\na.",
    "a list in it": b"(dS'a'\n(lp1\ns.",
    "a dict in it": b"(dS'a'\n(ds.",
    "a float": b"(dS'a'\nF1.5\ns.",
    "a truth": b"(dS'a'\nI01\ns.",
    "None": b"(dS'a'\nNs.",
    "text for text": b"(dS'a'\nS'b'\ns.",
    "a number for a number": b"(dI1\nI2\ns.",
    "below 0": b"(dS'a'\nI-1\ns.",
    "below 0 in bytes": b"}U\x01aJ\xff\xff\xff\xffs.",
    "too large": b"(dS'a'\nI2147483647\ns.",
    "digits for hours": b"(dS'a'\nI" + b"9" * 10_000_000 + b"\ns.",
    "a key twice": b"(dS'a'\nI1\nsS'a'\nI2\ns.",
    "something behind": b"(d.(d.",
    "no dict": b"S'a'\n.",
    "nothing": b"",
    "an odd number": b"}(U\x01au.",
    "a place never filled": b"(dg7\n.",
    "a place beyond all": b"(dr\xff\xff\xff\xff.",
    "a persistent id": b"(dPx\ns.",
    "an extension": b"\x80\x02\x82\x01.",
    "protocol 4": pickle.dumps({"a": 1}, 4),
    "memory asked for": b"}T\xff\xff\xff\x7fa.",
    "a quote that stays open": b"(dS'a\nI1\ns.",
    "a wrong escape": b"(dS'\\x'\nI1\ns.",
    "half a character": b"(dV\\ud800\nI1\ns.",
    "json": b'{"a": 1}',
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_dict_from_text_to_int_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_vocabulary(content)


def test_a_vocabulary_cut_short_anywhere_is_refused() -> None:
    for content in (pickled(WANTED), pickle.dumps(UNICODE, 2)):
        for end in range(len(content)):
            with pytest.raises(ValueError, match=r"\w"):
                read_vocabulary(content[:end])


def test_what_mutants_are_read_as_is_what_pickle_reads() -> None:
    rng, read = random.Random(0), 0
    seeds = [pickled(WANTED), pickled(WANTED, puts=False), *(pickle.dumps(UNICODE, protocol) for protocol in (0, 1, 2))]
    for _ in range(4_000):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.choice(b"SVIKMJUXTLdsu}(.pqrghj'\"\\0n1\n\x00\x01\xff")
        try:
            found = read_vocabulary(bytes(content))
        except ValueError:
            continue
        assert found == reference(bytes(content))
        read += 1
    assert read > 200
