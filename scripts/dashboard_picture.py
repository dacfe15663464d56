"""Generates docs/dashboard.webp, the README's picture of the dashboard: `python -m scripts.dashboard_picture`.

A demo provides the content, and Chromium takes the screenshots: the overview and, beside it, the page of one job.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browsed.conftest import ARGUMENTS
from tests.browser import find_chromium

PICTURE = Path(__file__).parents[1] / "docs" / "dashboard.webp"
DEMO = [sys.executable, "-m", "generation_worker", "demo", "--keep", "--json", "--port", "0", "--directory"]
SIZE = {"width": 1100, "height": 1250}
GAP = 24
RENDER_TIME = 2500
"""Milliseconds until the chart and every picture are visible."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="generation-worker-") as directory:
        demo = subprocess.Popen([*DEMO, directory], stdout=subprocess.PIPE, text=True)
        try:
            write(*take_screenshots(json.JSONDecoder().decode(read_document(demo))))
        finally:
            demo.terminate()
            demo.wait()


def read_document(demo: subprocess.Popen[str]) -> str:
    """The demo's report, which it prints before it continues."""
    assert demo.stdout is not None
    lines: list[str] = []
    for line in demo.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            break
    return "".join(lines)


def take_screenshots(report: dict[str, Any]) -> tuple[Image.Image, Image.Image]:
    dashboard = report["look"]["dashboard"]
    job = next(job for job in report["jobs"] if job["status"] == "completed" and job["attempt"] > 1)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        return picture_of(chromium, dashboard), picture_of(chromium, f"{dashboard}/jobs/{job['id']}")


def picture_of(chromium: Browser, address: str) -> Image.Image:
    page = chromium.new_page(viewport=SIZE, color_scheme="light")  # pyright: ignore[reportArgumentType]
    page.goto(address)
    page.wait_for_timeout(RENDER_TIME)
    return Image.open(BytesIO(page.screenshot()))


def write(*pictures: Image.Image) -> None:
    """Write the pictures side by side."""
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    whole = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    whole.save(PICTURE, quality=70, method=6)


if __name__ == "__main__":
    main()
