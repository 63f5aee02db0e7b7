"""Writes Kubernetes events of a service: what happened, for those who look at it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Literal

from hadis.api.crd import GROUP, VERSION
from hadis.kube.client import ApiError, Kube

from hadis_operator.field_managers import MANAGER
from hadis_operator.views import ServiceView

log = logging.getLogger(__name__)


def now() -> str:
    """Return the time as Kubernetes writes it (RFC 3339)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def write_event(
    kube: Kube, service: ServiceView, reason: str, text: str, kind: Literal["Normal", "Warning"] = "Normal"
) -> None:
    """Write an event of a service; one that cannot be written is logged."""
    at = now()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{service.name[:40]}.", "namespace": service.namespace},
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "DiffusionService",
            "name": service.name,
            "namespace": service.namespace,
            "uid": service.uid,
        },
        "source": {"component": MANAGER},
        "reason": reason,
        "message": text[:1000],
        "type": kind,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
    }
    try:
        await kube.create(f"/api/v1/namespaces/{service.namespace}/events", event)
    except ApiError as error:
        log.warning("%s/%s: event not written: %s", service.namespace, service.name, error)
