"""The structure of the packages: no import cycle, few levels, small folders, and a training process that stays lean.

Imports are read from the source, those inside functions and for type checkers included.
"""

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from benchmark.runs.identity import syntax_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("baselines", "benchmark", "datamodules")
MOST_LEVELS = 10  # the longest chain of imports inside benchmark/
MOST_MODULES = 12  # in one folder, __init__.py not counted
Graph = Mapping[str, set[str]]  # a module -> the modules that it imports

# Inside benchmark/, a folder imports only from folders to its right (design of the project: docs/architecture.md).
ORDER = (
    "cli", "leaderboard", "abtest", "bench", "report", "serving", "templates", "tuning", "executors", "runs",
    "tracking", "analysis", "records",
)  # fmt: skip
# torchmetrics imports matplotlib by itself, so that is not among them.
DRAWING = ("markdown_it", "playwright", "benchmark.report", "benchmark.leaderboard", "benchmark.cli")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imports_of(source: str, known: Iterable[str]) -> set[str]:
    """The modules among `known` that a source imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(syntax_of(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else str(node.module) for name in whole}
    return names & set(known)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return {name: imports_of(path.read_text("utf-8"), MODULES) - {name} for name, path in MODULES.items()}


def levels(graph: Graph) -> dict[str, int]:
    """The level of each module: 1 where it imports none of the graph, else one more than the highest that it imports.

    Raises `CycleError` where modules import each other.
    """
    level: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        level[name] = 1 + max((level[other] for other in graph[name]), default=0)
    return level


def within(graph: Graph, package: str) -> Graph:
    inside = {name for name in graph if name == package or name.startswith(f"{package}.")}
    return {name: graph[name] & inside for name in inside}


def test_cycles_and_levels_are_found() -> None:
    assert levels({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"c"}}) == {"c": 1, "b": 2, "d": 2, "a": 3}
    with pytest.raises(CycleError):
        levels({"a": {"b"}, "b": {"a"}})
    source = "import x.y\ndef f():\n    from x import z, word\n"
    assert imports_of(source, {"x", "x.y", "x.z"}) == {"x", "x.y", "x.z"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_through_others(package: str, graph: Graph) -> None:
    assert max(levels(within(graph, package)).values()) <= MOST_LEVELS


def test_packages_import_in_one_direction(graph: Graph) -> None:
    for name, imported in graph.items():
        of = {other.partition(".")[0] for other in imported}
        if name.startswith("datamodules"):
            assert of <= {"datamodules"}, name
        if name.startswith("baselines"):
            assert of <= {"baselines", "datamodules"}, name


def test_folders_of_benchmark_import_in_one_direction(graph: Graph) -> None:
    for name, imported in graph.items():
        for other in imported:
            if name.count(".") > 1 and other.startswith("benchmark.") and other.count(".") > 1:
                here, there = name.split(".")[1], other.split(".")[1]
                assert ORDER.index(here) <= ORDER.index(there), f"{name} imports {other}"


def test_folders_are_small() -> None:
    sizes = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_every_module_says_what_it_is_for() -> None:
    for name, path in MODULES.items():
        first = (ast.get_docstring(syntax_of(path.read_text("utf-8"))) or "").partition("\n")[0]
        assert len(first) > 10, name


@pytest.mark.slow
def test_a_process_that_trains_draws_nothing_and_one_that_does_not_imports_no_torch(tmp_path: Path) -> None:
    """What a worker has imported once it has trained a run, and what a sweep imports before it starts one."""
    program = """
import json, sys
import benchmark.__main__  # as multiprocessing does in a worker
from benchmark.runs.process import collect_seldom
collect_seldom()
from benchmark.executors import fresh, plan, processes, sweep
from benchmark.runs import ended
from benchmark.runs.config import RunConfig
RunConfig("generated", "clean", "dien", "official", 0).check()
assert not {"torch", "numba", "pandas", "sklearn", "scipy.stats", "matplotlib"} & set(sys.modules)
from benchmark.runs.train import train_run
train_run(RunConfig("generated", "clean", "base-model", "official", 0, steps=4, out=sys.argv[1], data_dir=sys.argv[1]))
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    assert [name for name in modules if name.startswith(DRAWING)] == []


@pytest.mark.slow
def test_what_makes_tables_and_pages_waits_for_no_torch() -> None:
    program = """
import sys
from benchmark.cli import app
from benchmark.leaderboard import build, store
from benchmark.report import catalogue, tables
print(*sorted({"numba", "scipy.stats", "sklearn", "torch"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
