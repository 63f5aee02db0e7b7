"""Take the pictures of README, and others to look at: `make screenshots`.

It serves the example models and puts a load on them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from browser import chromium
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
OUT, OTHERS, PORT = ROOT / "docs/pictures", ROOT / "build/screenshots", 8098
URL = f"http://127.0.0.1:{PORT}"
PROMPTS = [
    "a big green triangle top left and a small red circle bottom right on white",
    "a small blue square top right and a big yellow circle bottom left on black",
    "a big red square bottom right and a small green circle top left on grey",
]
LOAD_S = 75.0
_Scheme = Literal["light", "dark"]
_VIEWPORTS: tuple[tuple[int, _Scheme], ...] = (
    (360, "dark"),
    (1280, "dark"),
    (360, "light"),
    (2560, "light"),
    (2560, "dark"),
)


def main() -> None:
    """Write docs/pictures/page.png, and more to look at into build/screenshots."""
    for folder in (OUT, OTHERS):
        folder.mkdir(exist_ok=True, parents=True)
    hadis = str(Path(sys.executable).parent / "hadis")
    up = subprocess.Popen([hadis, "up", "examples/scenes.yaml", "--port", str(PORT)], cwd=ROOT)
    load = None
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 1000}, device_scale_factor=1)
            _open(page)
            load = subprocess.Popen([hadis, "load", "--rps", "1..14", "--minutes", "2.5", "--url", URL],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            time.sleep(LOAD_S / 4)
            _deferred(page)
            time.sleep(LOAD_S)
            _picture(page, OUT / "page.png", 1280, "light")
            for width, scheme in _VIEWPORTS:
                _picture(page, OTHERS / f"{width}-{scheme}.png", width, scheme)
            _refused(page)
            for width, scheme in _VIEWPORTS[:2]:
                _picture(page, OTHERS / f"refused-{width}-{scheme}.png", width, scheme)
            browser.close()
    finally:
        for process in filter(None, (load, up)):
            process.terminate()
            process.wait(30)


def _picture(page: Page, path: Path, width: int, scheme: _Scheme) -> None:
    """Take the whole page once its charts are drawn for the width and the colours."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1000})
    time.sleep(2.5)
    page.screenshot(path=path, full_page=True)


def _refused(page: Page) -> None:
    """Ask for more than can be made in time."""
    page.select_option("#model", "scenes-large-20")
    page.fill("#n", "10")
    page.click("#go")
    page.wait_for_selector("#failure:not([hidden])", timeout=30_000)


def _open(page: Page) -> None:
    """Wait for the page: models load first."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            page.goto(URL)
            page.wait_for_selector("#link.live", timeout=5000)
            return
        except Exception:  # not yet
            time.sleep(1)
    raise RuntimeError("the router did not start within two minutes")


def _deferred(page: Page) -> None:
    """Ask until an image is deferred, which is what shows most."""
    for prompt in PROMPTS * 6:
        page.fill("#prompt", prompt)
        page.click("#go")
        page.wait_for_selector("#go:not([disabled])", timeout=30_000)
        if page.locator('.path[data-path="deferred"]').count():
            return


if __name__ == "__main__":
    main()
