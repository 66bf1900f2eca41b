"""The container is the environment of `make setup`: its steps are run here with stand-ins for what installs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
# Writes down what it is told; as `python -m venv`, it puts itself where the environment's Python would be.
STAND_IN = """#!{python}
import json, pathlib, shutil, sys
words = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
with open({log!r}, "a") as file:
    file.write(json.dumps(words) + "\\n")
if words[1:3] == ["-m", "venv"]:
    (pathlib.Path(words[3]) / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(__file__, pathlib.Path(words[3]) / "bin" / "python")
"""


def instructions(name: str) -> list[str]:
    """The arguments of the instructions of a name, continued lines joined."""
    lines = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ").splitlines()
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def told(tmp_path: Path) -> list[list[str]]:
    """What the steps of the Dockerfile tell programs, in a folder with the files that they are given."""
    log, programs, work = tmp_path / "log", tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    for name in ("python3", "apt-get", "git", "rm"):
        (programs / name).write_text(STAND_IN.format(python=sys.executable, log=str(log)), "utf-8")
        (programs / name).chmod(0o755)
    for name in ("requirements.lock", "Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, work / name)
    path = f"{programs}:{os.environ['PATH']}"
    for step in instructions("RUN"):
        subprocess.run(["sh", "-ec", step], cwd=work, env=os.environ | {"PATH": path}, check=True, capture_output=True)
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


def test_the_environment_is_that_of_the_lock(told: list[list[str]]) -> None:
    installs = [words[4:] for words in told if words[1:4] == ["-m", "pip", "install"]]
    assert installs == [
        ["--quiet", "-r", "requirements.lock"],
        ["--quiet", "--no-deps", "--no-build-isolation", "-e", "."],
    ]
    assert [words[:4] for words in told if words[1:3] == ["-m", "venv"]] == [["python3", "-m", "venv", ".venv"]]


def test_the_container_runs_the_tests_on_what_the_checkout_holds() -> None:
    assert instructions("CMD") == ['["make", "test"]']
    assert instructions("COPY")[-1] == ". ."
    (place,) = instructions("WORKDIR")
    assert not re.search(r"https?://", DOCKERFILE)
    required = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert required
    assert instructions("FROM") == [f"python:{required[1]}-slim-bookworm"]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".venv", "data", "runs"} <= set(ignored)
    described = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    build = ROOT / ".devcontainer" / described["build"]["dockerfile"]
    assert build.resolve() == ROOT / "Dockerfile"
    assert described["workspaceFolder"] == place
    assert described["postCreateCommand"] == "make setup"
    assert all(f"target={place}" in mount for mount in [described["workspaceMount"], *described["mounts"]])
