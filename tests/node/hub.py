"""The example with models that come from a hub, which a test plays on the node, outside the cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from control_plane import ROOT
from fake_hub import FakeHub
from node import ADDRESS
from scene import MODELS, PICTURES, Object, Scene, profile

TEAM = "team"
"""Whose repositories the hub has."""
_CACHE = MODELS / ".cache"
_PROFILE, _WORKER = "fetched", 10001
"""The user that workers run as writes what it fetches to the node's folder."""


@contextlib.contextmanager
def hub() -> Iterator[FakeHub]:
    """Yield a hub that has the example's models, none of which the node has; with the context it is away."""
    shutil.rmtree(_CACHE, ignore_errors=True)  # of an earlier run
    folders = {f"{TEAM}/{name}": ROOT / "examples/scenes" / name for name in ("small", "large")}
    with FakeHub(folders, host=ADDRESS) as server:
        yield server


def fetch_from(server: FakeHub, scene: Scene, team: str) -> None:
    """Have the service's models fetched from a team's repositories, into the folder of the node that it has."""
    _CACHE.mkdir(exist_ok=True)
    os.chown(_CACHE, _WORKER, _WORKER)
    scene.node.apply(_profile(team))
    cached = {"hostPath": str(MODELS), "prefetch": True}
    scene.change(profile=_PROFILE, worker={"modelCache": cached, "env": [{"name": "HF_ENDPOINT", "value": server.url}]})


def _profile(team: str) -> Object:
    changed = profile()
    changed["metadata"] = {"name": _PROFILE, "namespace": PICTURES}
    for tier in changed["spec"]["tiers"]:
        tier["model"] = f"{team}/{tier['model']}"
    return changed
