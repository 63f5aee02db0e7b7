"""What a node puts on this machine, and taking it away again, however the node ended.

Processes, mounts, network namespaces, an interface, rules of iptables and their sets, control groups, a folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

INTERFACE = "hadis-e2e"
FOLDER = Path("/run/hadis-e2e")
"""Sockets lie in it, whose paths may not be long."""
_GROUPS = Path("/sys/fs/cgroup")
_EMPTY = (
    "/run/containerd/s", "/run/containerd/runc/k8s.io", "/run/containerd/runc", "/run/containerd",
    "/var/lib/cni/results", "/var/lib/cni",
)  # fmt: skip
"""containerd's and CNI's own folders: they go where nobody else uses them."""
_PROGRAMS = ("etcd", "kube", "containerd", "coredns", "dra")
"""How the names of a node's programs begin."""


def clean() -> None:
    """Take away what a node has left on this machine, however it ended."""
    _end_processes()
    for _ in range(5):  # mounts lie upon mounts
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            where = line.split()[1]
            if where.startswith(f"{FOLDER}/"):
                command("umount", "-l", where, check=False)
    for space in command("ip", "netns", "list", check=False).split("\n"):
        if space.startswith("cni-"):
            command("ip", "netns", "delete", space.split()[0], check=False)
    command("ip", "link", "delete", INTERFACE, check=False)
    _clean_rules()
    for name in _sets():
        command("ipset", "destroy", name, check=False)
    for path in sorted(_GROUPS.glob("*/kubepods*/**/"), key=lambda p: -len(p.parts)):
        with contextlib.suppress(OSError):
            path.rmdir()
    for name in _EMPTY:
        with contextlib.suppress(OSError):
            Path(name).rmdir()
    shutil.rmtree(FOLDER, ignore_errors=True)


def left() -> list[str]:
    """Return what of a node is on this machine: processes, mounts, interfaces, rules and control groups."""
    leftovers = [f"process {pid}: {line}" for pid, line in _processes().items()]
    leftovers += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if str(FOLDER) in line]
    links = command("ip", "-o", "link")
    leftovers += [f"interface {line}" for line in links.splitlines() if INTERFACE in line or " veth" in line]
    leftovers += [f"rule {line}" for line in _rules() if "KUBE-" in line or "CNI-" in line]
    leftovers += [f"set of addresses {name}" for name in _sets()]
    leftovers += [f"control group {path}" for path in _GROUPS.glob("*/kubepods*")]
    return leftovers + ([str(FOLDER)] if FOLDER.exists() else [])


def _processes() -> dict[int, str]:
    """Return a node's programs, which have its folder in their arguments, and all that they have started."""
    lines, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            pid = int(path.name)
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            parents[pid] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if f"{FOLDER}/" in line and (path / "exe").readlink().name.startswith(_PROGRAMS):
                lines[pid] = line
    for _ in range(8):
        lines |= {pid: f"of {parent}" for pid, parent in parents.items() if parent in lines and pid not in lines}
    return lines


def _end_processes() -> None:
    end = time.monotonic() + 30
    while (pids := _processes()) and time.monotonic() < end:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


def _rules() -> list[str]:
    return [line for table in ("nat", "filter", "mangle")
            for line in command("iptables-save", "-t", table, check=False).splitlines()]  # fmt: skip


def _sets() -> list[str]:
    """Return the names of kube-router's sets of addresses."""
    names = command("ipset", "list", "-name", check=False).splitlines()
    return [name for name in names if name.startswith(("KUBE-", "TMP-"))]


def _clean_rules() -> None:
    """Take out the chains of kube-proxy, kube-router, kubelet and CNI, and what jumps into them."""
    for table in ("nat", "filter", "mangle"):
        lines = command("iptables-save", "-t", table, check=False).splitlines()
        kept = [line for line in lines if not re.search(r"\b(KUBE|CNI)-", line)]
        if len(kept) != len(lines):
            subprocess.run(["iptables-restore", "-T", table], input="\n".join([*kept, ""]), text=True, check=True,
                           capture_output=True, timeout=30)  # fmt: skip


def command(*words: str, check: bool = True) -> str:
    """Return what a command prints; raise with what it said where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
