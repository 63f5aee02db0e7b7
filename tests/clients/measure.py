"""A service for the clients, and what became of each client's cases at it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import yaml
from control_plane import free_port
from PIL import Image

from clients.catalogue import Client
from clients.install import command
from clients.recorded import Recorded

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "examples/scenes.yaml"
_START_S, _CLIENT_S = 180, 600
_LATENCY = "120s"
"""The matrix is about what clients say, not about how fast this machine is."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    by: str | None = None
    """What it was done by, where that matters."""
    error: str | None = None

    @property
    def words(self) -> str:
        """What the page says."""
        if self.error:
            return "no"
        return f"yes, by {self.by}" if self.by else "yes"


Outcomes = dict[str, Outcome]
"""By case."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run `hadis up` with the example's models; yields the URL that clients are given."""
    port = free_port()
    service = yaml.safe_load(MANIFEST.read_text("utf-8"))
    service["spec"]["objective"]["latency"] = _LATENCY
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "scenes").symlink_to(MANIFEST.parent / "scenes")
        manifest = Path(folder, "scenes.yaml")
        manifest.write_text(yaml.safe_dump(service), "utf-8")
        hadis = [sys.executable, "-c", "from hadis.cli import main; main()", "up", str(manifest), "--port", str(port)]
        process = subprocess.Popen([*hadis, "--workers", "1"], cwd=ROOT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/readyz")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(_START_S)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).is_success:
                return
        time.sleep(0.3)
    raise TimeoutError(f"nothing is ready at {url} after {_START_S} s")


def run_client(client: Client, url: str) -> Outcomes:
    """Run a client's program against a service; raises RuntimeError where it says nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["HADIS_CLIENT_URL"] = url
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else LiteLLM fetches prices of models from elsewhere
    done = subprocess.run(command(client), env=environment, capture_output=True, text=True, timeout=_CLIENT_S)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not said:
        raise RuntimeError(f"{client.title} ended with {done.returncode}: {done.stderr[-2000:]}")
    return {outcome.pop("case"): Outcome(**outcome) for outcome in said}


def send(recorded: Recorded, url: str) -> str | None:
    """Send a recorded request; return None, or what was wrong with the answer."""
    if recorded.file is None:
        answer = httpx.post(f"{url}/images/generations", json=recorded.body, timeout=_CLIENT_S)
    else:
        files = {recorded.file: ("picture.png", _picture(), "image/png")}
        answer = httpx.post(f"{url}/images/edits", data=recorded.body, files=files, timeout=_CLIENT_S)
    if not answer.is_success:
        return f"{answer.status_code}: {answer.text[:300]}"
    image = answer.json()["data"][0].get(recorded.reads)
    if image is None:
        return f"the image has no {recorded.reads}"
    if recorded.reads == "url" and not (fetched := httpx.get(image)).is_success:
        return f"its URL answers {fetched.status_code}"
    return None


def _picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "png")
    return file.getvalue()
