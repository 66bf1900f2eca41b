"""What is fuzzed: one reader each. An input is read, counted as malformed or refused with `UserError`, nothing else.

Two drivers use these targets: `test_targets.py` mutates their seeds for seconds in the ordinary suite, and `fuzz.py`
for as long as wanted, guided by the coverage of the code.
"""

import ast
import copy
import gzip
import hashlib
import io
import json
import socket
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from baselines import lightning_module
from baselines.lightning_module import CTRModule, NotFinite
from benchmark import run
from benchmark.checkpoint import NAME, conforming, load_checkpoint, restore, take
from benchmark.checkpoint_form import Refused
from benchmark.claims import claims_page
from benchmark.config import RunConfig
from benchmark.figures import read_curve
from benchmark.probes import FITTED, RULES, Probe, Probes, overview, probe_table, read_probes, write_probes
from benchmark.records import FILE_NAME, read_records, run_folder
from benchmark.scores import PREDICTIONS, RANKS, RunScores, pair_scores, read_scores, write_ranks
from benchmark.site import embed
from benchmark.site_data import document, thinned
from datamodules import download, tafeng
from datamodules.amazon import (
    METADATA_FIELDS,
    REVIEW_FIELDS,
    Malformed,
    _categories_of,
    _parse_metadata,
    _parse_review,
    _reviews_of,
)
from datamodules.datasets import DATASETS
from datamodules.errors import UserError, printable
from datamodules.generated import generate_interactions
from datamodules.gzip_blocks import read_blocks
from datamodules.interactions import MANIFEST, TABLE, load_interactions, write_interactions
from datamodules.plain_lines import find_fields
from datamodules.protocol import get_protocol
from datamodules.samples import make_samples
from datamodules.samples_file import load_samples, save_samples


class Target(NamedTuple):
    """One reader: sound inputs to begin with, and what must hold of any input, given an empty folder."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes, Path], None]


def content_of(write: Callable[[Path], object]) -> bytes:
    """Return what `write` writes to a file."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


# Amazon: the compiled scanner and the parser behind it, against the parsers of others on every line

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
    """The scanner and `orjson` find the same reviews and the same malformed lines."""
    block = data + b"\n"
    expected, bad = [], 0
    for line in block.split(b"\n")[:-1]:
        if not (line + b"\n").isspace():
            try:
                expected.append(_parse_review(line + b"\n"))
            except ValueError:
                bad += 1
    malformed = Malformed(folder / "reviews.json.gz")
    table = _reviews_of(find_fields(block, REVIEW_FIELDS, "json"), malformed)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert malformed.count == bad
    with suppress(UserError):
        malformed.notes()


