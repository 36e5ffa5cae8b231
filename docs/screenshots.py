"""`make screenshots`: pictures of the page in docs/images, taken by a browser in front of a real server.

Home and the workspace of the bundled example, light and dark, 1280 and 480 pixels wide.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAGES = {"home": "/", "workspace": "/analyses/example?sel=L14H2"}


@contextmanager
def server() -> Iterator[str]:
    """A server on a data folder and a port of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "arithmoscope.cli", "serve", "--port", "0", "--data-dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        try:
            if found is None:
                raise SystemExit("the server did not start")
            yield found[0]
        finally:
            process.terminate()
            process.wait(timeout=20)
            process.stdout.close()


def settled(page: Page) -> None:
    page.get_by_role("grid", name="Effect of every component").wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
    page.wait_for_timeout(500)  # the live status and the thumbnails arrive after the last request


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    chromium = os.environ.get("ARITHMOSCOPE_CHROMIUM") or shutil.which("chromium")
    with server() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        for scheme in ("light", "dark"):
            for width in (1280, 480):
                context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
                page = context.new_page()
                for name, path in PAGES.items():
                    page.goto(address + path)
                    settled(page)
                    page.screenshot(path=IMAGES / f"{name}-{scheme}-{width}.png", full_page=True)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
