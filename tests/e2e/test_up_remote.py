"""`hadis up` with tiers that a stand-in engine makes: no GPU, no torch, and the engine may go."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from documents import profile_document
from stand_in import StandIn
from test_up import HADIS, PATIENCE_S, free_port, wait_for_image, worker_processes

pytestmark = pytest.mark.slow
KEY = "sk-stand-in"


@contextlib.contextmanager
def listening(stand_in: StandIn, port: int) -> Iterator[None]:
    """Serve a stand-in from a thread."""
    server = uvicorn.Server(uvicorn.Config(stand_in.app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(30)


def write_manifest(folder: Path, port: int) -> Path:
    """Write a service whose two tiers one endpoint makes: a slot for the light one, two for the heavy one."""
    document = profile_document()
    for tier, slots in zip(document["spec"]["tiers"], (1, 2), strict=True):
        tier |= {"remote": {"url": f"http://127.0.0.1:{port}/v1", "slots": slots, "apiKeyEnv": "ENGINE_KEY"}}
        tier["tunable"] = False
    document["spec"]["configurations"] = [row for row in document["spec"]["configurations"] if not row["deferralRatio"]]
    document["spec"]["difficulty"]["features"] = ["prompt_length"]
    del document["spec"]["discriminator"]
    service = {
        "apiVersion": document["apiVersion"],
        "kind": "DiffusionService",
        "metadata": {"name": "two"},
        "spec": {"profile": "two", "objective": {"latency": "10s"}, "gpus": {"max": 0}},
    }
    path = folder / "manifest.yaml"
    path.write_text("---\n".join(json.dumps(each) + "\n" for each in (service, document)))
    return path


def wait_for_workers(url: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(httpx.get(f"{url}/v1/hadis/status").json()["workers"]) != count:
        assert time.monotonic() < deadline, f"there are not {count} workers"
        time.sleep(0.1)


def test_slots_are_small_processes_that_come_and_go_with_the_engine(tmp_path: Path) -> None:
    stand_in, engine_port, port = StandIn(), free_port(), free_port()
    manifest, url = write_manifest(tmp_path, engine_port), f"http://127.0.0.1:{port}"
    environment = os.environ | {"ENGINE_KEY": KEY}
    process = subprocess.Popen([*HADIS, "up", str(manifest), "--port", str(port)], env=environment)
    try:
        with listening(stand_in, engine_port):
            assert wait_for_image(url, "heavy").headers["x-hadis-tiers"] == "heavy"
            assert wait_for_image(url, "light").headers["x-hadis-size"] == "32x32"
            wait_for_workers(url, 3)
            workers = worker_processes(process)
            tiers = sorted(worker.environ()["HADIS_WORKER_TIERS"] for worker in workers)
            assert tiers == ["heavy", "heavy", "light"]
            assert all(worker.memory_info().rss < 150e6 for worker in workers)
        wait_for_workers(url, 0)
        assert httpx.get(f"{url}/readyz").status_code == 503
        with listening(stand_in, engine_port):
            wait_for_workers(url, 3)
            assert wait_for_image(url).status_code == 200
        assert {key for _, key in stand_in.keys} == {f"Bearer {KEY}"}
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert not psutil.wait_procs(children, timeout=5)[1]
    finally:
        process.kill()
        process.wait()


def test_a_key_that_is_missing_is_one_line(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ENGINE_KEY"}
    command = [sys.executable, *HADIS[1:], "up", str(write_manifest(tmp_path, 9)), "--port", str(free_port())]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert run.returncode == 2
    assert "ENGINE_KEY: must be set to the API key of the endpoint of tier" in run.stderr
