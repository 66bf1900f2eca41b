"""Samples on disk: they come back to the bit, and whatever changed the file is noticed, the header included."""

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets import DATASETS
from datamodules.errors import UserError
from datamodules.files.manifest import MANIFEST
from datamodules.interactions import TABLE, load_interactions, write_interactions
from datamodules.protocol import OF_INTERACTIONS, PROTOCOLS, get_protocol
from datamodules.samples import Samples, arrays_of, make_samples, with_digest
from datamodules.samples import file as samples_file
from datamodules.samples.file import load_samples, prepare_samples, save_samples
from datamodules.sources.generated import generate_interactions


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Samples]:
    """Samples of one small table under every protocol."""
    folder = tmp_path_factory.mktemp("data") / "generated"
    write_interactions(generate_interactions(users=40, items=30, categories=5), DATASETS["generated"], folder)
    return {name: make_samples(load_interactions(folder), get_protocol(name)) for name in OF_INTERACTIONS}


def same(one: Samples, other: Samples) -> bool:
    ours, theirs = arrays_of(one), arrays_of(other)
    about = [(s.protocol, s.order_within_time, s.sha256) for s in (one, other)]
    return (about[0], list(ours)) == (about[1], list(theirs)) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True)
    )


def members_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)


def header_of(path: Path, **changes: object) -> dict[str, np.ndarray]:
    """The members of a file with changes in its header."""
    members = members_of(path)
    header = json.loads(str(members["header"]))
    header = {name: value for name, value in (header | changes).items() if value is not None}
    return members | {"header": np.array(json.dumps(header))}


@pytest.mark.parametrize("name", list(OF_INTERACTIONS))
def test_disk_keeps_every_array(name: str, sound: dict[str, Samples], tmp_path: Path) -> None:
    for order in (True, False):
        samples = replace(sound[name], order_within_time=order)
        save_samples(samples, tmp_path / "samples.npz")
        assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]
        assert same(load_samples(tmp_path / "samples.npz"), samples)


def test_a_bit_that_flipped_anywhere_changes_no_sample(sound: dict[str, Samples], tmp_path: Path) -> None:
    """Each bit of a file matters to its samples, and is noticed, or does not, as a date in a zip file."""
    path = tmp_path / "samples.npz"
    save_samples(sound["clean"], path)
    content = path.read_bytes()
    refused = 0
    places = np.random.default_rng(0).integers(0, len(content), 250).tolist() + list(
        range(len(content) - 250, len(content))
    )
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            loaded = load_samples(path)
        except UserError:
            refused += 1
        else:
            assert same(loaded, sound["clean"])
    assert refused > 300


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_file_cut_short(share: float, sound: dict[str, Samples], tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    save_samples(sound["clean"], path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="delete it"):
        load_samples(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_samples(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 1}, "it has format 1, this is format 2"),
        ({"sampler_version": 0}, r"it was made by sampler version 0, this is version 1\): delete it, it is made again"),
        ({"sampler_version": None}, "'sampler_version'"),
        ({"sampler_version": 99}, "it was made by sampler version 99, this is version 1"),
        ({"protocol": None}, "'protocol'"),
        ({"protocol": {"name": "clean"}}, "its protocol is not what clean is here"),
        ({"protocol": {"name": "claen"}}, "its protocol is not what claen is here"),
        ({"protocol": {**vars(PROTOCOLS["clean"]), "max_history": 1000}}, "its protocol is not what clean is here"),
        ({"protocol": {**vars(PROTOCOLS["clean"]), "name": ["clean"]}}, "unhashable"),
        ({"sha256": "0" * 64}, "its hash differs"),
        ({"checksum": "0" * 64}, "its checksum differs"),
        ({"sha256": None}, "'sha256'"),
    ],
)
def test_an_edited_header(changes: dict[str, object], reason: str, sound: dict[str, Samples], tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    save_samples(sound["clean"], path)
    np.savez(path, **header_of(path, **changes))
    with pytest.raises(UserError, match=reason):
        load_samples(path)


def test_a_changed_sampler_does_not_reuse_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_samples("generated", "clean", tmp_path)
    monkeypatch.setattr(samples_file, "SAMPLER_VERSION", 2)
    with pytest.raises(UserError, match="made by sampler version 1, this is version 2"):
        prepare_samples("generated", "clean", tmp_path)


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("items", 0, 10**6, "numbers go beyond"),
        ("items", 0, -1, "numbers go beyond"),
        ("pool", 3, 31, "numbers go beyond"),
        ("offsets", 0, 1, "one behind the other"),
        ("offsets", -1, 10**9, "one behind the other"),
        ("offsets", 5, -1, "one behind the other"),
        ("train.user", 0, 40, "numbers go beyond"),
        ("test.item", 0, 0, "numbers go beyond"),
        ("test.end", 0, 10**9, "a history leaves its user"),
        ("test.end", 0, -1, "a history leaves its user"),
        ("test.begin", 0, -1, "a history leaves its user"),
        ("test.begin", 0, 10**9, "a history leaves its user"),
        ("validation.label", 0, 1, "one negative and one positive"),
    ],
)
def test_arrays_that_lead_outside_are_refused_under_a_right_checksum(
    name: str, place: int, value: int, reason: str, sound: dict[str, Samples], tmp_path: Path
) -> None:
    """As somebody makes them who computes the checksum anew; compiled code would read outside of its arrays."""
    path = tmp_path / "samples.npz"
    samples = sound["clean"]
    split, _, field = name.rpartition(".")
    array = getattr(getattr(samples, split), field).copy() if split else getattr(samples, name).copy()
    array[place] = value
    changed = replace(getattr(samples, split), **{field: array}) if split else array
    bad = replace(samples, **{split or name: changed})
    save_samples(with_digest(bad), path)
    with pytest.raises(UserError, match=reason):
        load_samples(path)


