"""Every way between pods, held against the NetworkPolicies of a service and the labels that the chart's pods have.

A small evaluator reads the policies as Kubernetes defines them: a pod that no policy selects takes all; one that some
select takes what any of their rules allows.
"""

from __future__ import annotations

from typing import Any

import pytest
from pod_ways import (
    ROUTER_PORT,
    WAYS,
    WORKER_PORT,
    Labels,
    Pod,
    chart_operator,
    deployments,
    everybody,
    policies,
    service,
)


def matches(selector: dict[str, Any], labels: Labels) -> bool:
    assert selector.keys() <= {"matchLabels"}
    required: Labels = selector.get("matchLabels", {})
    return required.items() <= labels.items()


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
    return chart_operator(tmp_path_factory.mktemp("chart"))


@pytest.mark.parametrize("closed", [True, False])
def test_every_way_that_is_used_is_open_and_no_other(
    chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    made = service(chart, monkeypatch, "images", allowFromAnywhere=not closed)
    other = service(chart, monkeypatch, "other")
    known = everybody(chart, made, other)
    for source, target, port, if_closed, if_open in WAYS:
        expected = if_closed if closed else if_open
        way = f"{source} to {target}:{port}"
        assert allowed(policies(made, other), known[source], known[target], port) == expected, way


def test_ports_of_the_ways_are_those_of_the_pods(chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = service(chart, monkeypatch, "images")
    ports = {
        each["metadata"]["labels"]["hadis.dev/component"]: each["spec"]["template"]["spec"]["containers"][0]["ports"]
        for each in deployments(made)
    }
    assert {component: [port["containerPort"] for port in each] for component, each in ports.items()} == {
        "router": [ROUTER_PORT],
        "worker": [WORKER_PORT],
    }
