"""Books as the authors of DIEN released it: Zenodo record 3463683, the samples of the proceedings (AAAI 2019).

Three archives, bzip2 in spite of their names, hold what the released code trains on (mouna99/dien, script/train.py):

- `local_train_splitByUser`, `local_test_splitByUser`: a row a line, of label, user, item, category, and the items and
  the categories of the history, joined by the character 0x02; tabs in between.
- `uid_voc.pkl`, `mid_voc.pkl`, `cat_voc.pkl`: numbers of users, items and categories, pickles of Python 2. An item or
  category that is not among them has number 0, and so has a user: the row of the first user.
- `item-info`: category of an item, of two lines the first. `reviews-info`: all reviews; auxiliary negatives are drawn
  from their items.
"""

import bz2
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from isal import igzip
from numpy.typing import NDArray

from datamodules.errors import UserError, blocks_writing
from datamodules.files.answers import RemoteFile
from datamodules.files.download import origin
from datamodules.files.gzip_blocks import mend
from datamodules.files.manifest import describe_input
from datamodules.files.mirrors import obtain
from datamodules.sources.released.finished import FinishedSamples
from datamodules.sources.released.numbering import Catalogue, Numbering
from datamodules.sources.released.pickles import read_vocabulary
from datamodules.sources.spec import FinishedSpec, Int32

MIRRORS = ("https://zenodo.org/records/3463683/files", "https://zenodo.org/record/3463683/files")
MD5 = {
    "data.tar.gz": "86fd34467fecf6825303ff7b97d56878",
    "data1.tar.gz": "c3941b34f1fef7b14408be490881ee88",
    "data2.tar.gz": "342dd867ede0444e870dfef41330d260",
}
ADVICE = """\
The archives come from Zenodo without an account (zenodo.org/records/3463683). Or set DATA_MIRROR to a URL or a local
folder that holds them. Without them: DATASETS=books makes samples of the raw reviews anew."""
EXPECTED = {
    "training rows": 1_086_120, "test rows": 121_216, "vocabulary items": 367_983, "vocabulary categories": 1_601,
}  # fmt: skip
TRAIN, TEST = "local_train_splitByUser", "local_test_splitByUser"
VOCABULARIES = ("uid_voc.pkl", "mid_voc.pkl", "cat_voc.pkl")
ITEMS, REVIEWS = "item-info", "reviews-info"
MEMBERS = (TRAIN, TEST, *VOCABULARIES, ITEMS, REVIEWS)
MOST_BYTES = 1 << 33  # of a member: the largest has less than a gigabyte
MOST_VOCABULARY = 1 << 28  # bytes of a pickle
BLOCK = 1 << 25  # bytes of text at a time
BETWEEN = "\x02"  # between two behaviours
SPLIT = ("label", "user", "item", "category", "items", "categories")


@dataclass(frozen=True)
class Release:
    """The archives with their checksums, and the counts that must be found."""

    md5: Mapping[str, str]
    expected: Mapping[str, int]


@dataclass(frozen=True)
class _Rows:
    """The rows of one file under codes."""

    user: Int32
    item: Int32
    label: NDArray[np.int8]
    lengths: NDArray[np.int64]
    history: Int32


def read_books(release: Release, data_dir: Path, scratch: Path) -> FinishedSamples:
    """Read the release; archives are downloaded where they are not in `data_dir/raw/books-released` yet.

    Raises `UserError` for an archive that cannot be had or has another checksum, and for members that do not hold what
    the release holds.
    """
    folder = data_dir / "raw" / "books-released"
    archives = [obtain((name,), ("",), MIRRORS, folder, md5=md5, advice=ADVICE) for name, md5 in release.md5.items()]
    inputs = [describe_input(path, origin(path), data_dir) for path in archives]
    unpacked: dict[str, Path] = {}
    for path in archives:
        unpacked |= unpack(path, scratch)
    names = ", ".join(release.md5)
    if missing := [name for name in MEMBERS if name not in unpacked]:
        raise UserError(f"{names} lack {', '.join(missing)}, expected each in one of them. {mend(archives[0])}")
    users, items, categories = (vocabulary_of(unpacked[name], names) for name in VOCABULARIES)
    found = {"vocabulary items": len(items), "vocabulary categories": len(categories)}
    catalogue = Catalogue(Numbering(items), Numbering(categories, grows=False))
    catalogue.items_have(*_item_info(unpacked[ITEMS], catalogue))
    numbered = Numbering(users)
    train, test = (_read_rows(unpacked[name], numbered, catalogue) for name in (TRAIN, TEST))
    found |= {"training rows": len(train.user), "test rows": len(test.user)}
    if found != (expected := dict(release.expected)):
        wrong = ", ".join(f"{found[what]:,} {what}, expected {n:,}" for what, n in expected.items() if found[what] != n)
        raise UserError(f"{names} hold {wrong}: they are not the release of the authors. {mend(archives[0])}")
    pool = [catalogue.items.codes(batch.column(0)) for batch in batches_of(unpacked[REVIEWS], 4, (1,))]
    codes = np.arange(numbered.size, dtype=np.int32)
    return FinishedSamples(
        user=np.concatenate([train.user, test.user]),
        item=np.concatenate([train.item, test.item]),
        label=np.concatenate([train.label, test.label]),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([train.lengths, test.lengths]))]).astype(np.int64),
        history=np.concatenate([train.history, test.history]),
        category=catalogue.category(),
        catalogue_rank=catalogue.ranks(),
        pool=np.concatenate(pool),
        user_code=np.where(codes < len(users), codes, 0).astype(np.int32),
        training_rows=len(train.user),
        users=numbered.size,
        inputs=inputs,
        notes=catalogue.notes(),
    )


