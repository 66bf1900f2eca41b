"""Logins are those that W&B's own code writes and finds, and its server is asked once, for a short time."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from typer.testing import CliRunner
from wandb.sdk.lib import urls, wbauth

from benchmark.cli.app import app
from benchmark.tracking import wandb_login as login
from benchmark.tracking.trackers import check_tracker
from benchmark.tracking.wandb_login import settle_wandb_mode, wandb_login
from benchmark.tracking.wandb_workspace import PANELS, create
from datamodules.errors import UserError
from tests.benchmark.tracking.stand_in import KEY, StandIn, serve


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serve() as listening:
        yield listening


def settled() -> tuple[str, list[str]]:
    """The mode that is settled on, and what was said."""
    said: list[str] = []
    settle_wandb_mode(said.append)
    return os.environ["WANDB_MODE"], said


def wandb_command(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "wandb", *arguments], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_without_a_login_nothing_is_asked_or_said() -> None:
    assert wandb_login() is None
    assert settled() == ("offline", [])


def test_a_login_at_the_default_host_is_found() -> None:
    """The pinned version keeps it under another host than api.wandb.ai."""
    wbauth.write_netrc_auth(host=urls.DEFAULT_BASE_URL, api_key=KEY)
    found = wandb_login()
    assert (found.api_key, found.host.url) == (KEY, urls.DEFAULT_BASE_URL)


def test_wandb_login_at_a_server_is_found(server: StandIn) -> None:
    wandb_command("login", "--host", server.url, KEY)
    found = wandb_login()
    assert (found.api_key, found.host.url) == (KEY, server.url)
    asked = len(server.asked)
    assert settled() == ("online", [])
    assert settled() == ("online", [])
    assert len(server.asked) == asked + 1  # once, whoever asks


def test_a_key_in_the_environment_is_found(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert settled() == ("online", [])


def test_a_key_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    mode, (line,) = settled()
    assert mode == "offline"
    assert "40" in line  # characters that a key has
    assert "secret" not in line


def test_a_token_in_a_file_is_a_login(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    (tmp_path / "token").write_text("a.b.c", "utf-8")
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert settled() == ("online", [])


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_what_wandb_was_told_before_stays(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wbauth.write_netrc_auth(host=urls.DEFAULT_BASE_URL, api_key=KEY)
    monkeypatch.chdir(tmp_path)  # where W&B keeps it
    wandb_command(mode)
    assert settled() == (mode, [])


@pytest.mark.parametrize(("old", "mode"), [("run", "online"), ("dryrun", "offline")])
def test_old_names_of_modes_are_those_of_today(old: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that runs which cannot be opened online are kept offline under both."""
    monkeypatch.setenv("WANDB_MODE", old)
    settle_wandb_mode(print)
    assert os.environ["WANDB_MODE"] == mode


def test_the_mode_of_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert settled() == ("online", [])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hangs", "does not answer (TimeoutError: timed out)"),
        ("500", "answers 500"),
        ("401", "answers 401"),
        ("cut", "does not answer (IncompleteRead: "),
        ("page", "JSON"),
        ("no viewer", "knows no such key"),
        ("refuses", "127.0.0.1:1 does not answer (ConnectionRefusedError: "),
    ],
)
def test_a_server_that_is_not_there_is_said_once(
    fault: str, words: str, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = fault  # type: ignore[assignment]
    address = "http://127.0.0.1:1" if fault == "refuses" else server.url
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(login, "SECONDS", 0.3)
    wandb_login()  # its import takes longer
    started = time.monotonic()
    mode, (line,) = settled()
    assert mode == "offline"
    assert words in line
    assert line.endswith("; runs are kept offline")
    assert KEY not in line
    assert time.monotonic() - started < 5
    with pytest.raises(UserError, match="did not take the workspace"):
        create(None, "dien-bench", "DIEN")


def test_a_proxy_is_used(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server.url)
    assert settled() == ("online", [])
    assert server.asked == ["POST http://wandb.invalid/graphql"]


@pytest.mark.parametrize("name", ["a/b", "50 %", "x" * 129])
def test_a_project_that_wandb_refuses_is_refused_before_a_sweep(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(wandb.errors.UsageError, match="Invalid project name"):
        wandb.Settings(project=name)
    monkeypatch.setenv("WANDB_PROJECT", name)
    with pytest.raises(UserError, match=r"WANDB_PROJECT is .*leave it out"):
        check_tracker("wandb")
    check_tracker("csv")
    monkeypatch.setenv("WANDB_PROJECT", "réseaux 1_2.3-4")
    check_tracker("wandb")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb-workspaces' own use of pydantic
def test_a_workspace_is_made_once_logged_in(server: StandIn) -> None:
    arguments = ["wandb-workspace", "--create", "--project", "mine"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, UserError)
    assert "wandb login" in str(refused.exception)
    wandb_command("login", "--host", server.url, KEY)
    wandb.teardown()  # another command reads the settings anew
    made = CliRunner().invoke(app, arguments)
    assert made.exit_code == 0, made.exception
    assert f"{server.url}/me/mine?nw=" in made.stdout
    (view,) = server.views
    assert len(view["section"]["panelBankConfig"]["sections"]) == len({panel.section for panel in PANELS})
