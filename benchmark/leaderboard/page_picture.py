"""Pictures of the leaderboard's page for the README, light and dark: `python -m benchmark.leaderboard.page_picture`.

Needs Playwright (`pip install -e ".[dev]"`) and a Chromium. Fonts differ between machines, so the pictures are made by
hand where the page's look has changed, and no test compares them.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

BOARD = Path("leaderboards")
NAMES: dict[Literal["light", "dark"], str] = {"light": "page.png", "dark": "page-dark.png"}
WIDTH, HEIGHT = 1280, 800
MOST = 200_000  # bytes of a picture
# Without these flags Chromium looks up hosts of its own; root needs the first.
FLAGS = ["--no-sandbox"] * (getattr(os, "geteuid", int)() == 0) + [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(playwright: "Playwright") -> "Browser":
    """Start the system's Chromium, or Playwright's own; raises `UserError` where there is none."""
    own = playwright.chromium.executable_path
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), own if Path(own).exists() else None)
    if found is None:
        raise UserError("no Chromium found: apt-get install chromium, or playwright install chromium")
    return playwright.chromium.launch(executable_path=found, args=FLAGS)


def take(page: Path, scheme: Literal["light", "dark"], browser: "Browser") -> bytes:
    """Return the top of a page as PNG."""
    size: Any = {"width": WIDTH, "height": HEIGHT}
    context = browser.new_context(viewport=size, color_scheme=scheme)
    view = context.new_page()
    view.goto(page.resolve().as_uri())
    view.locator("table").first.wait_for()
    picture = view.screenshot()
    context.close()
    return picture


def main(board: Path = BOARD) -> None:
    """Write the two pictures into the leaderboard's folder."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UserError('Playwright is not installed: pip install -e ".[dev]"') from error
    page = board / "site" / "index.html"
    if not page.is_file():
        raise UserError(f"{page} is missing: make it first, make leaderboard")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for scheme, name in NAMES.items():
            picture = take(page, scheme, browser)
            if len(picture) > MOST:
                raise UserError(f"the {scheme} picture has {len(picture):,} bytes, expected at most {MOST:,}")
            write_atomically(board / name, picture)
            print(board / name)
        browser.close()


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        sys.exit(f"error: {error}")