def test_other_types_and_lengths_are_refused(sound: dict[str, Samples], tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    for changes, reason in (
        ({"items": sound["clean"].items.astype(np.int64)}, "another type"),
        ({"pool": sound["clean"].pool[None]}, "another type or shape"),
        ({"test": replace(sound["clean"].test, user=sound["clean"].test.user[:-1])}, "of a split have other lengths"),
        ({"test": sound["clean"].test.take(np.arange(3))}, "not pairs"),
        ({"times": sound["clean"].times[:-1]}, "no items or no times"),
        ({"profile": {"age": np.zeros(39, np.int32)}}, "fields of the users have other lengths"),
        ({"catalogue_rank": sound["clean"].catalogue_rank[:-1]}, "fields of the items have other lengths"),
    ):
        bad = replace(sound["clean"], **changes)  # type: ignore[arg-type]
        save_samples(with_digest(bad), path)
        with pytest.raises(UserError, match=reason):
            load_samples(path)


class Ran(Exception):
    """Code in a file was run."""


class Bomb:
    """Raises `Ran` where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _explode, ("run",)


def _explode(text: str) -> None:
    raise Ran(text)


def test_nothing_in_a_file_is_run_and_nothing_hides_its_size(sound: dict[str, Samples], tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    save_samples(sound["clean"], path)
    members = members_of(path)
    np.savez(path, **members | {"items": np.array([Bomb()], object)})
    with pytest.raises(UserError, match="Object arrays cannot be loaded"):
        load_samples(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="cannot be read"):
        load_samples(path)
    np.savez_compressed(path, **members)
    with pytest.raises(UserError, match="compressed"):
        load_samples(path)
    with zipfile.ZipFile(path, "w") as file:  # a header of a few bytes that asks for eight terabytes
        for name in members:
            shape = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
            file.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00\x76\x00" + shape)
    with pytest.raises(UserError, match="cannot be read"):
        load_samples(path)


# In the place where a run looks for them


def test_samples_of_other_data_are_not_taken_for_these(tmp_path: Path, sound: dict[str, Samples]) -> None:
    prepare_samples("generated", "clean", tmp_path)
    (path,) = (tmp_path / "generated").glob("*.npz")
    save_samples(sound["clean"], path)
    with pytest.raises(
        UserError, match="holds 40 users and 30 items under clean, expected the generated data under cl"
    ):
        prepare_samples("generated", "clean", tmp_path)
    prepare_samples("generated", "aaai-2019", tmp_path)
    (other,) = (tmp_path / "generated").glob("aaai-2019*.npz")
    path.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match="under aaai-2019, expected the generated data under clean"):
        prepare_samples("generated", "clean", tmp_path)
    path.unlink()
    assert prepare_samples("generated", "clean", tmp_path).users == 300


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"reader_version": 1}', '{"reader_version": 0}'])
def test_a_damaged_manifest_beside_samples(content: str, tmp_path: Path) -> None:
    prepare_samples("generated", "clean", tmp_path)
    (tmp_path / "generated" / MANIFEST).write_text(content)
    with pytest.raises(UserError, match=r"Delete the folder .*generated and prepare the data set again"):
        prepare_samples("generated", "clean", tmp_path)


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    prepare_samples("generated", "clean", tmp_path)
    path = tmp_path / "generated" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "/../../a" * 8}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="has no sha256 of the table"):
        prepare_samples("generated", "clean", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_that_was_exchanged_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    """Samples that are there already were made of the table that the manifest names, and stay what they are."""
    first = prepare_samples("generated", "clean", tmp_path)
    table = tmp_path / "generated" / TABLE
    table.write_bytes(table.read_bytes()[:-1])
    assert prepare_samples("generated", "clean", tmp_path).sha256 == first.sha256
    with pytest.raises(UserError, match=r"interactions.parquet is damaged: its sha256 is"):
        prepare_samples("generated", "aaai-2019", tmp_path)
