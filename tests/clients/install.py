"""The clients, installed by name from their registries, once: each beside the others in the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from binaries import cache_folder, go

from clients.catalogue import Client

PROGRAMS = Path(__file__).parent / "programs"
_INSTALL_S = 1800
_DONE = ".installed"


def command(client: Client) -> list[str]:
    """Return the command that runs a client's program; installs what it needs where that is not there yet."""
    if client.language == "go":
        return [str(_kept("go", _texts(PROGRAMS / "go"), _build_go) / "client")]
    if client.language == "js":
        folder = _kept("node", _texts(PROGRAMS / "node"), _install_node)
        return [_node("node"), str(folder / Path(client.program).name)]
    python = sys.executable
    if client.requirements:
        lines = [sys.version, *client.requirements]
        python = str(_kept("python", lines, lambda folder: _install_python(folder, client)) / "bin/python")
    return [python, str(PROGRAMS / client.program)]


def _texts(folder: Path) -> list[str]:
    return [path.read_text("utf-8") for path in sorted(folder.iterdir()) if path.is_file()]


def _kept(kind: str, made_of: Iterable[str], make: Callable[[Path], None]) -> Path:
    """Return the folder that keeps what is made of some texts; an environment cannot be moved, so a file says done."""
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:12]
    folder = cache_folder() / f"clients-{kind}-{digest}"
    if not (folder / _DONE).exists():
        print(f"installing clients (once; kept in {folder})", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        (folder / _DONE).touch()
    return folder


def _install_python(folder: Path, client: Client) -> None:
    uv = Path(sys.executable).with_name("uv")
    _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run(
        [
            str(uv),
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            str(folder / "bin/python"),
            *client.requirements,
        ]
    )


def _install_node(folder: Path) -> None:
    shutil.copytree(PROGRAMS / "node", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    _run([_node("npm"), "ci", "--no-audit", "--no-fund", "--silent"], folder)


def _node(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f"there is no {program}: the clients for JavaScript need Node 20 or later with npm")
    return path


def _build_go(folder: Path) -> None:
    environment = os.environ | {"CGO_ENABLED": "0"}
    subprocess.run(
        [go(), "build", "-trimpath", "-buildvcs=false", "-o", str(folder / "client"), "."],
        cwd=PROGRAMS / "go",
        env=environment,
        check=True,
        timeout=_INSTALL_S,
    )


def _run(arguments: list[str], folder: Path | None = None) -> None:
    subprocess.run(arguments, cwd=folder, check=True, timeout=_INSTALL_S)
