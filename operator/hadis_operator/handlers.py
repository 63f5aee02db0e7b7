"""kopf's handlers: each hands what it saw to the cache; the controller reconciles every service in a loop of its own.

Only `on.event` handlers are used: they need no finalizer and write no annotation, so that a service can be deleted
while no operator runs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from typing import Any

import kopf
from hadis.api.crd import GROUP, VERSION
from hadis.kube.client import Kube, connect
from hadis.protocol.labels import SERVICE
from prometheus_client import start_http_server

from hadis_operator.controller import Controller
from hadis_operator.leader.elector import Elector
from hadis_operator.leader.fence import Fence, FencedKube
from hadis_operator.leader.lease import Candidate
from hadis_operator.settings import OperatorSettings

_OURS = {SERVICE: kopf.PRESENT}


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps no object's former state: `on.event` handlers get no diff, and kopf's own copies each object for one."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return what is compared: nothing."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return what was stored: nothing."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Connect, and reconcile services whenever this process leads."""
    ours = OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line for every event of every pod
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 630
    if ours.metrics_port:
        start_http_server(ours.metrics_port)
    api, fence = await connect(), Fence()
    memo.kube = Kube(api)
    memo.controller = Controller(ours, FencedKube(api, fence))
    memo.elector = Elector(memo.kube, fence, _candidate(ours))
    memo.running = asyncio.create_task(memo.elector.run(memo.controller.run))


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Stop between two writes, and let another operator lead; it finishes what is half done."""
    memo.running.cancel()
    await asyncio.gather(memo.running, return_exceptions=True)
    await memo.kube.close()


@kopf.on.probe(id="leadership")
async def leadership(memo: kopf.Memo, **_: Any) -> dict[str, str]:
    """Return who leads, for /healthz."""
    return memo.elector.role if "elector" in memo else {"role": "starting"}  # kopf answers before it has started


def _candidate(ours: OperatorSettings) -> Candidate:
    return Candidate(
        namespace=ours.namespace,
        release=ours.release,
        holder=ours.pod or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        watched=frozenset(ours.watch_namespaces),
        lease_s=ours.lease_s,
    )


def _hand_on(kind: str, of: str = "") -> Any:
    async def saw(event: kopf.RawEvent, memo: kopf.Memo, **_: Any) -> None:
        item = dict(event["object"])
        if of:
            item["kind"] = of  # items of a list have none
        memo.controller.cache.saw(kind, event["type"], item)

    saw.__name__ = f"saw_{of or kind}"
    return saw


kopf.on.event(GROUP, VERSION, "diffusionservices")(_hand_on("services"))
kopf.on.event(GROUP, VERSION, "cascadeprofiles")(_hand_on("profiles"))
kopf.on.event(GROUP, VERSION, "gpupools")(_hand_on("pools"))
kopf.on.event("apps", "v1", "deployments", labels=_OURS)(_hand_on("deployments"))
kopf.on.event("", "v1", "pods", labels=_OURS)(_hand_on("pods"))
for _group, _version, _plural, _kind in (
    ("", "v1", "services", "Service"),
    ("", "v1", "configmaps", "ConfigMap"),
    ("", "v1", "serviceaccounts", "ServiceAccount"),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
):
    kopf.on.event(_group, _version, _plural, labels=_OURS)(_hand_on("others", _kind))
