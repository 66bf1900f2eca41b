"""Whether W&B runs are online: its own code finds a login, and its server answers. Asked once for a sweep."""

import os
from collections.abc import Callable
from typing import Any

import requests

from benchmark.tracking.trackers import reason_of

SECONDS = 5.0  # that the server has to answer
OLD_MODES = {"run": "online", "dryrun": "offline"}  # names that W&B still takes


def settle_wandb_mode(say: Callable[[str], None]) -> None:
    """Set WANDB_MODE, where the user has not, for this process and those that it starts; nothing is asked of the user.

    It is what `wandb offline` or `wandb disabled` has chosen; else "offline" without a login, and where the server does
    not answer or does not know the key: `say` is told that; else "online".
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    if mode := os.environ.get("WANDB_MODE"):
        os.environ["WANDB_MODE"] = OLD_MODES.get(mode, mode)
        return
    mode = "offline"
    try:
        chosen = _settings().mode
        if chosen != "online":
            mode = chosen
        elif (login := wandb_login()) is not None:
            check_server(login)
            mode = "online"
    except Exception as error:  # of W&B, or of the way to its server
        say(f"W&B: {reason_of(error)}; runs are kept offline")
    os.environ["WANDB_MODE"] = mode


def wandb_login() -> Any:
    """The login that W&B itself finds (environment, netrc, its settings), an `Auth` of its `wbauth`; None without one.

    Raises an error of `wandb` for a login that is damaged.
    """
    from wandb.sdk.lib import wbauth

    host = _settings().base_url
    return wbauth.authenticate_session(host=host, source="dien-bench", prompt=False, update_session=False)


def check_server(login: Any) -> None:
    """Raise `OSError` where the server of a login does not answer within `SECONDS`, or does not know its key.

    Raises `ValueError` where something else answers in its place.
    Proxies of the environment are used. Any other answer counts as one: W&B may have a certificate or a header that
    lets it through.
    """
    key = getattr(login, "api_key", None)  # None: a token in a file
    try:
        answer = requests.post(
            f"{login.host.url}/graphql",
            json={"query": "query Viewer { viewer { id } }"},
            auth=("api", key) if key else None,
            timeout=SECONDS,
        )
    except requests.exceptions.SSLError:
        return
    except requests.exceptions.RequestException as error:
        raise ConnectionError(f"{login.host.url} does not answer ({_first_cause(error)})") from error
    if answer.status_code >= 500 or (key and answer.status_code == 401):
        raise ConnectionError(f"{login.host.url} answers {answer.status_code} {answer.reason}")
    if answer.ok and answer.json()["data"]["viewer"] is None:  # raises where it is the page of somebody else
        raise ConnectionError(f"{login.host.url} knows no such key")


def _first_cause(error: BaseException) -> str:
    """What the operating system said: requests and urllib3 put much around it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return reason_of(error)


def _settings() -> Any:
    from wandb.sdk import wandb_setup  # here: half a second

    return wandb_setup.singleton().settings
