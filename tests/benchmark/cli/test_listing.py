"""What `dien-bench list` and `--version` say, beside the code that it is about."""

import inspect
import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baselines.dien import DIEN
from benchmark.cli import app as cli
from benchmark.records import paper
from benchmark.report import catalogue
from datamodules.datasets import DATASETS
from datamodules.protocol import PROTOCOLS
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.released.sets import FINISHED

ROOT = Path(__file__).parents[3]


def invoke(*arguments: object) -> Any:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


def test_models_have_the_options_of_their_constructors() -> None:
    found = {line["name"]: line for line in json.loads(invoke("list", "models", "--json").stdout)}
    assert set(paper.LABELS) <= set(found)
    parameters = inspect.signature(DIEN.__init__).parameters
    known = {name for name in parameters if name not in ("self", "schema", "variant")}
    assert set(found["dien"]["options"]) == known
    assert found["dien"]["options"]["auxiliary_weight"] == parameters["auxiliary_weight"].default == 1.0
    assert (found["agru"]["options"]["evolution"], found["agru"]["options"]["auxiliary_weight"]) == ("agru", 0.0)
    assert (found["din"]["tables"], found["dien"]["tables"]) == (["2", "3"], ["2", "3", "4"])
    shown = invoke("list", "models").stdout
    assert "auxiliary_weight=1.0" in shown
    assert "auxiliary_draws: fresh or once" in shown


def test_data_sets_before_and_after_they_are_prepared(tmp_path: Path) -> None:
    def listed() -> dict[str, Any]:
        found = json.loads(invoke("list", "datasets", "--data-dir", tmp_path, "--json").stdout)
        return {line["name"]: line for line in found}

    before = listed()
    assert list(before) == [*DATASETS, *FINISHED, *IMPRESSIONS]
    assert before["sports"]["interactions"] == 296_337
    assert before["sports"]["download_bytes"] is None
    assert (before["generated"]["interactions"], before["generated"]["prepared"]) == (None, False)
    invoke("prepare", "generated", "--data-dir", tmp_path)
    clicks = tmp_path / "clicks.csv"
    clicks.write_text(
        "user,item,category,time\n" + "".join(f"u{n // 2},i{n},c,{1511544070 + n}\n" for n in range(24)), "utf-8"
    )
    invoke("import", clicks, "--name", "my-clicks", "--data-dir", tmp_path)
    after = listed()
    manifest = json.loads((tmp_path / "generated" / "manifest.json").read_text("utf-8"))
    assert after["generated"]["interactions"] == manifest["counts"]["interactions"]
    assert after["generated"]["prepared"]
    mine = after["my-clicks"]
    assert (mine["interactions"], mine["download_bytes"]) == (24, clicks.stat().st_size)
    shown = invoke("list", "datasets", "--data-dir", tmp_path).stdout
    assert re.search(r"tafeng +no +15 MB +3 passes +625,021 +19,080 +15,483 +1,683", shown)
    assert re.search(r"taobao-ad +no .* 1 pass ", shown)
    assert "licence of tafeng" in shown


def test_protocols_and_metrics() -> None:
    found = json.loads(invoke("list", "protocols", "--json").stdout)
    assert [(line["name"], line["hash"]) for line in found] == [(one.name, one.hash) for one in PROTOCOLS.values()]
    assert "negative: popularity, not seen; pool: training users" in invoke("list", "protocols").stdout
    assert [line["name"] for line in json.loads(invoke("list", "metrics", "--json").stdout)] == (
        [line["name"] for line in catalogue.metrics()]
    )
    assert "log loss" in invoke("list", "metrics").stdout


@pytest.mark.parametrize("known", [True, False])
def test_the_version_and_the_commit_where_there_is_one(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if known:
        monkeypatch.setattr(cli, "commit", lambda: "ab" * 20)
    else:
        monkeypatch.setattr(cli, "commit", lambda: None)
    shown = invoke("--version").stdout
    assert shown == f"dien-bench {version('dien-bench')}{', commit ' + 'ab' * 20 if known else ''}\n"


def test_make_help_has_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    shown = set(re.findall(r"^make (\S+) +\S", done.stdout, re.M))
    (phony,) = re.findall(r"^\.PHONY: (.*?)$(?!\t)", (ROOT / "Makefile").read_text("utf-8").replace("\\\n", ""), re.M)
    assert shown == set(phony.split())
