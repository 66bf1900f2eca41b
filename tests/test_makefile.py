"""The Makefile: which variables it takes, before anything is started."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from benchmark.runs.process import WORKER_VARIABLES

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def make(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["make", "--dry-run", "--no-print-directory", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("DATASET=tafeng", "DATASETS"), ("SEED=0", "SEEDS"), ("MODEL=din", "MODELS"), ("steps=10", "STEPS"),
     ("DRYRUN=1", "DRY_RUN"), ("PROTOCOLL=clean", "PROTOCOL"),
     ("WORKER=2", "WORKERS"), ("AMAZONMIRROR=x", "AMAZON_MIRROR")],
)  # fmt: skip
def test_an_unknown_variable_is_refused_with_the_likely_one(given: str, meant: str) -> None:
    done = make("reproduce-table4", "DATASETS=tafeng", given)
    assert done.returncode == 2
    assert f"unknown variable {given.partition('=')[0]} (did you mean {meant}?)" in done.stderr
    assert done.stdout == ""  # nothing would be run


def test_nothing_like_it_is_refused_too() -> None:
    done = make("test", "XYZZY=1")
    assert (done.returncode, "unknown variable XYZZY. Known: DATASETS" in done.stderr) == (2, True)


def test_all_variables_that_are_read_can_be_given() -> None:
    (known,) = re.findall(r"^KNOWN := (.*?)$(?!\t)", MAKEFILE.replace("\\\n\t", ""), re.M)
    set_here = set(re.findall(r"^(\w+) :?=", MAKEFILE, re.M))
    read = set(re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE)) - set_here - {"MAKECMDGOALS"}
    assert {"DATASETS", "RETRY_FAILED", "WANDB"} <= read <= set(known.split())
    of_environment = ["AMAZON_MIRROR=x", "WANDB_MODE=offline", "OMP_NUM_THREADS=1", "https_proxy=x", "RAY_ADDRESS=x"]
    assert make("reproduce-table4", *(f"{name}=1" for name in known.split()), *of_environment).returncode == 0


def test_workers_get_the_allocators_settings_that_make_gives() -> None:
    exported = dict(re.findall(r"^export (MALLOC_\w+) \?= (\d+)$", MAKEFILE, re.M))
    assert len(exported) == 3
    assert exported == {name: value for name, value in WORKER_VARIABLES.items() if name.startswith("MALLOC_")}


@pytest.mark.parametrize("target", ["quickstart", "reproduce-table1", "reproduce-table5", "reproduce-serving"])
def test_a_variable_that_a_target_does_not_read_is_refused(target: str) -> None:
    done = make(target, "DRY_RUN=1")  # it would train, or download
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{target} does not take DRY_RUN. It takes: " in done.stderr
    taken = re.findall(rf"^TAKEN_BY_{target} := (.*)$", MAKEFILE, re.M)[0].split()
    done = make(target, *(f"{name}=77" for name in taken))
    assert (done.returncode, done.stdout.count("77") >= len(taken)) == (0, True)


def test_the_environment_comes_before_what_a_target_has_for_itself() -> None:
    table3 = make("reproduce-table3", DATASETS="market").stdout
    assert '--datasets "market" --protocol "next-day"' in table3
    rocket = make("reproduce-rocket", DATASETS="beauty", MODELS="dien").stdout
    assert '--datasets "beauty" --protocol "clean"' in rocket
    assert '--models "dien"' in rocket
    for logs in ("market", "market-24k", "market-6k,market-24k", "kuairand-pure taobao-ad"):
        assert f'--datasets "{logs}" --protocol "next-day"' in make("reproduce-rocket", f"DATASETS={logs}").stdout
    assert '--seeds "7"' in make("quickstart", SEEDS="7").stdout
    assert '--datasets "taobao-ad kuairand-pure" --protocol "next-day"' in make("reproduce-table3").stdout


@pytest.mark.parametrize(
    ("value", "on"),
    [("1", True), ("on", True), ("YES", True), ("True", True), ("0", False), ("off", False), ("No", False),
     ("FALSE", False), ("", False)],
)  # fmt: skip
def test_on_and_off_are_read_alike_whatever_the_variable(value: str, on: bool) -> None:
    words = make("reproduce-rocket", *(f"{name}={value}" for name in ("WANDB", "DRY_RUN", "RETRY_FAILED"))).stdout
    assert ("--no-wandb" in words, "--dry-run" in words, "--retry-failed" in words) == (not on, on, on)
    assert ("table rocket" in words) is not on  # what was not trained is not shown
    assert ("--dry-run" in make("reproduce-table4", DRY_RUN=value).stdout) is on  # from the environment


@pytest.mark.parametrize("given", ["WANDB=2", "DRY_RUN=maybe", "RETRY_FAILED=it's", "DRY_RUN=1 0"])
def test_what_is_neither_on_nor_off_is_refused(given: str) -> None:
    done = make("reproduce-table4", given)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{given} is neither on nor off. On: 1, on, yes, true. Off: 0, off, no, false, or empty" in done.stderr


def test_without_a_word_curves_go_to_wandb_and_runs_are_trained() -> None:
    words = make("reproduce-table4").stdout
    assert not re.search("--no-wandb|--dry-run|--retry-failed", words)


def test_what_make_test_leaves_out_is_in_make_check() -> None:
    some, every = (re.findall(r"^\S+ -m pytest (.*)$", make(goal).stdout, re.M) for goal in ("test", "check"))
    assert some == [f'{every[0]} -m "not slow"']
    assert "-m " not in every[0]
