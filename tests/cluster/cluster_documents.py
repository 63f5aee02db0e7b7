"""Custom resources for the cluster tests."""

from __future__ import annotations

from typing import Any

from documents import profile_document
from hadis.api.resources import API_VERSION


def profile(namespace: str, name: str = "two", **changes: Any) -> dict[str, Any]:
    """Return a CascadeProfile of two tiers."""
    document = profile_document(**changes)
    document["metadata"] = {"name": name, "namespace": namespace}
    return document


def service(namespace: str, demand: Any, name: str = "images", **changes: Any) -> dict[str, Any]:
    """Return a DiffusionService that plans every second."""
    spec = {
        "profile": "two",
        "objective": {"latency": "4s"},
        "gpus": {"max": 8},
        "placement": "Dedicated",
        "planEvery": "1s",
        "scaleDownAfter": "3s",
        "metrics": {"prometheus": {"address": demand.address, "query": "arrivals"}},
        **changes,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "DiffusionService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