def unpack(archive: Path, scratch: Path) -> dict[str, Path]:
    """Write the members of an archive that are wanted to `scratch`, each under its own name; return where they lie.

    The content says how it is compressed, not the name. Raises `UserError` for what is no archive, and OSError where
    nothing can be written.
    """
    found: dict[str, Path] = {}
    try:
        with _decompressed(archive) as file, tarfile.open(fileobj=file, mode="r|", bufsize=1 << 20) as members:
            for member in members:
                name = PurePosixPath(member.name).name
                if name not in MEMBERS or not member.isfile():
                    continue
                content = members.extractfile(member)
                if member.size > MOST_BYTES or content is None or (scratch / name).exists():
                    raise UserError(f"{archive} has a second or an oversized {name}. {mend(archive)}")
                with (scratch / name).open("wb") as target:
                    copyfileobj(content, target, 1 << 20)
                found[name] = scratch / name
    except (EOFError, tarfile.TarError, ValueError) as error:
        raise UserError(f"{archive} is cut short or no archive: {error}. {mend(archive)}") from None
    except OSError as error:
        if blocks_writing(error):
            raise  # the archive is sound
        raise UserError(f"{archive} cannot be unpacked: {error.strerror or error}. {mend(archive)}") from None
    return found


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        head = file.read(3)
    if head == b"BZh":
        return bz2.open(archive, "rb")
    if head[:2] == b"\x1f\x8b":
        unpacked: IO[bytes] = igzip.open(archive, "rb")  # type: ignore[no-untyped-call]
        return unpacked
    return archive.open("rb")


def vocabulary_of(path: Path, archives: str) -> list[bytes]:
    """Return the raw ids of a vocabulary in the order of their numbers 0, 1, 2, ...; raises `UserError` otherwise."""
    try:
        if path.stat().st_size > MOST_VOCABULARY:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, expected at most {MOST_VOCABULARY:,}")
        number_of = read_vocabulary(path.read_bytes())
        ids = sorted(number_of, key=number_of.__getitem__)
        if not ids or [number_of[raw] for raw in ids] != list(range(len(ids))):
            raise ValueError("its numbers are not 0, 1, 2, ..., each once")
    except ValueError as error:
        raise UserError(
            f"{path.name} is not a vocabulary as Python 2 pickles it: {error}. Download {archives} again."
        ) from None
    return ids


def _read_rows(path: Path, users: Numbering, catalogue: Catalogue) -> _Rows:
    parts: list[_Rows] = []
    for batch in batches_of(path, len(SPLIT)):
        label, user, item, category, items, categories = batch.columns
        if not pc.all(pc.is_in(label, pa.array([b"0", b"1"]))).as_py():
            raise UserError(f"{path.name} has a label that is neither 0 nor 1. It is not of the release.")
        behaviours, kinds = (pc.split_pattern(column, BETWEEN) for column in (items, categories))
        lengths = pc.list_value_length(behaviours).to_numpy()
        if not np.array_equal(lengths, pc.list_value_length(kinds).to_numpy()):
            raise UserError(f"{path.name} has a history with more items than categories, or fewer: not of the release.")
        codes = catalogue.codes(
            pa.concat_arrays([item, behaviours.flatten()]), pa.concat_arrays([category, kinds.flatten()])
        )
        parts.append(
            _Rows(
                users.codes(user),
                codes[: len(item)],
                pc.equal(label, b"1").to_numpy(zero_copy_only=False).astype(np.int8),
                lengths.astype(np.int64),
                codes[len(item) :],
            )
        )
    if not parts:
        raise UserError(f"{path.name} holds no row. It is not of the release.")
    return _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Rows.__dataclass_fields__))


def _item_info(path: Path, catalogue: Catalogue) -> tuple[Int32, Int32]:
    """Codes of the items of the vocabulary that have a line, in reverse, and of their categories."""
    found: list[tuple[Int32, Int32]] = []
    for batch in batches_of(path, 2):
        raw, category = batch.columns
        # Bytes seen as text: only blanks are looked for. The released code cuts them off.
        trimmed = pc.ascii_trim_whitespace(category.view(pa.string())).view(pa.binary())
        code = catalogue.items.known(raw)
        found.append((code[code > 0], catalogue.categories.codes(trimmed)[code > 0]))
    items, categories = (np.concatenate([part[at] for part in found])[::-1] for at in (0, 1))
    return items, categories


def batches_of(path: Path, columns: int, wanted: tuple[int, ...] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the lines of a file as batches of `columns` cells of bytes, or the wanted ones of them."""
    names = [str(number) for number in range(columns)]
    include = [names[number] for number in wanted or range(columns)]
    try:
        with path.open("rb") as file:
            yield from pa_csv.open_csv(
                file,
                pa_csv.ReadOptions(column_names=names, block_size=BLOCK),
                pa_csv.ParseOptions(delimiter="\t", quote_char=False),
                pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.binary()), include_columns=include, check_utf8=False
                ),
            )
    except pa.ArrowInvalid as error:
        raise UserError(f"{path.name} is not as in the release: {error}. Download its archive again.") from None


BOOKS_RELEASED = FinishedSpec(
    name="books-released",
    title="Amazon Books, the samples that the authors of DIEN released",
    licence="published by the authors on Zenodo, made of Amazon reviews of 2014; not redistributed here",
    source="zenodo.org, record 3463683, or DATA_MIRROR",
    expected=EXPECTED,
    read=partial(read_books, Release(MD5, EXPECTED)),
    files=tuple(RemoteFile(name, MIRRORS, md5=md5) for name, md5 in MD5.items()),
)