def check_metadata(data: bytes, folder: Path) -> None:
    """The scanner and `ast.literal_eval` find the same categories and the same malformed lines."""
    block = data + b"\n"
    expected: dict[str, str] = {}
    bad = 0
    malformed = Malformed(folder / "meta.json.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for line in block.split(b"\n")[:-1]:
            try:
                item, category = _parse_metadata(line + b"\n", ITEMS)
            except ValueError:
                with suppress(Exception):  # what names no item of ours is not looked at in full
                    assert ast.literal_eval(line.decode().strip())["asin"] in ITEMS
                    bad += 1
                continue
            if category:
                expected[item] = category
        found = _categories_of(find_fields(block, METADATA_FIELDS, "python"), ITEMS, malformed)
    assert found == expected
    assert malformed.count >= bad
    with suppress(UserError):
        malformed.notes()


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
        loaded.known()


# Runs: what lies in a run folder, and what is made of it

RECORD = {
    "dataset": "tafeng", "protocol": "arxiv-v1", "protocol_hash": "dc630e20", "model": "dien", "variant": "official",
    "seed": 0, "selection": "test", "auc": {"last": 0.5, "validation": None, "test": 0.75}, "logloss": 0.5,
    "best_step": 800, "epochs": 3.0, "steps": 807, "parameters": 746541, "train_seconds": 59.1,
    "evaluation_seconds": 4.4, "peak_memory_mb": 896, "samples_per_second": 1887.5, "device": "cpu",
    "versions": {"python": "3.11.7"}, "commit": "8660804146f3755ae453c7f9e8f3fe7b0818e53e", "data_sha256": "ab" * 32,
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
        embed(document(records, [], [])).encode()
        claims_page(records, folder).encode()


def check_metrics(data: bytes, folder: Path) -> None:
    """A column of metrics.csv is a finite, increasing axis with values, or is refused."""
    path = folder / "metrics.csv"
    path.write_bytes(data)
    for column in ("loss", "auxiliary_loss", "test_auc"):
        with suppress(UserError):
            curve = read_curve(path, column)
            assert np.all(np.diff(curve.steps) > 0)
            assert np.isfinite(curve.steps).all()
            assert np.isfinite(thinned(curve, 2).steps).all()


def scored() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    score = rng.random(40)
    return pd.DataFrame(
        {"user": np.repeat(np.arange(20), 2), "label": np.tile([0, 1], 20), "score": score, "score_last": score**2}
    )


def _ranks() -> bytes:
    table = scored()
    both = [pair_scores(table.label.to_numpy(), table[name].to_numpy()) for name in ("score", "score_last")]
    return content_of(lambda path: write_ranks(RunScores(*both), path))


def check_scores(name: str) -> Callable[[bytes, Path], None]:
    """Predictions and ranks give an AUC from 0 to 1, or a message."""

    def check(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        with suppress(UserError):
            found = read_scores(folder)
            assert found is not None
            for checkpoint in filter(None, found):
                assert 0 <= checkpoint.auc <= 1

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


# checkpoint.pt: its contents edited and written anew, or its pickle under right checksums

STEPS, EVERY = 6, 2


class Setting(NamedTuple):
    """The checkpoint that a run left at step 4 of 6, its file, and what goes on from it."""

    state: dict[str, Any]
    file: bytes
    data: Any


@cache
def interrupted() -> Setting:
    """A run, cut off; one of its tables is updated where it is read."""

    def cut_off(progress: object) -> None:
        if checkpoint.exists() and torch.load(checkpoint)["step"] == STEPS - EVERY:
            raise InterruptedError

    with TemporaryDirectory() as folder, ExitStack() as patches:
        config = RunConfig(
            "generated", "clean", "base-model", "official", 0, steps=STEPS, data_dir=folder, out=folder, device="cpu",
            checkpoint_seconds=0,
        )  # fmt: skip
        checkpoint = config.folder() / NAME
        for place, name, value in (
            (run, "EVALUATE_EVERY", EVERY), (run, "LOG_EVERY", 1), (lightning_module, "LAZY_SIZE", 3000)
        ):  # fmt: skip
            patches.enter_context(patch.object(place, name, value))
        with suppress(InterruptedError):
            run.train_run(config, cut_off)
        data = run.data_of(config)
        data.setup()
        return Setting(torch.load(checkpoint), checkpoint.read_bytes(), data)


def begun() -> tuple[CTRModule, Any]:
    """The module of that run at its beginning, and what stands for its trainer."""
    with patch.object(lightning_module, "LAZY_SIZE", 3000):
        module = CTRModule(model="base-model", variant="official", **interrupted().data.sizes, steps=STEPS, log_every=1)
        made = module.configure_optimizers()
    schedules = [SimpleNamespace(scheduler=made["lr_scheduler"]["scheduler"])]
    optimizers, data = [made["optimizer"]], interrupted().data
    return module, SimpleNamespace(loggers=[], optimizers=optimizers, lr_scheduler_configs=schedules, datamodule=data)


def train_rest(module: CTRModule, trainer: Any, step: int) -> None:
    """Do what Lightning does with the steps behind a checkpoint."""
    batches = trainer.datamodule.training_batches()
    for number in range(step, STEPS):
        trainer.optimizers[0].zero_grad()
        module.training_step(batches[number], number).backward()
        trainer.optimizers[0].step()
        trainer.lr_scheduler_configs[0].scheduler.step()
    run._evaluate_last(module, trainer.datamodule, SimpleNamespace(strategy=SimpleNamespace(root_device="cpu")))


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit."""
    match one:
        case dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case list():
            return len(one) == len(other) and all(map(same, one, other))
        case torch.Tensor():
            return torch.equal(one, other)
    return bool(one == other)


def check_checkpoint(path: Path) -> None:
    """A checkpoint is refused, or taken up as it is and trained on to the end: to an AUC, or a loss that is none."""
    wanted = interrupted().state["identity"]
    module, trainer = begun()
    try:
        found = load_checkpoint(path, wanted)
        assert found is not None
        state = conforming(found, trainer, module)
    except Refused as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert reason.startswith(("is ", "has "))
        assert len(reason) < 500
        assert printable(reason) == reason
        return
    assert state["step"] in range(EVERY, STEPS, EVERY)
    restore(copy.deepcopy(state), trainer, module)
    module.hparams["resumed_at"] = state["step"]
    for name, value in take(trainer, module).items():
        assert name.startswith("random") or same(value, state[name]), name
    torch.set_rng_state(state["random"])
    with suppress(NotFinite):
        train_rest(module, trainer, state["step"])
        assert module.last is not None
        assert 0 <= module.last.auc <= 1


ODD: list[Any] = [
    None, True, -1, 0, 1, 3, 2**70, float("nan"), float("inf"), -1e300, 0.5, 4.0, "", "\x1b[31m" * 99, b"x", [], {},
    (1,), [{}], {"step": 4}, torch.zeros(0), torch.tensor(4), torch.tensor(float("nan")), torch.zeros(3, 3),
]  # fmt: skip
BENT: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda t: t[:-1],
    lambda t: t.reshape(-1),
    lambda t: t.mT.contiguous(),
    lambda t: t.double(),
    lambda t: t.to(torch.int32),
    lambda t: t.new_zeros(1).expand(t.shape),
    lambda t: t.clone().requires_grad_(),
    lambda t: torch.nn.Parameter(t.clone()),
    lambda t: t.to_sparse(),
    lambda t: t.to("meta"),
    lambda t: torch._neg_view(t),
    lambda t: -t,
    lambda t: torch.full_like(t, float("nan")),
    lambda t: torch.full_like(t, 1e30),
    lambda t: torch.full_like(t, 7),
    lambda t: torch.full_like(t, -1),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers inside, with each of their keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def edited(state: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The state after at most 8 edits, each of four bytes: two say where, one what is done, and one with what."""
    state = copy.deepcopy(state)
    for at in range(0, min(len(data) - 3, 32), 4):
        where, how, what = int.from_bytes(data[at : at + 2]), data[at + 2], data[at + 3]
        found = list(places(state))
        if not found:
            break
        within, key = found[where % len(found)]
        other, name = found[what % len(found)]
        match how % 5, within[key]:
            case 0, _:
                del within[key]
            case 1, _:
                within[key] = copy.deepcopy(other[name])
            case 2, _ if isinstance(within, dict):
                within[ODD[what % 10]] = within[key]
            case 3, torch.Tensor() as tensor:
                with suppress(RuntimeError, IndexError, TypeError):  # not every tensor can be bent like that
                    within[key] = BENT[what % len(BENT)](tensor)
            case 3 | 4, int() | float() as number if what >= 128:
                within[key] = number + (what - 192)
            case _:
                within[key] = ODD[what % len(ODD)]
    return state


def check_checkpoint_contents(data: bytes, folder: Path) -> None:
    """Contents that were edited."""
    torch.save(edited(interrupted().state, data), folder / NAME)
    check_checkpoint(folder / NAME)


def check_checkpoint_pickle(data: bytes, folder: Path) -> None:
    """The pickle inside, under a right checksum."""
    with zipfile.ZipFile(io.BytesIO(interrupted().file)) as sound, zipfile.ZipFile(folder / NAME, "w") as file:
        for name in sound.namelist():
            file.writestr(name, data if name.endswith("/data.pkl") else sound.read(name))
    check_checkpoint(folder / NAME)


def _checkpoint_pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(interrupted().file)) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))


