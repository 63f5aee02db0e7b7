"""Two operators: one writes, whatever befalls them, the Lease and the API server; the budget holds at every event."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

from cluster_documents import profile, service
from control_plane import LEASE_S, ControlPlane, Operator, Release, free_port, wait_for
from queries import WAIT_S, BudgetWatch, settled, workers

_JTI = "authentication.kubernetes.io/credential-id"


def holder(plane: ControlPlane, namespace: str) -> str:
    return str(plane.get("lease", "hadis", "-n", namespace)["spec"].get("holderIdentity", ""))


def writes_without_the_lease(plane: ControlPlane, namespace: str) -> list[str]:
    """Return each write of a process other than the one that had written the Lease last, by the token that it used."""
    leader, stale = "", []
    events = [e for e in plane.audited(namespace) if e["verb"] in ("create", "update", "patch", "delete")]
    for event in sorted(events, key=moment):
        process = event["user"]["extra"][_JTI][0]
        if is_lease(event):
            leader = process if event["responseStatus"]["code"] < 300 else leader
        elif process != leader:
            stale.append(f"{event['requestReceivedTimestamp']} {event['verb']} {event['requestURI']}")
    return stale


def moment(event: dict[str, Any]) -> str:
    """Return when a Lease was written, or when another write came."""
    return str(event["stageTimestamp" if is_lease(event) else "requestReceivedTimestamp"])


def is_lease(event: dict[str, Any]) -> bool:
    return "/leases" in event["requestURI"]


class Pair:
    """Two operators by the names of their pods."""

    def __init__(self, start_operator: Any) -> None:
        self._start, self.by_pod, self.ports = start_operator, dict[str, Operator](), dict[str, int]()
        self._count = 0
        self.add()
        self.add()

    def add(self) -> None:
        pod, port = f"operator-{self._count}", free_port()
        self._count += 1
        self.by_pod[pod] = self._start(f"--liveness=http://127.0.0.1:{port}/healthz", HADIS_OPERATOR_POD=pod)
        self.ports[pod] = port

    def role(self, pod: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[pod]}/healthz", timeout=5) as answer:
            return str(json.load(answer)["leadership"]["role"])

    def signal(self, pod: str, what: signal.Signals) -> None:
        process = self.by_pod[pod].process
        assert process
        process.send_signal(what)


def test_one_of_two_writes_whatever_befalls_them(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    pair = Pair(start_operator)

    def led() -> str:
        who: str = wait_for(lambda: set(pair.by_pod) & {holder(plane, namespace)}, WAIT_S, "one to lead").pop()
        return who

    def follows(rps: float, what: str) -> None:
        """Change the demand; wait until the workers follow."""
        demand.rps = rps
        tier, count = ("light", 4) if rps > 10 else ("heavy", 2)
        wait_for(lambda: workers(plane, namespace).get(tier, 0) >= count, 90, what)

    settled(plane, namespace)
    leader = led()
    assert {pod: pair.role(pod) for pod in pair.by_pod} == {
        pod: "leader" if pod == leader else "standby" for pod in pair.by_pod
    }

    pair.by_pod.pop(leader).stop(signal.SIGKILL)
    follows(40.0, "the standby's plan after a kill")
    pair.add()

    leader = led()
    pair.signal(leader, signal.SIGSTOP)
    demand.rps = 2.0
    wait_for(lambda: holder(plane, namespace) not in ("", leader), WAIT_S, "the standby to lead")
    pair.signal(leader, signal.SIGCONT)
    follows(2.0, "the standby's plan after a pause")
    assert led() != leader

    for _ in range(3):
        plane.kubectl("delete", "lease", "hadis", "-n", namespace)
        led()

    plane.stop("kube-apiserver", signal.SIGKILL)
    time.sleep(2 * LEASE_S)
    plane.start("kube-apiserver")
    wait_for(lambda: plane.kubectl("get", "ns", check=False).returncode == 0, WAIT_S, "the API server")
    follows(40.0, "the plan after the Lease was deleted and the API server was away")

    leader = led()
    pair.by_pod.pop(leader).stop()
    assert led() != leader
    assert 4 <= budget.most <= 8
    assert writes_without_the_lease(plane, namespace) == []


def test_of_two_releases_that_share_a_namespace_one_waits_and_says_for_whom(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, tmp_path: Path
) -> None:
    other = f"{namespace}-all"
    plane.kubectl("create", "namespace", other)
    operator = start_operator(HADIS_OPERATOR_POD="one-0")
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    every = Release(plane, other, tmp_path / "every.log", watched=())
    try:
        every.start(HADIS_OPERATOR_POD="every-0")

        def messages() -> str:
            events = plane.get("events", "-n", other)["items"]
            return "".join(event["message"] for event in events if event["reason"] == "NamespaceHeld")

        wait_for(messages, WAIT_S, "the event")
        words = f"this release waits: release {namespace}/hadis keeps {namespace} (one-0), and two cannot share one"
        assert messages() == words
        assert words in (tmp_path / "every.log").read_text()
        wrote = [uri for verb, uri in plane.requests_of(other) if verb not in ("get", "list", "watch")]
        assert [uri for uri in wrote if "/events" not in uri] == []
        operator.stop()
        plane.kubectl("delete", "service", "images", "-n", namespace)
        wait_for(lambda: plane.get("service", "images", "-n", namespace), WAIT_S, "the other release to go on")
    finally:
        every.end()
        plane.kubectl("delete", "namespace", other, "--wait=false")
