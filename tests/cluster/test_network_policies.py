"""Every way between pods, held against the NetworkPolicies of a service and the labels that the chart's pods have.

A small evaluator reads the policies as Kubernetes defines them: a pod that no policy selects takes all; one that some
select takes what any of their rules allows.
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
from hadis_operator.children.common import Owner
from hadis_operator.settings import OperatorSettings
from test_chart import OPERATOR, render

Labels = dict[str, str]
TEAM, SYSTEM = "team", "ns"
ROUTER_PORT, WORKER_PORT = 8080, 8100


@dataclass(frozen=True)
class Pod:
    """A pod, as policies see it."""

    namespace: str
    labels: Labels


def matches(selector: dict[str, Any], labels: Labels) -> bool:
    assert selector.keys() <= {"matchLabels"}
    wanted: Labels = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def lets_in(peer: dict[str, Any], of: str, source: Pod) -> bool:
    """Return whether a peer of a policy in the namespace `of` is a pod; no namespaceSelector: pods of `of`."""
    namespace = {"kubernetes.io/metadata.name": source.namespace}
    near = matches(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else source.namespace == of
    return near and matches(peer["podSelector"], source.labels)


def allowed(policies: list[dict[str, Any]], source: Pod, target: Pod, port: int) -> bool:
    chosen = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace and matches(policy["spec"]["podSelector"], target.labels)
    ]
    assert all(policy["spec"]["policyTypes"] == ["Ingress"] for policy in chosen)  # none says what pods may call
    rules = [rule for policy in chosen for rule in policy["spec"]["ingress"]]
    return not chosen or any(
        any(each["port"] == port and each["protocol"] == "TCP" for each in rule["ports"])
        and any(lets_in(peer, target.namespace, source) for peer in rule["from"])
        for rule in rules
    )


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The operator's Deployment as the chart makes it, with a Prometheus that is named by both labels."""
    scraper = {"namespaceLabels": {"kubernetes.io/metadata.name": "monitoring"}, "podLabels": {"app": "prometheus"}}
    folder: Path = tmp_path_factory.mktemp("chart")
    deployment: dict[str, Any] = yaml.safe_load(render(folder, {"prometheus": {"pods": [scraper]}})[OPERATOR])
    return deployment


def service(chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, **router: Any) -> children.Children:
    """Return the children that the chart's operator makes."""
    for variable in chart["spec"]["template"]["spec"]["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "of the pod"))
    spec: dict[str, Any] = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "router": router}
    profile, owner = Profile(CascadeProfile.read(profile_document())), Owner(name, TEAM, "u")
    return children.make(owner, ServiceSpec.read(spec), OperatorSettings(), profile, shared=False)


def pods(made: children.Children) -> dict[str, Pod]:
    """Return a pod of each component of a service, with the labels of its Deployment's template."""
    deployments = [each for each in (*made.fixed, *made.workers.values()) if each["kind"] == "Deployment"]
    found = [Pod(each["metadata"]["namespace"], each["spec"]["template"]["metadata"]["labels"]) for each in deployments]
    return {pod.labels["hadis.dev/component"]: pod for pod in found}


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


@pytest.mark.parametrize("closed", [True, False])
def test_every_way_that_is_used_is_open_and_no_other(
    chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    made = service(chart, monkeypatch, "images", allowFromAnywhere=not closed)
    other = service(chart, monkeypatch, "other")
    mine, operator = pods(made), chart["spec"]["template"]["metadata"]["labels"]
    prometheus = {"app": "prometheus"}
    known = {
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
    policies = [each for each in (*made.fixed, *other.fixed) if each["kind"] == "NetworkPolicy"]
    for source, target, port, if_closed, if_open in WAYS:
        expected = if_closed if closed else if_open
        assert allowed(policies, known[source], known[target], port) == expected, f"{source} to {target}:{port}"


def test_ports_of_the_ways_are_those_of_the_pods(chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = service(chart, monkeypatch, "images")
    deployments = [each for each in (*made.fixed, *made.workers.values()) if each["kind"] == "Deployment"]
    ports = {
        each["metadata"]["labels"]["hadis.dev/component"]: each["spec"]["template"]["spec"]["containers"][0]["ports"]
        for each in deployments
    }
    assert {component: [port["containerPort"] for port in each] for component, each in ports.items()} == {
        "router": [ROUTER_PORT],
        "worker": [WORKER_PORT],
    }
