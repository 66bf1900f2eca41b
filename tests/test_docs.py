"""The pages do what they say: their `sh` blocks are run, in order, in an empty folder.

A block that a test cannot run has the reason in the line before it: <!-- not run: it downloads 500 MB -->
Examples in `python` blocks that begin with >>> are doctests, and every cell of the notebook is run.
"""

import doctest
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pytest
import yaml

from benchmark.cli.app import app
from benchmark.records.record import FIELDS
from datamodules.protocol import PROTOCOLS

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs/tour.ipynb"
MADE = ROOT / "docs/command-line.md"  # by the program itself
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").glob("*.md")} - {MADE})]
BLOCK = re.compile(r"(?:^<!-- not run: *(?P<reason>.*?) *-->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    language: str
    text: str
    reason: str | None  # why it is not run


def blocks_of(page: Path) -> list[Block]:
    found = (match.groupdict() for match in BLOCK.finditer(page.read_text()))
    return [Block(str(block["language"]), str(block["text"]), block["reason"]) for block in found]


def commands_of(text: str) -> list[str]:
    """The commands of a block that can be run in this process, or the whole block where a shell has to run it."""
    lines = text.replace("\\\n", " ").splitlines()
    return lines if all(is_ours(line) or is_module(line) for line in lines) else [text]


def is_ours(command: str) -> bool:
    """Whether a command is one of `dien-bench` alone, with nothing that only a shell understands."""
    return bool(re.match(r"(\.venv/bin/)?dien-bench ", command)) and not re.search(r"[|>&;$`\n]", command)


def is_module(command: str) -> bool:
    """Whether a command runs a module of the suite, with nothing that only a shell understands but a comment."""
    return bool(re.fullmatch(r"python -m benchmark(\.\w+)+ [^|>&;$`\n#]*(#.*)?", command))


def execute(command: str) -> None:
    """Run a command: `dien-bench` and the suite's modules in this process, for every other one has imports to do."""
    if is_ours(command):
        assert not app(shlex.split(command)[1:], standalone_mode=False)
        return
    if is_module(command):
        _, _, name, *arguments = shlex.split(command, comments=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(sys.modules, name, raising=False)
            patch.setattr(sys, "argv", [name, *arguments])
            runpy.run_module(name, run_name="__main__")
        return
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=os.environ | {"PATH": search, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.usefixtures("trains_here")
@pytest.mark.timeout(900)  # runs are trained, if small ones
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIEN_BENCH_DATA", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for block in blocks_of(page):
        if block.language == "sh" and block.reason is None:
            for command in commands_of(block.text):
                execute(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIEN_BENCH_DATA", raising=False)
    text = "\n".join(block.text for block in blocks_of(page) if block.language == "python" and block.text[:3] == ">>>")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    said: list[str] = []
    doctest.DocTestRunner().run(examples, out=said.append)
    assert "".join(said) == ""
    assert bool(examples.examples) == (page.name == "python.md")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")  # there is nobody to look at it
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every code cell, one after another in one namespace, as Jupyter would, and what came of them."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)  # none to become stale
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    plt.close("all")
    made: dict[str, Any] = {}
    for number, cell in enumerate(code):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), made)
    drawn = [len(axes.lines) + len(axes.patches) for n in plt.get_fignums() for axes in plt.figure(n).axes]
    plt.close("all")
    assert 0 <= made["tested"].p <= 1
    assert abs(made["tested"].difference) < 0.1
    assert (made["record"].steps, len(made["probabilities"]), len(drawn), min(drawn) > 0) == (200, 60, 3, True)
    names = sorted(path.name for path in made["folder"].iterdir() if path.name != "__pycache__")
    assert names == ["data", "my_model.py", "runs", "test_my_model.py"]
    assert not list(tmp_path.iterdir())  # nothing is left where Jupyter was started
    shutil.rmtree(made["folder"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_a_page(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language not in ("bash", "shell", "console"), f"{page.name}: write ```sh, so that it is run"
        assert block.reason is None or (block.language == "sh" and len(block.reason) > 10), block


def test_the_page_on_models_shows_the_file_that_is_written() -> None:
    shown = [block.text for block in blocks_of(ROOT / "docs" / "adding-a-model.md") if block.language == "python"]
    assert (ROOT / "benchmark" / "templates" / "model.py").read_text() == shown[0]


def recipe(target: str, *variables: str) -> list[str]:
    """The command that make would run last for a target; raises `CalledProcessError` for one that it does not know."""
    words = ["make", "--dry-run", "--no-print-directory", target, *variables]
    lines = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.replace("\\\n", " ")
    return shlex.split(lines.splitlines()[-1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_knows_the_targets_of_a_page(page: Path) -> None:
    text = "\n".join([*(block.text for block in blocks_of(page)), *re.findall(r"`(make .*?)`", page.read_text())])
    for target in re.findall(r"\bmake ([a-z][\w/.-]*)", text):
        assert recipe(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:baselines|benchmark|datamodules|leaderboards|tests)/[\w./-]+)", page.read_text("utf-8"))
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_variables_of_make_are_options_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that the page on running names, with the values that it gives them."""
    (text,) = [block.text for block in blocks_of(ROOT / "docs/running.md") if "RETRY_FAILED=1" in block.text]
    named = dict(re.findall(r'\b([A-Z_]+)=("[^"]*"|\S+)', text))
    assert len(named) > 10
    of_the_environment = {"AMAZON_MIRROR"}
    values = {name: value.strip('";:') for name, value in named.items() if name not in of_the_environment}
    words = recipe("reproduce-table4", *(f"{name}={value}" for name, value in values.items()))
    for name, value in values.items():
        option = {"WANDB": "--no-wandb"}.get(name, f"--{name.lower().replace('_', '-')}")
        assert option in words, name
        assert value in ("1", "off") or words[words.index(option) + 1] == value
    here = [f"{name}={values[name]}" for name in values if name not in ("EXECUTOR", "DEVICES", "OUT")]
    words = recipe("reproduce-table4", *here, f"OUT={tmp_path}")
    assert not app(words[1:], standalone_mode=False)
    assert "20 runs" in capsys.readouterr().out  # two data sets, two rows, five seeds


def test_the_workflow_publishes_the_board_that_is_built() -> None:
    blocks = blocks_of(ROOT / "docs" / "boards.md")
    (workflow,) = [yaml.safe_load(block.text) for block in blocks if block.language == "yaml"]
    steps = workflow["jobs"]["publish"]["steps"]
    (path,) = [step["with"]["path"] for step in steps if "upload-pages" in step["uses"]]
    assert all(f"--board {path}" in line for block in blocks[:1] for line in block.text.splitlines()[1:])
    assert workflow[True]["push"]["paths"] == [f"{path}/**"]  # YAML reads "on" as true


def test_blocks_are_found() -> None:
    text = "a\n<!-- not run: no network here -->\n```sh\nx\n```\n```sh\ny \\\n  z\n```\n```text\nout\n```\n"
    page = type("Page", (), {"read_text": lambda self: text})()
    assert blocks_of(page) == [
        Block("sh", "x\n", "no network here"), Block("sh", "y \\\n  z\n", None), Block("text", "out\n", None)
    ]  # fmt: skip
    assert commands_of("dien-bench a \\\n b\ndien-bench c\n") == ["dien-bench a   b", "dien-bench c"]
    for mixed in ("cd x\ndien-bench a\n", "dien-bench a | tail\n", "dien-bench a > b\n"):
        assert commands_of(mixed) == [mixed]
    assert commands_of("python -m benchmark.a.b c  # d\ndien-bench e\n") == [
        "python -m benchmark.a.b c  # d",
        "dien-bench e",
    ]
    assert commands_of("python -m benchmark.a.b c | tail\n") == ["python -m benchmark.a.b c | tail\n"]
    with pytest.raises(AssertionError, match="exit 3"):
        execute("exit 3")


def test_the_page_on_the_command_line_is_what_the_program_says(tmp_path: Path) -> None:
    made = tmp_path / "command-line.md"
    words = [
        "benchmark.cli.app",
        "utils",
        "docs",
        "--name",
        "dien-bench",
        "--title",
        "Command line",
        "--output",
        str(made),
    ]
    subprocess.run([sys.executable, "-m", "typer", *words], cwd=ROOT, check=True, capture_output=True)
    assert made.read_text() == MADE.read_text(), "run: make docs/command-line.md"


def test_the_readme_is_one_page_whose_results_are_computed() -> None:
    """It is short, and no AUC stands in it but between marks that the build fills."""
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    by_hand = re.sub(r"^<!-- (.*?) -->\n.*?^<!-- /\1 -->$", "", text, flags=re.M | re.S)
    assert by_hand != text
    assert re.findall(r"0\.\d{2,}", by_hand) == []


def test_pages_name_all_that_there_is() -> None:
    protocols, records = ((ROOT / f"docs/{name}.md").read_text() for name in ("protocols", "records"))
    assert all(f"`{name}`" in protocols for name in PROTOCOLS)
    assert all(f"`{field}`" in records for field in FIELDS)
