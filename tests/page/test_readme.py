"""What README and the guide say to paste into a shell is pasted, and ends in a picture file.

As it stands, but for the port, which may be taken here. Where README wants a cluster, `helm` and `kubectl` are
stand-ins: the chart is rendered by the real helm, what is applied is read as the operator reads it, and the service
that is called is a router of this test.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from binaries import binary
from hadis.api.resources import CascadeProfile, DiffusionService
from page_router import PageRouter
from PIL import Image

ROOT = Path(__file__).parents[2]
PORT = "8080"
README = (ROOT / "README.md").read_text()
TRY, CLUSTER, CALL = map(dedent, re.findall(r"\n\n((?:    .+\n)+)", README))
GUIDE = re.search(r"curl -s (?:.+\\\n)+.+> image.png", (ROOT / "docs/one-machine.md").read_text())
STAND_INS = {
    "helm": 'test "$1" = install && shift && exec "$HELM" template "$@" > chart.yaml',
    "kubectl": 'echo "$@" >> kubectl.log; test "$1" != port-forward || sleep 30',
}


def paste(block: str, folder: Path, port: int, timeout_s: float, **environment: str) -> None:
    """Run a block in a folder, end what it left running, and check its picture."""
    command = ["bash", "-ec", block.replace(PORT, str(port))]
    shell = subprocess.Popen(command, cwd=folder, env=os.environ | environment, start_new_session=True)
    try:
        assert shell.wait(timeout_s) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # it left nothing running
            os.killpg(shell.pid, signal.SIGTERM)
    with Image.open(folder / "image.png") as picture:
        picture.load()
        assert picture.format == "PNG"


@pytest.mark.slow
def test_try_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / ".venv/installed").touch()
    paste(TRY, tmp_path, port, 240, PORT=str(port), HADIS_URL=f"http://127.0.0.1:{port}")


@pytest.mark.slow
def test_run_it_in_a_cluster(router: PageRouter, tmp_path: Path) -> None:
    for name in ("helm", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    paste(CLUSTER, tmp_path, router.port, 60, PATH=path, HELM=str(binary("helm")), REGISTRY="registry.example/team")
    chart = {each["kind"]: each for each in documents(tmp_path / "chart.yaml")}
    [container] = chart["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example/team/hadis-operator:")
    assert chart["ClusterRoleBinding"]["subjects"][0]["namespace"] == "hadis-system"
    create, apply, wait, forward = (tmp_path / "kubectl.log").read_text().splitlines()
    assert create == "create namespace pictures"
    applied = documents(tmp_path / re.fullmatch(r"apply -n pictures -f (\S+)", apply)[1])  # type: ignore[index]  # or None
    kinds: dict[str, Any] = {"DiffusionService": DiffusionService, "CascadeProfile": CascadeProfile}
    assert {kinds[each["kind"]].read(each).metadata.name for each in applied} == {"scenes"}
    assert wait.startswith("wait -n pictures --for=condition=Ready diffusionservice/scenes --timeout=")
    assert forward == f"port-forward -n pictures service/scenes {router.port}:80"


@pytest.mark.parametrize("block", [CALL, GUIDE and GUIDE[0]], ids=["README", "guide"])
def test_call_it(block: str, router: PageRouter, tmp_path: Path) -> None:
    paste(block, tmp_path, router.port, 20)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]
