"""A worker as a real process: it drains at SIGTERM, stays small, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from hadis.protocol.worker import AnswerReader, Progress, decode_answer

MANIFEST = Path(__file__).parents[2] / "examples" / "scenes.yaml"
SLOWEST, JOBS = "scenes-large-20", 16


def start(**settings: object) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HADIS_")}
    environment |= {f"HADIS_WORKER_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-m", "hadis_worker"], env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(url: str, process: subprocess.Popen[str], limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


def busy(url: str) -> bool:
    return bool(httpx.get(f"{url}/status").json()["busy"])


@pytest.mark.slow
def test_sigterm_finishes_the_batch_takes_nothing_new_and_exits_0() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = start(manifest=MANIFEST, port=port, threads=1)
    try:
        wait_for(f"{url}/readyz", process)
        jobs = [{"id": str(i), "prompt": "a red circle", "seed": i} for i in range(JOBS)]
        body = {"tier": SLOWEST, "jobs": jobs, "discriminate": True}
        answers: list[httpx.Response] = []
        caller = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/generate", json=body, timeout=60)), daemon=True
        )
        caller.start()
        while not busy(url):
            time.sleep(0.01)
        assert httpx.post(f"{url}/generate", json=body).status_code == 409
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.post(f"{url}/generate", json=body).status_code == 503
        memory = psutil.Process(process.pid).memory_info().rss
        caller.join(60)
        results = decode_answer(answers[0].content)
        assert process.wait(30) == 0
        assert len(results) == JOBS
        assert all(image and result.confidence is not None for result, image in results)
        assert memory < 1.2e9
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_caller_that_hangs_up_frees_the_worker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = start(manifest=MANIFEST, port=port, threads=1, tiers=SLOWEST)
    try:
        wait_for(f"{url}/readyz", process)
        jobs = [{"id": str(i), "prompt": "a red circle", "seed": i} for i in range(64)]
        reader, reports = AnswerReader(), list[Progress]()
        with httpx.stream("POST", f"{url}/generate", json={"tier": SLOWEST, "jobs": jobs}, timeout=60) as answer:
            parts = answer.iter_raw()
            while len(reports) < 2:
                reports += [one for one in reader.feed(next(parts)) if isinstance(one, Progress)]
        while busy(url):
            time.sleep(0.01)
        assert reports[0].done < reports[1].done < reports[1].steps
        assert f'cancelled_batches_total{{tier="{SLOWEST}"}} 1.0' in httpx.get(f"{url}/metrics").text
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_it_answers_while_it_loads_and_stops_when_it_is_told_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start(manifest=MANIFEST, port=port, threads=1)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", process)
        assert httpx.get(f"http://127.0.0.1:{port}/status").json()["ready"] is False
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "imports took" not in log
    finally:
        process.kill()
        process.communicate()


def fails(**settings: object) -> tuple[int, list[str]]:
    process = start(**settings)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors.splitlines()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "HADIS_WORKER_MANIFEST: must be set"),
        ({"manifest": "/nowhere.yaml"}, "/nowhere.yaml: cannot be read: No such file or directory"),
        ({"manifest": MANIFEST, "tiers": "x"}, "HADIS_WORKER_TIERS: no tier is named 'x'; there are scenes-small-1"),
        ({"manifest": MANIFEST, "port": 70_000}, "HADIS_WORKER_PORT: "),
        ({"manifest": MANIFEST, "drain_timeout": "5"}, "HADIS_WORKER_DRAIN_TIMEOUT: '5' is no duration"),
    ],
)
def test_bad_settings_are_one_line_and_exit_2(settings: dict[str, Any], message: str) -> None:
    code, lines = fails(**settings)
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_a_port_in_use_is_one_line_and_exit_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, lines = fails(manifest=MANIFEST, port=taken.getsockname()[1])
    assert code == 2
    assert len(lines) == 1
    assert "Address already in use" in lines[0]


@pytest.mark.slow
def test_a_model_that_is_not_there_is_one_clear_line_and_exit_1(tmp_path: Path) -> None:
    documents = [
        yaml.safe_load(MANIFEST.read_text()),
        yaml.safe_load((MANIFEST.parent / "scenes/profile.yaml").read_text()),
    ]
    spec = documents[1]["spec"]
    spec["tiers"][0]["model"] = "nobody/nothing"
    del spec["discriminator"]
    spec["configurations"] = [row for row in spec["configurations"] if not row["deferralRatio"]]
    spec["cascades"] = [grid for grid in spec["cascades"] if not any(grid["deferralRatios"])]
    path = tmp_path / "manifest.yaml"
    path.write_text("---\n".join(json.dumps(document) + "\n" for document in documents))
    code, lines = fails(manifest=path, port=0, tiers="scenes-small-1")
    assert code == 1
    assert "nobody/nothing is no folder" in (errors := [line for line in lines if " ERROR " in line])[0]
    assert len(errors) == 1
