"""`make screenshots`: pictures of the page in docs/images, taken by a browser in front of a real server.

Home, the workspace of the bundled example, a knock-out, a transfer and a fine-tuning, light and dark, 1280 and 480
pixels wide. The last three are run by the demo model first: components are found on one half of the operands and judged
on the other. Ten minutes on two cores.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MODEL = "smollm2-135m"


@contextmanager
def server() -> Iterator[str]:
    """A server on a data folder and a port of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "arithmoscope", "serve", "--port", "0", "--data-dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        match = re.search(r"http://[\d.:]+", process.stdout.readline())
        try:
            if match is None:
                raise SystemExit("the server did not start")
            yield match[0]
        finally:
            process.terminate()
            process.wait(timeout=20)
            process.stdout.close()


def ran(address: str, spec: dict[str, Any]) -> str:
    """Submits an experiment, waits until it has finished and returns its id."""
    response = httpx2.post(f"{address}/api/experiments", json=spec, timeout=120)
    response.raise_for_status()
    name = response.json()["id"]
    with httpx2.stream("GET", f"{address}/api/experiments/{name}/events", timeout=1_800) as events:
        if '"succeeded"' not in "".join(events.iter_text()):
            raise SystemExit(f"the {spec['kind']} did not succeed")
    return name


def prompts(**more: object) -> dict[str, Any]:
    return {"source": "template", "pairs": 24, "shots": 2, "keep_wrong": True, **more}


def addresses(address: str) -> dict[str, str]:
    """Every page to take, by the name of its picture."""
    direct = {"model": MODEL, "effect": "direct"}
    analysis = ran(address, {"kind": "path_patching", **direct, "prompts": prompts(half="first")})
    knockout = {"kind": "knockout", "parent": analysis, "prompts": prompts(half="second"), "disjoint": True}
    sets = [prompts(), prompts(operations=["subtract"])]
    transfer = {"kind": "transfer", **direct, "found_on": sets, "evaluated_on": [*sets, prompts(topic="facts")]}
    two_digits = prompts(operations=["add"], operands=[10, 99], pairs=1_000, shots=1, half="first")
    heads = key_heads(
        address, ran(address, {"kind": "path_patching", **direct, "prompts": {**two_digits, "pairs": 32}})
    )
    tuning = {"kind": "fine_tune", "model": MODEL, "components": heads, "steps": 40, "batch_size": 16}
    tuning["prompts"] = {**two_digits, "half": None}
    ran(address, {**tuning, "tuner": "random"})
    return {
        "home": "/",
        "workspace": "/analyses/example?sel=L14H2",
        "knockout": f"/analyses/{ran(address, knockout)}",
        "transfer": f"/analyses/{ran(address, transfer)}",
        "tuning": f"/analyses/{ran(address, tuning)}",
    }


def key_heads(address: str, analysis: str) -> list[str]:
    """The sixteen heads that hurt most when they are removed."""
    table = httpx2.get(f"{address}/api/experiments/{analysis}/components.csv", timeout=60).text
    rows = [row["component"] for row in csv.DictReader(table.splitlines())]
    return [name for name in rows if "H" in name][:16]


def settled(page: Page, name: str) -> None:
    if name == "transfer":
        page.get_by_role("table", name="After the knock-out").wait_for()
    elif name == "knockout":
        page.get_by_role("group", name="The curve as a table").wait_for()
    elif name == "tuning":
        page.get_by_role("group", name="Comparison of tuners").wait_for()
    else:
        page.get_by_role("grid", name="Effect of every component").wait_for()
    page.wait_for_load_state("networkidle")
    if name != "transfer":  # its matrices are tables
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
    page.wait_for_timeout(500)  # the live status and the thumbnails arrive after the last request


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    chromium = os.environ.get("ARITHMOSCOPE_CHROMIUM") or shutil.which("chromium")
    with server() as address, sync_playwright() as playwright:
        pages = addresses(address)
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        for scheme in ("light", "dark"):
            for width in (1280, 480):
                context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
                page = context.new_page()
                for name, path in pages.items():
                    page.goto(address + path)
                    settled(page, name)
                    page.screenshot(path=IMAGES / f"{name}-{scheme}-{width}.png", full_page=True)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
