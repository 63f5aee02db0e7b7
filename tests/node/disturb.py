"""Disturbances of a service under a steady load, one at a time: what failed, and how long until all is as before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control_plane import CHART, wait_for
from images import OTHER_TAG
from node import NAME
from scene import ADDRESS, APPS, PICTURES, READY_S, RELEASE, VALUES, Scene, application, profile, say

Request = dict[str, Any]
"""As the application tells it."""
RPS = 1.0
_CALM_S, _AFTER_S = 10.0, 10.0
_LOOK_EVERY_S = 2.0
"""Each look starts kubectl several times, on the cores that serve."""


@dataclass(frozen=True)
class Row:
    """What came of one disturbance."""

    name: str
    requests: int
    failed: int
    retried: int
    slowest_s: float
    ready_after_s: float
    errors: tuple[str, ...]
    remarks: tuple[str, ...]
    """Of requests that were tried again, and of the slowest: where their time went."""


class Disturber:
    """Disturbs a service while an application asks it for images."""

    def __init__(self, scene: Scene) -> None:
        """Start nothing."""
        self._scene, self._node = scene, scene.node

    def run(self) -> list[Row]:
        """Do everything to it; return a row each."""
        self._node.apply(application("steady", "python", "/client/client.py", "steady", ADDRESS, str(RPS)))
        wait_for(self._requests, READY_S, "the first requests")
        time.sleep(_CALM_S)
        spans = [(name, *self._span(name, disturb)) for name, disturb in self._disturbances().items()]
        requests = self._requests()
        self._node.kubectl("delete", "pod", "steady", "-n", APPS, "--wait")
        return [_row(name, began, ended, requests) for name, began, ended in spans]

    def _span(self, name: str, disturb: Callable[[], Callable[[], bool]]) -> tuple[float, float]:
        """Disturb; return when that began and when all was as before."""
        say(f"{name} ...")
        began = time.time()
        over = disturb()
        wait_for(
            lambda: over() and self._scene.is_settled(),
            READY_S,
            f"the service to be ready after: {name}",
            _LOOK_EVERY_S,
        )
        ended = time.time()
        say(f"{name}: ready again after {ended - began:.0f} s")
        time.sleep(_AFTER_S)
        return began, ended

    def _disturbances(self) -> dict[str, Callable[[], Callable[[], bool]]]:
        return {
            "nothing": lambda: lambda: True,
            "a worker pod deleted": self._delete_worker,
            "a worker's process killed (SIGKILL)": lambda: self._kill("worker"),
            "a router's process killed (SIGKILL)": lambda: self._kill("router"),
            "the leading operator's pod deleted": self._delete_leader,
            "the router's rollout restarted": self._restart_routers,
            "the node cordoned, a worker lost, uncordoned": self._cordon,
            "`helm upgrade` with another image tag": self._upgrade,
            "the profile replaced": self._replace_profile,
        }

    def _delete_worker(self) -> Callable[[], bool]:
        name = self._scene.pods("worker")[0]["metadata"]["name"]
        self._node.kubectl("delete", "pod", name, "-n", PICTURES, "--wait=false")
        return lambda: name not in self._names("worker")

    def _kill(self, component: str) -> Callable[[], bool]:
        pod = self._scene.pods(component)[0]
        uid = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        self._node.containers("tasks", "kill", "--signal", "SIGKILL", uid)
        name = pod["metadata"]["name"]
        return lambda: bool(self._scene.pod(PICTURES, name)["status"]["containerStatuses"][0]["restartCount"])

    def _delete_leader(self) -> Callable[[], bool]:
        name = self._scene.leader()
        self._node.kubectl("delete", "pod", name, "-n", RELEASE, "--wait=false")
        return lambda: name not in self._scene.operators() and self._scene.leader() in self._scene.operators()

    def _restart_routers(self) -> Callable[[], bool]:
        old = self._names("router")
        self._node.kubectl("rollout", "restart", "deployment/scenes-router", "-n", PICTURES)
        return lambda: not old & self._names("router")

    def _cordon(self) -> Callable[[], bool]:
        self._node.kubectl("cordon", NAME)
        gone = self._delete_worker()
        wait_for(gone, READY_S, "the worker to go")
        self._node.kubectl("uncordon", NAME)
        return gone

    def _upgrade(self) -> Callable[[], bool]:
        old = self._pods()
        self._node.helm("upgrade", "hadis", str(CHART), "-n", RELEASE, *VALUES, "--set", f"image.tag={OTHER_TAG}")
        return lambda: not old & self._pods() and self._scene.leader() in self._scene.operators()

    def _replace_profile(self) -> Callable[[], bool]:
        old, changed = self._names("worker"), profile()
        changed["spec"]["tiers"][0]["steps"] += 1  # what is measured alone replaces no worker
        self._node.kubectl("apply", "-n", PICTURES, "-f", "-", text=json.dumps(changed))
        return lambda: not old & self._names("worker")

    def _pods(self) -> set[str]:
        return self._names("worker") | self._names("router") | self._scene.operators()

    def _names(self, component: str) -> set[str]:
        return {pod["metadata"]["name"] for pod in self._scene.pods(component)}

    def _requests(self) -> list[Request]:
        lines = self._node.kubectl("logs", "steady", "-n", APPS, check=False).stdout.splitlines()
        return [json.loads(line) for line in lines]


def table(rows: list[Row]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| disturbance | requests | failed | retried by the client | slowest, s | ready again after, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        numbers = f"{r.requests} | {r.failed} | {r.retried} | {r.slowest_s:.1f} | {r.ready_after_s:.0f}"
        lines.append(f"| {r.name} | {numbers} |")
    return "\n".join(lines)


def _row(name: str, began: float, ended: float, requests: list[Request]) -> Row:
    """Count the requests that were under way or came while it lasted, and for some seconds more."""
    ours = [r for r in requests if r["at"] + r["seconds"] > began and r["at"] < ended + _AFTER_S]
    errors = tuple(r["error"] for r in ours if r["error"])
    retried = [r for r in ours if r["failed"] and not r["error"]]
    slowest = max(ours, key=lambda r: r["seconds"])
    remarks = tuple(_remark(r, began) for r in ours if r in retried or r is slowest)
    return Row(name, len(ours), len(errors), len(retried), slowest["seconds"], ended - began, errors, remarks)


def _remark(request: Request, began: float) -> str:
    """Say where a request's time went; `began` is when the disturbance did."""
    tried = "".join(f"{each}, " for each in request["failed"])
    took = f"{request['seconds']:.1f} s, {request['served']:.1f} s of them in the service"
    return f"at {request['at'] - began:.0f} s: {tried}{took}"
