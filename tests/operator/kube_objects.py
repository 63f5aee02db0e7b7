"""Kubernetes objects as the API server writes them, as far as the operator looks at them."""

from __future__ import annotations

from typing import Any

from documents import profile_document
from hadis.api.resources import API_VERSION
from hadis.protocol.labels import COMPONENT, POOL, REVISION, SERVICE

NAMESPACE, NAME = "default", "images"
OWNER_UID = "u"
OWNERS = [{"kind": "DiffusionService", "name": NAME, "uid": OWNER_UID}]
LIGHT_AND_HEAVY = {"light": "l1", "heavy": "h1"}


def service_object(*, generation: int = 1, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a DiffusionService; `spec` are changes of its spec."""
    plain = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "placement": "Dedicated"}
    return {
        "apiVersion": API_VERSION,
        "kind": "DiffusionService",
        "metadata": {"namespace": NAMESPACE, "name": NAME, "uid": OWNER_UID, "generation": generation},
        "spec": plain | spec,
        "status": status or {},
    }


def profile_object(**changes: Any) -> dict[str, Any]:
    """Return a CascadeProfile named two."""
    document = profile_document(**changes)
    document["metadata"] = {"namespace": NAMESPACE, "name": "two"}
    return document


def pod_object(
    name: str,
    *,
    pool: str = "light",
    revision: str = "l1",
    component: str = "worker",
    ready: bool = False,
    terminating: bool = False,
    address: str = "10.0.0.1",
    version: int = 1,
    annotations: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a pod; `status` are more parts of its status."""
    meta: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": name,
        "resourceVersion": str(version),
        "labels": {SERVICE: NAME, COMPONENT: component, POOL: pool, REVISION: revision},
    }
    if annotations:
        meta["annotations"] = annotations
    if terminating:
        meta["deletionTimestamp"] = "2026-01-01T11:59:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": meta,
        "status": {"podIP": address, "phase": "Running", "conditions": conditions, **(status or {})},
    }


def deployment_object(
    revision: str,
    *,
    pool: str = "light",
    replicas: int = 0,
    created: int | None = None,
    observed: bool = True,
    version: int = 1,
    config_map: str = "",
    conditions: tuple[dict[str, str], ...] = (),
) -> dict[str, Any]:
    """Return a Deployment of workers whose controller counts `created` pods (as many as it is asked for)."""
    volumes = [{"name": "manifest", "configMap": {"name": config_map}}] if config_map else []
    return {
        "kind": "Deployment",
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"{NAME}-worker-{revision}",
            "resourceVersion": str(version),
            "generation": 2,
            "ownerReferences": OWNERS,
            "labels": {SERVICE: NAME, COMPONENT: "worker", POOL: pool, REVISION: revision},
        },
        "spec": {"replicas": replicas, "template": {"spec": {"volumes": volumes}}},
        "status": {
            "observedGeneration": 2 if observed else 1,
            "replicas": replicas if created is None else created,
            "conditions": list(conditions),
        },
    }


def child_object(kind: str, name: str, *, owned: bool = True) -> dict[str, Any]:
    """Return another object with the service's label."""
    owners = OWNERS if owned else []
    return {
        "kind": kind,
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": {SERVICE: NAME}, "ownerReferences": owners},
    }
