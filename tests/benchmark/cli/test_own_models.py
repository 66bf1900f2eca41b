"""A model of the user's own: the file that new-model writes, check-model, and rows of installed packages."""

import itertools
import pickle
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from baselines import MODELS, installed, load, model_label
from baselines.contract import RULES, SCHEMA
from baselines.dien import DIEN
from benchmark.cli.app import app
from benchmark.cli.options import rows_of
from benchmark.runs.config import RunConfig
from benchmark.runs.ended import finished_record
from benchmark.runs.train import train_run
from benchmark.templates.new_model import new_model
from datamodules.errors import UserError

ROOT = Path(__file__).parents[3]


def test_what_new_model_writes_works_as_it_is(tmp_path: Path) -> None:
    written = new_model("my-first_model", tmp_path)
    assert [path.name for path in written] == ["my_first_model.py", "test_my_first_model.py"]
    test = runpy.run_path(str(written[1]))  # pytest's marks are kept, so that what it would call is called here
    for rule, variant in itertools.product(RULES, ("official", "paper")):
        test["test_contract"](rule, variant)
    test["test_attention_is_a_softmax_of_scaled_products"]()
    assert [mark.args for mark in test["test_contract"].pytestmark] == [
        ("rule", RULES), ("variant", ["official", "paper"])
    ]  # fmt: skip
    options = ["--config", str(ROOT / "pyproject.toml"), "--config", f"src = [{str(ROOT)!r}]"]
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    assert ruff
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *command, *options, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("din", "is a row already"),
        ("base-model", "is a row already"),
        ("MyModel", "cannot be named"),
        ("../up", "cannot be named"),
        ("a--b", "cannot be named"),
        ("", "cannot be named"),
        ("x" * 41, "cannot be named"),
        ("prediction", "would be Prediction, which the file itself uses"),
        ("tensor", "would be Tensor"),
        ("path", "would be Path"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        new_model(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        new_model("mine", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_check_model_ends_with_1_where_a_rule_is_broken(tmp_path: Path) -> None:
    (path, _) = new_model("mine", tmp_path)
    path.write_text(path.read_text().replace("dim=1))[:, 0]", "dim=1))"))
    said = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["check-model", f"{path}:Mine", "--variant", "paper"])
    assert said.exit_code == 1
    assert "logit has shape (6, 1), expected (6,)" in said.output
    said = CliRunner().invoke(app, ["check-model", "base-model", "--variant", "paper"])
    assert said.exit_code == 0, said.output
    assert "broken" not in said.output


def test_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch\nclass Mine(torch.nn.Module:\n")
    with pytest.raises(UserError, match=r"mine.py cannot be run: SyntaxError.*line 2"):
        load(f"{tmp_path / 'mine.py'}:Mine")
    (tmp_path / "mine.py").write_text("import no_such_package\n")
    with pytest.raises(UserError, match="No module named 'no_such_package'"):
        load(f"{tmp_path / 'mine.py'}:Mine")


def test_a_changed_file_is_not_taken_for_the_one_that_was_run(tmp_path: Path) -> None:
    (path, _) = new_model("mine", tmp_path)
    config = RunConfig(
        "generated", "arxiv-v1", f"{path}:Mine", "official", 0, 4, data_dir=str(tmp_path), out=str(tmp_path / "runs")
    )
    record = train_run(config)
    assert record["model"] == "mine"
    assert finished_record(config) is not None
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="holds a run with model_sha256"):
        finished_record(config)


def test_rows_asked_for() -> None:
    assert rows_of(None, None) == [name for name in MODELS if name != "dien-rocket"]
    assert rows_of(None, None, ["my dir/a.py:A", "b.py:B"]) == ["my dir/a.py:A", "b.py:B"]
    assert rows_of("din dien", "4", ["a.py:A", "din"]) == ["din", "dien", "a.py:A"]
    assert rows_of("din,dien", None) == rows_of("din, dien", None) == ["din", "dien"]
    assert rows_of("a,b.py:A din", None, ["c d,e.py:B"]) == ["a,b.py:A", "din", "c d,e.py:B"]
    assert rows_of(None, "2", ["a.py:A"])[-2:] == ["dien", "a.py:A"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package on the path, as pip leaves it, whose entry points a test writes."""
    new_model("my-row", tmp_path)
    (tmp_path / "my_row.py").rename(tmp_path / "their_package.py")
    metadata = tmp_path / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed.cache_clear()
    yield metadata / "entry_points.txt"
    installed.cache_clear()
    sys.modules.pop("their_package", None)


def test_a_row_of_an_installed_package(package: Path) -> None:
    package.write_text("[dien_bench.models]\nmy-row = their_package:MyRow\n")
    assert isinstance(installed()["my-row"], EntryPoint)
    model = load("my-row+embedding_size=3")(SCHEMA, variant="paper")
    assert model.tables["item"].weight.shape == (30, 3)
    assert model_label("my-row+embedding_size=3") == "my-row+embedding_size=3"
    assert model_label("file.py:MyRow") == "myrow"
    with pytest.raises(UserError, match="did you mean 'my-row'"):
        load("my-rwo")
    with pytest.raises(UserError, match="unknown option of my-row 'width'"):
        load("my-row+width=3")
    with pytest.raises(UserError, match="is a row already"):
        new_model("my-row", package.parent)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("dien = their_package:MyRow", "their-package adds a model 'dien', which is there already"),
        ("My Row = their_package:MyRow", "their-package adds a model named 'My Row'"),
        ("my-row = their_package:Nothing", "cannot be loaded from their_package:Nothing: AttributeError"),
        ("my-row = no_package_at_all:MyRow", "cannot be loaded from no_package_at_all:MyRow: ModuleNotFoundError"),
    ],
)
def test_packages_that_are_refused(package: Path, entry: str, message: str) -> None:
    package.write_text(f"[dien_bench.models]\n{entry}\n")
    with pytest.raises(UserError, match=message):
        load("my-row")
    assert load("dien") is DIEN


MODEL_WITH_NEIGHBOUR = """
from torch import nn
from sizes import SIZE

class Mine(nn.Module):
    def __init__(self, **options):
        super().__init__()
        from late import OFFSET
        self.size = SIZE + OFFSET
"""


def test_a_model_imports_the_files_beside_it_and_no_others(tmp_path: Path) -> None:
    made = []
    for number, folder in enumerate((tmp_path / "a", tmp_path / "b"), start=1):
        folder.mkdir()
        (folder / "mine.py").write_text(MODEL_WITH_NEIGHBOUR, encoding="utf-8")
        (folder / "sizes.py").write_text(f"SIZE = {number}", encoding="utf-8")
        (folder / "late.py").write_text(f"OFFSET = {10 * number}", encoding="utf-8")
        kind = load(f"{folder / 'mine.py'}:Mine")
        made.append((kind, kind()))
    (first, one), (second, two) = made
    assert (one.size, two.size) == (11, 22)
    assert pickle.loads(pickle.dumps(first)) is first
    assert pickle.loads(pickle.dumps(second)) is second
    again = load(f"{tmp_path / 'a' / 'mine.py'}:Mine")()
    assert again.size == 11
    assert "baselines" in sys.modules
