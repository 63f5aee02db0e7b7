"""`hadis up` with real processes and real models, as a person would run it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from hadis.api.manifest import read_profile

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HADIS = [sys.executable, "-c", "from hadis.cli import main; main()"]
PATIENCE_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_image(url: str, model: str = "auto") -> httpx.Response:
    """Return an image's answer, tried for as long as the service may take to come up."""
    body = {"prompt": "a big red circle top left on white", "model": model}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"{url}/v1/images/generations", json=body, timeout=30)
            if answer.is_success:
                return answer
        assert time.monotonic() < deadline, "no image"
        time.sleep(0.3)


@contextlib.contextmanager
def serving(manifest: Path, workers: int = 2) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `hadis up` with so many workers; yields its address and process once an image was made."""
    port = free_port()
    command = [*HADIS, "up", str(manifest), "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for_image(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def worker_processes(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [c for c in psutil.Process(process.pid).children() if c.cmdline()[-1] == "hadis_worker"]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running `hadis up` and its address."""
    with serving(ROOT / "examples/scenes.yaml") as service:
        yield service


def test_a_prompt_becomes_an_image_with_its_path(running: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    command = [*HADIS, "generate", "a small blue square top right on pink", "-o", str(out), "--url", running[0]]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "difficulty" in output
    assert "generation" in output
    assert "scenes-" in subprocess.run(
        [*HADIS, "status", "--url", running[0]], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip


def test_a_worker_that_is_killed_is_missed_by_nobody_and_back(running: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = running
    workers = worker_processes(process)
    assert len(workers) == 2
    deadline = time.monotonic() + PATIENCE_S
    while not (waiting := [c for c in psutil.Process(process.pid).children() if c.cmdline()[-1] == "preload"]):
        assert time.monotonic() < deadline, "no process waits to replace a worker"
        time.sleep(0.1)
    workers[0].send_signal(signal.SIGKILL)
    answers = [
        httpx.post(f"{url}/v1/images/generations", json={"prompt": f"a big red circle on white {i}"}, timeout=30)
        for i in range(10)
    ]
    assert {answer.status_code for answer in answers} == {200}
    deadline = time.monotonic() + PATIENCE_S
    while len(httpx.get(f"{url}/v1/hadis/status").json()["workers"]) < 2:
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.1)
    assert waiting[0].net_connections(), "another process came back than the one that waited"


def test_ctrl_c_stops_everything_with_exit_code_0(running: tuple[str, subprocess.Popen[bytes]]) -> None:
    _, process = running
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_workers_go_when_nobody_asks_and_the_next_request_waits_for_one(tmp_path: Path) -> None:
    manifest = yaml.safe_load((ROOT / "examples/scenes.yaml").read_text())
    manifest["spec"] |= {"gpus": {"max": 1, "idleAfter": "3s"}, "placement": "Dedicated"}  # one tier starts sooner
    manifest["spec"]["objective"]["firstImage"] = f"{PATIENCE_S}s"
    (tmp_path / "scenes.yaml").write_text(yaml.safe_dump(manifest))
    (tmp_path / "scenes").symlink_to(ROOT / "examples/scenes")
    with serving(tmp_path / "scenes.yaml", workers=1) as (url, _):
        deadline = time.monotonic() + PATIENCE_S
        while (seen := httpx.get(f"{url}/v1/hadis/status").json())["workers"] or not seen["idle"]:
            assert time.monotonic() < deadline, "the worker did not go"
            time.sleep(0.1)
        text = subprocess.run([*HADIS, "status", "--url", url], capture_output=True, text=True, check=True).stdout
        assert "no request for 3s; the next one starts a worker" in text
        assert httpx.get(f"{url}/readyz").status_code == 200
        answer = httpx.post(f"{url}/v1/images/generations", json={"prompt": "a red circle"}, timeout=PATIENCE_S)
        assert answer.status_code == 200


def test_dedicated_workers_load_one_tier_each_and_serve_it(tmp_path: Path) -> None:
    manifest = yaml.safe_load((ROOT / "examples/scenes.yaml").read_text())
    manifest["spec"]["placement"] = "Dedicated"
    (tmp_path / "scenes.yaml").write_text(yaml.safe_dump(manifest))
    (tmp_path / "scenes").symlink_to(ROOT / "examples/scenes")
    known = {tier.name for tier in read_profile(ROOT / "examples/scenes/profile.yaml").spec.tiers}
    with serving(tmp_path / "scenes.yaml") as (url, process):
        tiers = [worker.environ()["HADIS_WORKER_TIERS"] for worker in worker_processes(process)]
        assert len(tiers) == 2
        assert set(tiers) <= known
        for tier in set(tiers):
            assert wait_for_image(url, tier).headers["x-hadis-tiers"] == tier
        resident = [worker["tiers"] for worker in httpx.get(f"{url}/v1/hadis/status").json()["workers"]]
        assert all(len(names) == 1 for names in resident)


def test_a_port_in_use_a_missing_file_and_a_bad_manifest_are_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: Pod\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (["examples/scenes.yaml", "--port", port], "choose another with --port"),
            (["nothing.yaml"], "cannot be read"),
            ([str(bad)], "write DiffusionService or CascadeProfile"),
        ):
            run = subprocess.run([*HADIS, "up", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ)
            assert run.returncode == 2
            assert words in run.stderr
            assert len(run.stderr.splitlines()) == 1
