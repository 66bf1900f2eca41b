"""Chromium, and the visit of a page in it, for the tests of the pages."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Without these flags Chromium looks up hosts of its own; root needs the first.
FLAGS = ["--no-sandbox"] * (os.geteuid() == 0) + [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, which others must not meet
def chromium() -> Iterator[Any]:
    """A started Chromium: Debian's or Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")
    with sync_api.sync_playwright() as playwright:
        own, names = playwright.chromium.executable_path, ("chromium", "chromium-browser", "google-chrome")
        found = next((path for name in names if (path := shutil.which(name))), own if Path(own).exists() else None)
        if found is None:
            pytest.skip("no Chromium found: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(chromium: Any) -> Iterator[Any]:
    """One tab for the tests of a module, with what its pages said to the console and asked for."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)  # a busy machine
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


@pytest.fixture
def visit(tab: Any) -> Iterator[Any]:
    """Open a page; at the end nothing was said to the console and nothing but files was asked for."""

    def opened(path: Path, width: int = 1280, hash: str = "", scheme: str = "light") -> Any:
        tab.goto("about:blank")
        tab.set_viewport_size({"width": width, "height": 844})
        tab.emulate_media(media="screen", color_scheme=scheme)
        tab.goto(path.as_uri() + hash)
        return tab

    yield opened
    assert tab.said == []
    assert tab.asked
    assert [url for url in tab.asked if not url.startswith(("file:", "data:", "about:"))] == []
    tab.said.clear()
    tab.asked.clear()
