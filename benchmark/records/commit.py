"""Which commit of the project this code is."""

import os
import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of this checkout, with "-dirty" where tracked files differ from it; None outside a checkout.

    Another repository around the code, as where it is installed in a project's .venv, does not count.
    """
    place = "benchmark/records/commit.py"
    if _git("ls-files", "--full-name", "--error-unmatch", place) != place:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    """What git prints about the folder of the packages, None where it fails; a hook's GIT_DIR is left out."""
    root = Path(__file__).resolve().parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, check=True, encoding="utf-8", env=environment, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
