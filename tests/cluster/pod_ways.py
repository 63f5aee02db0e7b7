"""The ways between pods that a service's NetworkPolicies allow and shut, and the pods at their ends.

Held against the policies as Kubernetes defines them (`test_network_policies`), and on a network that enforces them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.profile import Profile
from hadis_operator import children
from hadis_operator.children.common import Manifest, Owner
from hadis_operator.settings import OperatorSettings
from test_chart import OPERATOR, render

Labels = dict[str, str]
TEAM, SYSTEM = "team", "ns"
ROUTER_PORT, WORKER_PORT = 8080, 8100
WAYS = [
    # source, target, port, whether it is open where routers take no others, whether where they take everybody
    ("operator", "router", ROUTER_PORT, True, True),  # reads /metrics
    ("operator", "worker", WORKER_PORT, True, True),  # asks who is idle
    ("router", "router", ROUTER_PORT, True, True),  # forwards to the owner of the queues
    ("router", "worker", WORKER_PORT, True, True),  # batches
    ("prometheus", "router", ROUTER_PORT, True, True),
    ("prometheus", "worker", WORKER_PORT, True, True),
    ("application of the namespace", "router", ROUTER_PORT, True, True),
    ("application of the namespace", "worker", WORKER_PORT, False, False),
    ("other service's router", "worker", WORKER_PORT, False, False),
    ("worker", "worker", WORKER_PORT, False, False),
    ("application elsewhere", "router", ROUTER_PORT, False, True),
    ("application elsewhere", "worker", WORKER_PORT, False, False),
    ("namesake of the operator", "worker", WORKER_PORT, False, False),
    ("namesake of the operator", "router", ROUTER_PORT, False, True),
    ("namesake of prometheus", "worker", WORKER_PORT, False, False),
    ("neighbour of prometheus", "worker", WORKER_PORT, False, False),
    ("neighbour of the operator", "worker", WORKER_PORT, False, False),
    ("namesake of a router", "worker", WORKER_PORT, False, False),
    ("operator", "worker", 22, False, False),
]


@dataclass(frozen=True)
class Pod:
    """A pod, as policies see it."""

    namespace: str
    labels: Labels


def chart_operator(folder: Path) -> dict[str, Any]:
    """Return the operator's Deployment as the chart makes it, with a Prometheus that is named by both labels."""
    scraper = {"namespaceLabels": {"kubernetes.io/metadata.name": "monitoring"}, "podLabels": {"app": "prometheus"}}
    deployment: dict[str, Any] = yaml.safe_load(render(folder, {"prometheus": {"pods": [scraper]}})[OPERATOR])
    return deployment


def service(chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, **router: Any) -> children.Children:
    """Return the children that the chart's operator makes."""
    for variable in chart["spec"]["template"]["spec"]["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "of the pod"))
    spec: dict[str, Any] = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "router": router}
    profile, owner = Profile(CascadeProfile.read(profile_document())), Owner(name, TEAM, "u")
    return children.make(owner, ServiceSpec.read(spec), OperatorSettings(), profile, shared=False)


def policies(*made: children.Children) -> list[Manifest]:
    """Return the NetworkPolicies of services."""
    return [each for one in made for each in one.fixed if each["kind"] == "NetworkPolicy"]


def deployments(made: children.Children) -> list[Manifest]:
    """Return the Deployments of a service."""
    return [each for each in (*made.fixed, *made.workers.values()) if each["kind"] == "Deployment"]


def pods(made: children.Children) -> dict[str, Pod]:
    """Return a pod of each component of a service, with the labels of its Deployment's template."""
    templates = [(each["metadata"]["namespace"], each["spec"]["template"]) for each in deployments(made)]
    known = [Pod(namespace, template["metadata"]["labels"]) for namespace, template in templates]
    return {pod.labels["hadis.dev/component"]: pod for pod in known}


def everybody(chart: dict[str, Any], made: children.Children, other: children.Children) -> dict[str, Pod]:
    """Return the pods of the ways by name; `other` is another service of the namespace."""
    mine, operator = pods(made), chart["spec"]["template"]["metadata"]["labels"]
    prometheus = {"app": "prometheus"}
    return {
        **mine,
        "other service's router": pods(other)["router"],
        "operator": Pod(SYSTEM, operator),
        "prometheus": Pod("monitoring", prometheus),
        "application of the namespace": Pod(TEAM, {"app": "shop"}),
        "application elsewhere": Pod("elsewhere", {"app": "shop"}),
        "namesake of the operator": Pod("elsewhere", operator),
        "namesake of prometheus": Pod("elsewhere", prometheus),
        "namesake of a router": Pod("elsewhere", mine["router"].labels),
        "neighbour of prometheus": Pod("monitoring", {"app": "grafana"}),
        "neighbour of the operator": Pod(SYSTEM, {"app": "shop"}),
    }
