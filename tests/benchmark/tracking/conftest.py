"""Tests of trackers have a user without a login, at home in an empty folder."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import wandb

VARIABLES = (
    "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_PROJECT",
    "WANDB_SILENT", "NETRC", "XDG_CONFIG_HOME",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is as before behind the test, whatever the test sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    with suppress(Exception):  # of a process of W&B that has died
        wandb.teardown()  # the next test's W&B reads its settings anew
