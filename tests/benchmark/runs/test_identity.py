"""The identity of a run: what changes the hash of its code, and what is not taken for the same run."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baselines import installed
from benchmark.cli.app import app
from benchmark.runs import identity
from benchmark.runs.config import RunConfig
from benchmark.runs.ended import finished_record
from benchmark.runs.identity import code_sha256
from benchmark.runs.train import train_run
from datamodules.errors import UserError

ROWS = ("base-model", "pnn", "aigru", "agru", "dien")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the packages, and the hashes that rows have by it."""
    folder = tmp_path_factory.mktemp("copied").resolve()
    for package in identity.PACKAGES:
        shutil.copytree(identity.ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "ROOT", folder)
        return folder, {row: code_sha256(row) for row in ROWS}


@pytest.fixture
def sources(copied: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the packages, which hashes are then taken of; a file that a test appends to is put back."""
    folder, _ = copied
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(identity, "ROOT", folder)
    yield folder
    for path in folder.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)
    identity._loaded.cache_clear()


def append(path: Path, text: str = "\nMORE = 1\n") -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")
    identity._loaded.cache_clear()


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("baselines/pnn.py", {"pnn"}),
        ("baselines/dien.py", {"aigru", "agru", "dien"}),
        ("baselines/layers/mlp.py", set(ROWS)),
        ("baselines/lazy_adam_kernel.py", set(ROWS)),
        ("baselines/lightning_module.py", set(ROWS)),
        ("datamodules/batches.py", set(ROWS)),
        ("datamodules/samples/__init__.py", set(ROWS)),
        ("baselines/__init__.py", set()),  # a row more leaves the others what they are
        ("datamodules/sources/amazon.py", set()),  # the data have a hash of their own
        ("datamodules/files/download.py", set()),
    ],
)
def test_a_change_counts_for_the_rows_that_it_reaches(
    copied: tuple[Path, dict[str, str]], sources: Path, file: str, changed: set[str]
) -> None:
    _, before = copied
    assert len(set(before.values())) == len(ROWS)
    append(sources / file)
    assert {row for row in ROWS if code_sha256(row) != before[row]} == changed


def test_options_are_no_part_of_the_code() -> None:
    assert code_sha256("dien+auxiliary_weight=0.5") == code_sha256("dien")


def test_versions_count_but_not_what_they_were_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_torch(version: str) -> str:
        monkeypatch.setattr(identity, "version", lambda name: version if name == "torch" else "1.0")
        return code_sha256("dien")

    assert with_torch("2.13.0+cpu") == with_torch("2.13.0+cu130") != with_torch("2.13.1+cpu")


MODEL = "from baselines.base_model import BaseModel\nclass Base(BaseModel):\n    pass\n"


def test_the_same_file_under_another_path_is_the_same_model(tmp_path: Path) -> None:
    for name in ("ma/m.py", "mb/other.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(MODEL)
    first, second = f"{tmp_path}/ma/m.py:Base", f"{tmp_path}/mb/other.py:Base"
    assert code_sha256(first) == code_sha256(second)
    assert code_sha256(first) != code_sha256(f"{tmp_path}/ma/m.py:BASE")
    append(tmp_path / "mb/other.py", "# another\n")
    assert code_sha256(first) != code_sha256(second)


def test_a_file_of_ones_own_counts_with_the_files_of_the_suite_that_it_uses(sources: Path) -> None:
    (sources / "mine.py").write_text(MODEL)
    mine = f"{sources}/mine.py:Base"
    before = code_sha256(mine)
    append(sources / "baselines/pnn.py")
    assert code_sha256(mine) == before
    append(sources / "baselines/base_model.py")
    assert code_sha256(mine) != before
    (sources / "mine.py").write_text("from baselines import load\nclass Base:\n    pass\n")
    before = code_sha256(mine)
    append(sources / "baselines/pnn.py", "ANOTHER = 1\n")  # load may give any row
    assert code_sha256(mine) != before


@pytest.mark.parametrize(
    ("files", "line", "counts"),
    [
        (["helper.py"], "import helper", True),
        (["helper.py"], "def later():\n    from helper import width", True),
        (["parts/__init__.py", "parts/a.py", "helper.py"], "import parts.a", False),
        (["parts/__init__.py", "parts/a.py", "parts/helper.py"], "from parts import helper", True),
        (["parts/__init__.py", "parts/a.py", "parts/helper.py"], "from parts.a import b", False),
        (["parts/a.py", "parts/helper.py"], "from parts.helper import b", True),  # without an __init__.py
        (["__init__.py", "helper.py"], "from .helper import width", True),
        (["__init__.py", "helper.py"], "from . import helper", True),
        (["__init__.py", "helper.py"], "from models.helper import width", True),  # the package that the file lies in
        (["helper.py"], "text = 'import helper'", False),
    ],
)
def test_what_a_file_imports_from_beside_it_counts(tmp_path: Path, files: list[str], line: str, counts: bool) -> None:
    folder = tmp_path / "models"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("width = 1\n")
    (folder / "mine.py").write_text(f"{line}\n{MODEL}")
    before = code_sha256(f"{folder}/mine.py:Base")
    append(next(folder / name for name in files if name.endswith("helper.py")))
    assert (code_sha256(f"{folder}/mine.py:Base") != before) == counts


def test_an_import_of_an_import_counts_and_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\n")
    (tmp_path / "b.py").write_text("import a\n")
    (tmp_path / "mine.py").write_text(f"import a\n{MODEL}")
    before = code_sha256(f"{tmp_path}/mine.py:Base")
    append(tmp_path / "b.py")
    assert code_sha256(f"{tmp_path}/mine.py:Base") != before


def test_versions_of_packages_that_a_file_of_ones_own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(f"import math\nimport sklearn.linear_model\n{MODEL}")
    real = identity.version

    def with_version(of: str, version: str) -> str:
        monkeypatch.setattr(identity, "version", lambda name: version if name == of else real(name))
        return code_sha256(f"{tmp_path}/mine.py:Base")

    assert with_version("scikit-learn", "1") != with_version("scikit-learn", "2")
    assert with_version("pytest", "1") == with_version("pytest", "2")


def test_a_row_of_an_installed_package_counts_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, metadata = tmp_path / "their_rows", tmp_path / "their_rows-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("")
    (package / "rows.py").write_text(MODEL)
    (tmp_path / "other_package.py").write_text("")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rows\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[dien_bench.models]\ntheir-row = their_rows.rows:Base\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed.cache_clear()
    try:
        before = code_sha256("their-row")
        append(tmp_path / "other_package.py")
        assert code_sha256("their-row") == before
        append(package / "part.py")
        assert code_sha256("their-row") != before
    finally:
        installed.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A finished run of a file of one's own."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "m.py").write_text(MODEL)
    config = RunConfig(
        "generated",
        "clean",
        f"{folder}/m.py:Base",
        "official",
        seed=0,
        steps=4,
        data_dir=str(folder / "data"),
        out=str(folder / "runs"),
        logger="csv",
    )
    train_run(config)
    return config


@pytest.fixture
def done(trained: RunConfig, tmp_path: Path) -> RunConfig:
    """That run in an output folder of its own."""
    shutil.copytree(trained.out, tmp_path / "runs")
    return replace(trained, out=str(tmp_path / "runs"))


def edit(config: RunConfig, **fields: Any) -> None:
    path = config.folder() / "record.json"
    record = json.loads(path.read_text("utf-8")) | fields
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not None}), "utf-8")


def other_version(config: RunConfig) -> dict[str, Any]:
    record = json.loads((config.folder() / "record.json").read_text("utf-8"))
    return {"code_sha256": "0" * 64, "versions": record["versions"] | {"torch": "1.0.0"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (lambda config: {"code_sha256": "0" * 64}, r"holds a run of other code \(code_sha256 00000000, now "),
        (other_version, r"torch 1\.0\.0, now 2\.\d+"),
        (lambda config: {"data_sha256": "0" * 64}, r"holds a run of other samples \(data_sha256 00000000"),
        (lambda config: {"protocol_hash": "00000000"}, r"holds a run of other protocol \(protocol_hash 00000000"),
    ],
)
def test_a_run_of_another_identity_is_refused_for_its_seed_and_for_the_next(
    done: RunConfig, fields: Callable[[RunConfig], dict[str, Any]], message: str
) -> None:
    assert finished_record(done) is not None
    edit(done, **fields(done))
    for config in (done, replace(done, seed=1)):
        with pytest.raises(UserError, match=message) as caught:
            train_run(config)
        assert "Choose another output folder" in str(caught.value)
    assert not list(replace(done, seed=1).folder().glob("*.json"))


def test_samples_that_are_not_made_yet_pass(done: RunConfig, tmp_path: Path) -> None:
    edit(done, data_sha256="0" * 64)
    assert finished_record(replace(done, data_dir=str(tmp_path / "nothing prepared"))) is not None


def test_a_failed_run_of_other_code_is_still_the_failed_run(done: RunConfig) -> None:
    edit(done, status="failed", reason="no luck", code_sha256="0" * 64)
    found = finished_record(done)
    assert found is not None
    assert found["reason"] == "no luck"
    assert finished_record(replace(done, seed=1)) is None


def test_the_same_file_elsewhere_is_the_run_that_is_there(done: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(MODEL)
    assert finished_record(replace(done, model=f"{tmp_path}/elsewhere.py:Base")) is not None
    append(tmp_path / "elsewhere.py", "# another\n")
    with pytest.raises(UserError, match="holds a run with model_sha256"):
        finished_record(replace(done, model=f"{tmp_path}/elsewhere.py:Base"))
    with pytest.raises(UserError, match="holds a run of other code"):
        finished_record(replace(done, model=f"{tmp_path}/elsewhere.py:Base", seed=1))


def test_the_command_refuses_with_exit_code_2(done: RunConfig) -> None:
    edit(done, code_sha256="0" * 64)
    words = ["run", "--datasets", "generated", "--protocol", "clean", "--models", done.model, "--seeds", "0 1"]
    words += ["--steps", "4", "--no-wandb", "--out", done.out, "--data-dir", done.data_dir, "--workers", "1"]
    said = CliRunner().invoke(app, words)
    assert isinstance(said.exception, UserError)
    assert not replace(done, seed=1).folder().exists()