# Downloads: what an earlier call left in the folder

STATE = b'{"url": "http://127.0.0.1:9/a.gz", "validator": "\\"v1\\"", "total": 1000}'


def check_download_state(data: bytes, folder: Path) -> None:
    """A left state is gone on with or forgotten; whatever it says, a request can be made of it."""
    (folder / "a.gz.part").write_bytes(b"\x1f\x8b" * 20)
    (folder / "a.gz.part.json").write_bytes(data)
    target = download._Target(folder / "a.gz", None, None)
    saved = download._saved(target, "http://127.0.0.1:9/a.gz")
    if saved is not None:
        assert saved.offset == 40
        assert isinstance(saved.total, int)
        saved.validator.encode("ascii")
        assert not set("\r\n") & set(saved.validator)
    download._kept(target)


def check_download_note(data: bytes, folder: Path) -> None:
    """A file whose recorded checksum is damaged is taken or refused."""
    (folder / "a.gz").write_bytes(b"\x1f\x8b" * 20)
    (folder / "a.gz.sha256").write_bytes(data)
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
TARGETS = {
    "reviews": Target(lambda: REVIEWS, check_reviews),
    "metadata": Target(lambda: METADATA, check_metadata),
    "gzip": Target(lambda: [gzip.compress(b"a\nb\n" * 9), gzip.compress(b"") + gzip.compress(b"x" * 99)], check_gzip),
    "tafeng-csv": Target(lambda: [CSV], check_tafeng_csv),
    "wheel": Target(lambda: [zipped(tafeng.MEMBER, zipped("a.csv", CSV))], check_wheel),
    "interactions": Target(lambda: [prepared()[TABLE]], check_interactions),
    "manifest": Target(lambda: [prepared()[MANIFEST]], check_manifest),
    "samples": Target(lambda: [content_of(lambda path: save_samples(sound_samples(), path))], check_samples),
    "record": Target(lambda: [json.dumps(RECORD).encode()], check_record),
    "metrics": Target(lambda: [METRICS], check_metrics),
    "predictions": Target(lambda: [content_of(lambda p: scored().to_parquet(p))], check_scores(PREDICTIONS)),
    "ranks": Target(lambda: [_ranks()], check_scores(RANKS)),
    "probes": Target(lambda: [_probes()], check_probes),
    "checkpoint": Target(lambda: [b"", bytes(range(32))], check_checkpoint_contents),
    "checkpoint-pickle": Target(lambda: [_checkpoint_pickle()], check_checkpoint_pickle),
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
