"""What is fuzzed: one reader each. An input is read, counted as malformed or refused with `UserError`, nothing else.

Two drivers use these targets: `test_targets.py` mutates their seeds for seconds in the ordinary suite, and `fuzz.py`
for as long as wanted, guided by the coverage of the code.
"""

import gzip
import hashlib
import io
import json
import pickle
import socket
import threading
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.analysis.metrics import auc
from benchmark.analysis.probes import FITTED, RULES, Probe, Probes, read_probes
from benchmark.leaderboard.claims import claims_page
from benchmark.leaderboard.site import embed
from benchmark.leaderboard.site_data import document, thinned
from benchmark.records.curves import read_metrics
from benchmark.records.packed import LIMITS, unpack
from benchmark.records.predictions import PREDICTIONS, read_scores
from benchmark.records.record import FILE_NAME, read_records, run_folder
from benchmark.records.results import curves_of, read_board, results_folder, scores_of, write_results
from benchmark.report.probe_tables import overview, probe_table, write_probes
from datamodules.datasets import DATASETS
from datamodules.errors import UserError
from datamodules.files import download, transfer
from datamodules.files.gzip_blocks import read_blocks
from datamodules.files.manifest import MANIFEST
from datamodules.interactions import TABLE, load_interactions, write_interactions
from datamodules.protocol import get_protocol
from datamodules.samples import make_samples
from datamodules.samples.file import load_samples, save_samples
from datamodules.samples.vocabulary import vocabulary
from datamodules.sources import tafeng
from datamodules.sources.amazon_files import Malformed, Metadata, parse_metadata, parse_review, reviews_of
from datamodules.sources.click_file import ClickFile, read_chunks
from datamodules.sources.generated import generate_interactions
from datamodules.sources.released.pickles import read_vocabulary


class Target(NamedTuple):
    """One reader: sound inputs to begin with, and what must hold of any input, given an empty folder."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes, Path], None]


def content_of(write: Callable[[Path], object]) -> bytes:
    """Return what `write` writes to a file."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


# Amazon: whole blocks and lines read the fast way, against the full parser on every line

ITEMS = {"B1", "B2", "0000031887"}
REVIEWS = [
    b'{"reviewerID": "A2SUAM1J3GNN3B", "asin": "0000031887", "reviewerName": "J. \\"x\\" \\u00e9", "helpful": [2, 3], '
    b'"reviewText": "it\'s \\\\ \\n", "overall": 5.0, "unixReviewTime": 1252800000, "reviewTime": "09 13, 2009"}',
    b'{"asin": "B1", "reviewerID": "u", "unixReviewTime": 1, "x": {"asin": [[{}]], "y": -1.5}}\r\n\n{"asin": 1}\n[]',
]
METADATA = [
    b"{'asin': '0000031887', 'title': \"it's\", 'price': 6.99, 'related': {'also_bought': ['B1', 'B2']}, "
    b"'categories': [['Clothing', 'Girls'], ['Toys']], 'description': 'a\\'b \\xe9'}",
    b"{'asin': 'B1', 'categories': [[]]}\n{'asin': 'B2', 'categories': [['x\\u2019']]}\r\n\n{'asin': 'B2'}\n{'asin': 0}"
    b"\n{'asin': 'B1'",
]


def check_reviews(data: bytes, folder: Path) -> None:
    """Arrow and `orjson` find the same reviews and the same malformed lines."""
    block = data + b"\n"
    expected, bad = [], 0
    for line in block.split(b"\n")[:-1]:
        if not (line + b"\n").isspace():
            try:
                expected.append(parse_review(line))
            except ValueError:
                bad += 1
    malformed = Malformed(folder / "reviews.json.gz")
    table = reviews_of(block, malformed)
    if any(text in block for text in (b"NaN", b"Inf")):  # numbers to Arrow in fields that are not read
        return
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert malformed.count == bad
    with suppress(UserError):
        malformed.notes()


