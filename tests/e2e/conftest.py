"""Fixtures: `arithmoscope serve` with the demo model, and a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from arithmoscope.engine.models.folders import default_models_dir
from benchmarks.patience import patience

SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


# On a busy machine, work of one second may take much longer.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server with a warm worker for all tests, on a data folder of its own. Each test asks its own questions: an
    experiment that another test has run is finished already."""
    folder = tmp_path_factory.mktemp("serve")  # and it starts there, so that no developer's .env is read
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}
    environment["ARITHMOSCOPE_MODELS_DIR"] = str(default_models_dir())
    command = [
        sys.executable,
        "-m",
        "arithmoscope",
        "serve",
        "--port",
        "0",
        "--data-dir",
        str(folder / "data"),
    ]
    with (folder / "stderr").open("wb") as err:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, env=environment, cwd=folder)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert match, (line, (folder / "stderr").read_text())
        wait_for_warm_worker(match[0])
        yield match[0]
    finally:
        server.terminate()
        server.wait(timeout=15 * patience())
        if server.stdout is not None:
            server.stdout.close()


def wait_for_warm_worker(address: str) -> None:
    import httpx2

    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        workers = httpx2.get(f"{address}/api/health").json()["workers"]
        if any(worker["models"] for worker in workers):
            return
        time.sleep(0.5)
    pytest.fail("no worker had the demo model in memory within four minutes")


# Not for the session: Playwright keeps an event loop in this thread, and other tests start their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("ARITHMOSCOPE_CHROMIUM") or (
        "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else None
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


class RecordedPage:
    """A page, with a record of its unwanted requests and console messages."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address = address
        self.page: Page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.outside: list[str] = []
        self.errors: list[str] = []
        # Expected messages, such as "status of 404": a browser reports every refusal on its console.
        self.provoked: list[str] = []
        self.page.on("request", self._request)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture(params=["light-1280"])
def watched(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[RecordedPage]:
    """A page in a colour scheme and width; afterwards no request has left the machine and no error was logged."""
    scheme, width = request.param.split("-")
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": int(width), "height": 900}, accept_downloads=True
    )
    watched = RecordedPage(context, address)
    yield watched
    context.close()
    assert watched.outside == []
    unforeseen = [error for error in watched.errors if not any(words in error for words in watched.provoked)]
    assert unforeseen == [], watched.errors
