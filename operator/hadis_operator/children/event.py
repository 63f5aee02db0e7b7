"""Kubernetes events as documents. Pure."""

from __future__ import annotations

from hadis_operator.children.common import Manifest

_LONGEST = 1000


def event(name: str, involved: Manifest, kind: str, reason: str, text: str, at: str) -> Manifest:
    """Return an Event of a kind (Normal or Warning) on an object, seen once `at` (RFC 3339).

    `involved` refers to the object; the event's own name begins with `name`.
    """
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{name}.", "namespace": involved["namespace"]},
        "involvedObject": involved,
        "source": {"component": "hadis-operator"},
        "reason": reason,
        "message": text[:_LONGEST],
        "type": kind,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
    }