def check_metadata(data: bytes, folder: Path) -> None:
    """Regular expressions and `ast.literal_eval` find the same categories; malformed is what the latter says is."""
    block = data + b"\n"
    expected: dict[str, str] = {}
    known = {item.encode(): item for item in ITEMS}
    bad = 0
    about = Metadata(folder / "meta.json.gz", ITEMS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for line in block.split(b"\n")[:-1]:
            try:
                item, category = parse_metadata(line, known)
            except ValueError:
                bad += 1
                continue
            if category:
                expected.setdefault(item, category)
        about.take(block)
    assert about.malformed.count <= bad
    if about.malformed.count == bad:  # a line may be read although it is malformed behind its fields
        assert about.category_of == expected
    with suppress(UserError):
        about.malformed.notes()


def check_gzip(data: bytes, folder: Path) -> None:
    """Blocks are whole lines, and what Python's own gzip reads too is the same."""
    (folder / "file.gz").write_bytes(data)
    with suppress(UserError):
        blocks = list(read_blocks(folder / "file.gz"))
        assert all(block.endswith(b"\n") for block in blocks)
        with suppress(EOFError, OSError):  # two libraries differ in what they forgive
            whole = gzip.decompress(data)
            if max(map(len, whole.split(b"\n"))) < 1 << 20:
                assert b"".join(blocks) == (whole if whole.endswith(b"\n") or not whole else whole + b"\n")


# Ta Feng: the csv alone, and the whole wheel

CSV = (
    b'\xef\xbb\xbf"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID"\r\n'
    + b"".join(
        b'"11/%d/2000","u%d","45-49","115","c%d","i%d"\r\n' % (1 + (u + i) % 2, u, i, i)
        for u in range(5)
        for i in range(5)
    )
)


def zipped(name: str, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip file of one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(name, content)
    return buffer.getvalue()


def check_wheel(data: bytes, folder: Path) -> None:
    """A wheel gives behaviours or a message, even where its checksums are taken for granted."""
    wheel = folder / "a.whl"
    wheel.write_bytes(data)

    class AnySum(str):
        __hash__ = str.__hash__

        def __ne__(self, other: object) -> bool:
            return False

    with suppress(UserError):
        raw = tafeng.behaviours(tafeng.read_log(wheel, AnySum(), AnySum()), [])
        assert raw.user.min() >= 0
        assert raw.item.min() >= 0


def check_tafeng_csv(data: bytes, folder: Path) -> None:
    """A csv inside a sound wheel gives behaviours or a message."""
    check_wheel(zipped(tafeng.MEMBER, zipped("a.csv", data, zipfile.ZIP_STORED), zipfile.ZIP_STORED), folder)


# Imported logs: text, packed text, Parquet

LOG = b"user,item,category,time,label\n" + b"".join(b'u%d,"i, %d",c,1511544070.5,1\n' % (n, n % 7) for n in range(30))


def logs() -> list[bytes]:
    """Return the same log in several forms."""
    table = pa.table({name: ["1"] for name in ("user", "item", "category")} | {"time": [1511544070.5]})
    return [LOG, gzip.compress(LOG), zipped("log.csv", LOG), content_of(lambda path: pq.write_table(table, path))]


def check_clicks(data: bytes, folder: Path) -> None:
    """A log is read or refused, whatever quotes are; where a row is a line, no line is lost."""
    (folder / "log").write_bytes(data)
    for quotes in ("line", "none", "multiline"):
        with suppress(UserError):
            rows = sum(len(chunk.click) for chunk in read_chunks(ClickFile(folder / "log", quotes=quotes)))
            if quotes != "multiline" and data.startswith(b"user,"):
                assert rows == sum(map(bool, data.splitlines())) - 1


# Prepared data: each file under a manifest that knows its checksum, as somebody leaves it who edits them


@cache
def prepared() -> dict[str, bytes]:
    """Return the files of a small prepared folder."""
    with TemporaryDirectory() as folder:
        raw = generate_interactions(users=40, items=30, categories=5)
        write_interactions(raw, DATASETS["generated"], Path(folder) / "generated")
        return {path.name: path.read_bytes() for path in (Path(folder) / "generated").iterdir()}


def check_interactions(data: bytes, folder: Path) -> None:
    """A table gives interactions that samples can be made of, or a message."""
    (folder / TABLE).write_bytes(data)
    manifest = json.loads(prepared()[MANIFEST]) | {"sha256": hashlib.sha256(data).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with suppress(UserError):
        make_samples(load_interactions(folder), get_protocol("clean"))


def check_manifest(data: bytes, folder: Path) -> None:
    """A manifest beside a sound table gives interactions that samples can be made of, or a message."""
    (folder / TABLE).write_bytes(prepared()[TABLE])
    (folder / MANIFEST).write_bytes(data)
    with suppress(UserError):
        make_samples(load_interactions(folder), get_protocol("clean"))


@cache
def sound_samples() -> Any:
    with TemporaryDirectory() as folder:
        for name, content in prepared().items():
            (Path(folder) / name).write_bytes(content)
        return make_samples(load_interactions(Path(folder)), get_protocol("clean"))


def check_samples(data: bytes, folder: Path) -> None:
    """Samples come back to the bit or not at all."""
    (folder / "samples.npz").write_bytes(data)
    with suppress(UserError):
        loaded, sound = load_samples(folder / "samples.npz"), sound_samples()
        assert (loaded.protocol, loaded.order_within_time, loaded.sha256) == (
            sound.protocol,
            sound.order_within_time,
            sound.sha256,
        )
        for name in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(loaded, name).end, getattr(sound, name).end)
        vocabulary(loaded)


# Runs: what lies in a run folder, and what is made of it

RECORD = {
    "schema_version": 3, "dataset": "tafeng", "protocol": "arxiv-v1", "protocol_hash": "dc630e20", "model": "dien",
    "variant": "official", "seed": 0, "selection": "test", "auc": {"last": 0.5, "validation": None, "test": 0.75},
    "logloss": 0.5, "calibration": 1.0, "code_sha256": "cd" * 32, "sampler_version": 1,
    "best_step": 800, "epochs": 3.0, "steps": 807, "parameters": 746541, "train_seconds": 59.1,
    "evaluation_seconds": 4.4, "processor_seconds": 58.2, "peak_memory_mb": 896, "samples_per_second": 1887.5,
    "device": "cpu", "versions": {"python": "3.11.7"}, "commit": "8660804146f3755ae453c7f9e8f3fe7b0818e53e",
    "data_sha256": "ab" * 32,
    "settings": {"model": "dien", "steps": 807, "batch_size": 128, "learning_rate": 0.001, "steps_by_default": True},
    "status": "finished",
}  # fmt: skip


def check_record(data: bytes, folder: Path) -> None:
    """A record reaches page and claims as JSON and UTF-8, or is refused."""
    path = run_folder(folder, "tafeng", "arxiv-v1", "dien", "official", 0) / FILE_NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with suppress(UserError):
        records = read_records(folder)
        embed(document(records, [])).encode()
        claims_page(records, folder).encode()


def check_metrics(data: bytes, folder: Path) -> None:
    """A column of metrics.csv is a finite, increasing axis with values, or is refused."""
    path = folder / "metrics.csv"
    path.write_bytes(data)
    for column in ("loss", "auxiliary_loss", "test_auc"):
        with suppress(UserError):
            curve = read_metrics(path).curve(column)
            assert np.all(np.diff(curve.steps) > 0)
            assert np.isfinite(curve.steps).all()
            assert np.isfinite(thinned(curve, 2).steps).all()


def scored() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    score = rng.random(40)
    return pd.DataFrame(
        {"user": np.repeat(np.arange(20), 2), "label": np.tile([0, 1], 20), "score": score, "score_last": score**2}
    )


def check_predictions(data: bytes, folder: Path) -> None:
    """Predictions give an AUC from 0 to 1, or a message."""
    (folder / PREDICTIONS).write_bytes(data)
    with suppress(UserError):
        found = read_scores(folder)
        assert found is not None
        for checkpoint in filter(None, found):
            assert 0 <= auc(checkpoint) <= 1


@cache
def board_files() -> dict[str, bytes]:
    """The files of a board of one run."""
    with TemporaryDirectory() as folder:
        run = run_folder(Path(folder), "tafeng", "arxiv-v1", "dien", "official", 0)
        run.mkdir(parents=True)
        (run / FILE_NAME).write_text(json.dumps(RECORD), encoding="utf-8")
        (run / "metrics.csv").write_bytes(METRICS)
        scored().to_parquet(run / PREDICTIONS)
        results = Path(folder, "board")
        write_results(results, read_records(Path(folder)))
        return {str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*.*")}


def check_board(name: str) -> Callable[[bytes, Path], None]:
    """A board with one damaged file gives curves and an AUC from 0 to 1, or a message."""

    def check(data: bytes, folder: Path) -> None:
        for place, content in (board_files() | {name: data}).items():
            path = results_folder(folder, "tafeng", "arxiv-v1") / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with suppress(UserError):
            for record in read_board(folder):
                with suppress(UserError):
                    assert np.all(np.diff(curves_of(record).curve("loss").steps) > 0)
                for checkpoint in filter(None, scores_of(record) or ()):
                    assert 0 <= auc(checkpoint) <= 1

    return check


def _probes() -> bytes:
    rules = [*RULES, FITTED]
    probes = tuple(Probe(name, f"is {name}", 8 * (name == FITTED), 0.6, 0.5, 0.7) for name in rules)
    measured = Probes("sports", "clean", "0123abcd", "ab" * 32, 10, probes)
    return content_of(lambda path: path.write_bytes(write_probes(measured, path.parent)[0].read_bytes()))


def check_probes(data: bytes, folder: Path) -> None:
    """Probes give a table and an overview, or a message."""
    (folder / "probes-sports-clean.json").write_bytes(data)
    with suppress(UserError):
        found = read_probes([folder], "sports", "clean")
        assert found is not None
        probe_table(found).markdown().encode()
        overview([found]).markdown().encode()
        assert found.best.auc >= found.without_parameters.auc
        assert found.fitted


def check_table1(data: bytes, folder: Path) -> None:
    """The counts behind the claims page are read or refused."""
    (folder / "table1.csv").write_bytes(data)
    with suppress(UserError):
        claims_page([], folder).encode()


# Downloads: what an earlier call left in the folder

STATE = b'{"url": "http://127.0.0.1:9/a.gz", "validator": "\\"v1\\"", "total": 1000}'


def check_download_state(data: bytes, folder: Path) -> None:
    """A left state is gone on with or forgotten; whatever it says, a request can be made of it."""
    (folder / "a.gz.part").write_bytes(b"\x1f\x8b" * 20)
    (folder / "a.gz.part.json").write_bytes(data)
    target = transfer.Target(folder / "a.gz", None, None)
    for saved in transfer.parts_of(target):
        assert saved.offset == 40
        assert isinstance(saved.total, int)
        saved.validator.encode("ascii")
        assert not set("\r\n") & set(saved.validator)
    download._kept(target)


def check_download_note(data: bytes, folder: Path) -> None:
    """A file whose recorded checksum is damaged is taken or refused."""
    (folder / "a.gz").write_bytes(b"\x1f\x8b" * 20)
    (folder / "a.gz.sha256").write_bytes(data)
    download.origin(folder / "a.gz")
    with suppress(UserError):
        download.fetch("a.gz", [], folder)


ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\nETag: "v1"\r\nContent-Type: application/gzip\r\n\r\n' + b"\x1f\x8b" * 10
)
ANSWERS = [
    ANSWER,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\x1f\x8b\x1f\x8b\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 206 Partial\r\nContent-Range: bytes 4-19/20\r\nContent-Length: 16\r\nETag: "v1"\r\n\r\n'
    + b"\x1f\x8b" * 8,
]


def check_answer(data: bytes, folder: Path) -> None:
    """Whatever a server answers, the file is there and complete, or a message."""
    (folder / "a.gz.part").write_bytes(b"\x1f\x8b" * 2)
    with socket.create_server(("127.0.0.1", 0)) as server, patch.object(download.time, "sleep"):
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        state = {"url": f"{host}/a.gz", "validator": '"v1"', "total": 20}
        (folder / "a.gz.part.json").write_text(json.dumps(state))

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(data)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with suppress(UserError):
                path = download.fetch("a.gz", [host], folder, timeout=0.2)
                assert path.read_bytes().startswith(b"\x1f\x8b")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


TABLE1 = b"dataset,users,goods,categories,samples\nbooks,603668,367982,1600,603668\n"
METRICS = b"loss,step,test_auc,auxiliary_loss\n1.5,20,,0.5\n1.25,40,0.75,0.25\nnan,60,0.5,\n"
NOTE = f"# 40 bytes\n{hashlib.sha256(bytes([31, 139]) * 20).hexdigest()}  a.gz\n".encode()
# Vocabularies of Python 2, against `pickle` itself, and runs that somebody sent


class _NoNames(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise ValueError(f"{module}.{name}")


def check_vocabulary(data: bytes, folder: Path) -> None:
    """What is read is what `pickle` reads; everything else is refused."""
    try:
        found = read_vocabulary(data)
    except ValueError:
        return
    plain = _NoNames(io.BytesIO(data), encoding="bytes").load()
    assert found == {key.encode() if isinstance(key, str) else key: number for key, number in plain.items()}


def vocabularies() -> list[bytes]:
    """Of `cPickle` and of `pickle`, text and unicode."""
    plain = b"(dp1\nS'default_cat'\np2\nI0\nsS\"Children's Books\"\np3\nI1\nsS'a\\\\b\\xff'\nI2\ns."
    return [plain, *(pickle.dumps({"x": 1, "caf\xe9": 70_000}, protocol) for protocol in (0, 1, 2))]


def check_packed(data: bytes, folder: Path) -> None:
    """Nothing but files of runs comes out, below the folder."""
    (folder / "sent.zip").write_bytes(data)
    with suppress(UserError):
        unpack(folder / "sent.zip", folder / "there")
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        assert path.is_dir() or inside == ("sent.zip",) or (len(inside) == 6 and inside[-1] in LIMITS)


def packed_runs() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in LIMITS:
            archive.writestr(f"sports/clean/din-official/seed-0/{name}", b"content" * 9)
    return content.getvalue()


TARGETS = {
    "vocabulary": Target(vocabularies, check_vocabulary),
    "packed-runs": Target(lambda: [packed_runs()], check_packed),
    "reviews": Target(lambda: REVIEWS, check_reviews),
    "metadata": Target(lambda: METADATA, check_metadata),
    "gzip": Target(lambda: [gzip.compress(b"a\nb\n" * 9), gzip.compress(b"") + gzip.compress(b"x" * 99)], check_gzip),
    "tafeng-csv": Target(lambda: [CSV], check_tafeng_csv),
    "wheel": Target(lambda: [zipped(tafeng.MEMBER, zipped("a.csv", CSV))], check_wheel),
    "clicks": Target(logs, check_clicks),
    "interactions": Target(lambda: [prepared()[TABLE]], check_interactions),
    "manifest": Target(lambda: [prepared()[MANIFEST]], check_manifest),
    "samples": Target(lambda: [content_of(lambda path: save_samples(sound_samples(), path))], check_samples),
    "record": Target(lambda: [json.dumps(RECORD | {"validation_auc": 0.5}).encode()], check_record),
    "metrics": Target(lambda: [METRICS], check_metrics),
    "predictions": Target(lambda: [content_of(lambda p: scored().to_parquet(p))], check_predictions),
    **{
        f"board-{name}": Target(lambda place=place: [board_files()[place]], check_board(place))  # type: ignore[misc]
        for name, place in (
            ("runs", "runs.jsonl"),
            ("curves", "curves/dien.parquet"),
            ("ranks", "predictions/dien.parquet"),
        )
    },
    "probes": Target(lambda: [_probes()], check_probes),
    "table1": Target(
        lambda: [b"dataset,users,goods,categories,samples\nbooks,603668,367982,1600,603668\n"], check_table1
    ),
    "download-answer": Target(lambda: ANSWERS, check_answer),
    "download-state": Target(lambda: [STATE], check_download_state),
    "download-note": Target(
        lambda: [f"# 40 bytes\n{hashlib.sha256(bytes([31, 139]) * 20).hexdigest()}  a.gz\n".encode()],
        check_download_note,
    ),
}
