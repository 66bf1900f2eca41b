"""Raw files that changed after the preparation: noticed, said, and without reading them at every start."""

import json
import os
from pathlib import Path

import pytest

from datamodules import datasets
from datamodules.datasets import DATASETS, prepare_dataset
from datamodules.errors import UserError
from datamodules.files import manifest
from datamodules.files.manifest import MANIFEST, check_inputs, describe_input
from datamodules.interactions import write_interactions
from datamodules.sources.generated import generate_interactions


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw file, and a folder that was made of it."""
    path = tmp_path / "raw" / "log.gz"
    path.parent.mkdir()
    path.write_bytes(b"original")
    made = generate_interactions(users=40, items=30, categories=5)
    made.inputs.append(describe_input(path, "http://localhost/log.gz", tmp_path))
    write_interactions(made, DATASETS["generated"], tmp_path / "generated")
    return path


def test_an_untouched_file_is_not_read(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "file_sha256", lambda path: pytest.fail("was read"))
    check_inputs(tmp_path / "generated", tmp_path)
    raw.unlink()
    check_inputs(tmp_path / "generated", tmp_path)  # what is gone may be gone


@pytest.mark.parametrize("content", [b"Original", b"longer than before"])
def test_an_exchanged_file(raw: Path, tmp_path: Path, content: bytes) -> None:
    raw.write_bytes(content)
    os.utime(raw, ns=(1, 1))
    with pytest.raises(UserError, match=r"log.gz is not the file that .*generated was made of.*Delete the folder"):
        prepare_dataset("generated", tmp_path)
    raw.write_bytes(b"original")
    os.utime(raw, ns=(2, 2))
    assert prepare_dataset("generated", tmp_path) == tmp_path / "generated"  # the same again, at another time


def test_the_data_directory_can_be_moved(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    for name in ("raw", "generated"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    check_inputs(tmp_path / "moved" / "generated", tmp_path / "moved")
    (tmp_path / "moved" / "raw" / "log.gz").write_bytes(b"other")
    with pytest.raises(UserError, match="is not the file"):
        check_inputs(tmp_path / "moved" / "generated", tmp_path / "moved")


@pytest.mark.parametrize("inputs", [None, 5, [5], [{"path": 5}], [{"path": "raw/log.gz"}]])
def test_inputs_that_say_nothing(raw: Path, tmp_path: Path, inputs: object) -> None:
    path = tmp_path / "generated" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"inputs": inputs}))
    with pytest.raises(UserError, match="cannot be read"):
        check_inputs(tmp_path / "generated", tmp_path)


def test_inputs_without_a_place_are_left_alone(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "generated" / MANIFEST
    inputs = [{"file": "log.gz", "url": "http://localhost/log.gz", "sha256": "0" * 64, "bytes": 8}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"inputs": inputs}))
    assert datasets.prepare_dataset("generated", tmp_path) == tmp_path / "generated"
