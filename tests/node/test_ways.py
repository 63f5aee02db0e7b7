"""Every way between pods on a network that enforces NetworkPolicies: pods that listen, with the labels of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from control_plane import wait_for
from images import TAG, Images
from leftovers import left
from node import Node, running
from pod_ways import ROUTER_PORT, TEAM, WAYS, WORKER_PORT, Pod, chart_operator, everybody, policies, service

_IMAGE = f"localhost/hadis-client:{TAG}"
_START_S, _RULES_S = 90.0, 30.0
_LISTENS = {"router": ROUTER_PORT, "worker": WORKER_PORT}
LISTENED = [way for way in WAYS if way[2] in _LISTENS.values()]
_AGAIN = "again"
"""Suffix of a second pod with the same labels: routers call routers."""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running() as started:
        started.load(Images().archives())
        yield started
    assert left() == []


class Ways:
    """Pods at the ends of the ways, which try to connect."""

    def __init__(self, node: Node, known: dict[str, Pod]) -> None:
        """Start them, each twice where others of its kind are called."""
        self._node, self._known = node, known
        names = [*known, *(f"{name} {_AGAIN}" for name in _LISTENS)]
        for namespace in {pod.namespace for pod in known.values()}:
            node.kubectl("create", "namespace", namespace)
        wait_for(self._has_accounts, _START_S, "the namespaces' accounts")
        node.apply(*(self._document(name) for name in names))
        self._addresses: dict[str, str] = wait_for(lambda: self._running(len(names)), _START_S, "the pods to run")

    def is_open(self, source: str, target: str, port: int) -> bool:
        """Return whether a pod can connect to another, of the same kind perhaps."""
        to = self._addresses[_name(f"{target} {_AGAIN}" if source == target else target)]
        code = f"import socket; socket.create_connection(({to!r}, {port}), timeout=3)"
        command = ("exec", "-n", self._known[source].namespace, _name(source), "--", "python", "-c", code)
        return self._node.kubectl(*command, check=False).returncode == 0

    def _has_accounts(self) -> bool:
        accounts = self._node.get("serviceaccounts", "-A")["items"]
        return {pod.namespace for pod in self._known.values()} <= {each["metadata"]["namespace"] for each in accounts}

    def _running(self, count: int) -> dict[str, str]:
        pods = [pod for pod in self._node.get("pods", "-A")["items"] if pod["status"]["phase"] == "Running"]
        return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods} if len(pods) == count else {}

    def _document(self, name: str) -> dict[str, Any]:
        kind = name.removesuffix(f" {_AGAIN}")
        pod = self._known[kind]
        command = ["python", "-m", "http.server", str(_LISTENS.get(kind, ROUTER_PORT))]
        container = {"name": "listens", "image": _IMAGE, "imagePullPolicy": "Never", "command": command}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _name(name), "namespace": pod.namespace, "labels": pod.labels},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }


def test_the_network_lets_through_what_is_used_and_nothing_else(
    node: Node, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = chart_operator(tmp_path_factory.mktemp("chart"))
    closed, others = (
        service(chart, monkeypatch, "images", allowFromAnywhere=False),
        service(chart, monkeypatch, "other"),
    )
    ways = Ways(node, everybody(chart, closed, others))
    assert {way for way in LISTENED if not ways.is_open(*way[:3])} == set(), "without policies all is open"
    _enforce(ways, node, policies(closed, others), 3)
    _enforce(ways, node, policies(service(chart, monkeypatch, "images"), others), 4)


def _enforce(ways: Ways, node: Node, made: list[dict[str, Any]], column: int) -> None:
    """Apply policies in the place of others; wait until every way is as the column of `WAYS` says."""
    node.kubectl("delete", "networkpolicies", "--all", "-n", TEAM)
    node.apply(*(_unowned(each) for each in made))

    def as_told() -> bool:
        wrong = [way for way in LISTENED if ways.is_open(*way[:3]) != way[column]]
        assert wrong == []
        return True

    wait_for(as_told, _RULES_S, "the ways to be open or shut")


def _name(name: str) -> str:
    return re.sub(r"[^a-z]+", "-", name)


def _unowned(policy: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in policy["metadata"].items() if key != "ownerReferences"}
    return policy | {"metadata": metadata}
