"""The browser for tests and screenshots: Debian's chromium, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of a Chromium; raise RuntimeError that says how to get one."""
    path = os.environ.get("HADIS_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path:
        return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            subprocess.run(command, env=env, check=True, capture_output=True, timeout=600)
        if path := shutil.which("chromium"):
            return path
    raise RuntimeError("no Chromium: install it (Debian: apt-get install chromium), or name one in HADIS_CHROMIUM")
