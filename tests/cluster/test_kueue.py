"""Kueue beside the operator: workers that it holds back wait for quota, and serve once it admits them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane, running_with_gpus, wait_for
from kueue import QUEUE, is_gated, kueue, queue
from pod_events import PodEvents, gpus_of
from queries import WAIT_S, condition, is_ready, settled, status, workers

QUOTA, WISH = 2, 4
_ADMITTED_S = 120.0


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of its own: Kueue's webhooks stand before every pod."""
    with running_with_gpus() as control_plane:
        yield control_plane


class Admitted:
    """The most GPUs of workers that were ever admitted at one time."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        """Watch the workers of a namespace."""
        self._gpus: dict[str, int] = {}
        self.most, self.gated = 0, 0
        self._events = PodEvents(plane, self._seen, namespace)

    def close(self) -> None:
        """Watch no more."""
        self._events.close()

    def _seen(self, event: str, pod: dict[str, Any]) -> None:
        name, gated = pod["metadata"]["name"], is_gated(pod)
        self._gpus[name] = 0 if gated or event == "DELETED" else gpus_of(pod)
        self.gated += gated
        self.most = max(self.most, sum(self._gpus.values()))


def test_workers_wait_for_quota_and_serve_once_kueue_admits_them(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, tmp_path: Path
) -> None:
    demand.rps = 1.0
    document = service(namespace, demand, gpus={"min": WISH, "max": WISH})
    document["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": QUEUE}
    with kueue(plane, tmp_path, namespace):
        plane.apply(*queue(namespace, QUOTA))
        admitted = Admitted(plane, namespace)
        try:
            start_operator(HADIS_OPERATOR_PROPAGATED_LABELS='["kueue.x-k8s.io/"]')
            plane.apply(profile(namespace), document)
            _wait_for_workers(plane, namespace, QUOTA)
            lacking = condition(plane, namespace, "CapacitySufficient")
            assert (lacking["status"], lacking["reason"]) == ("False", "WaitingForQuota")
            assert "kueue.x-k8s.io/admission" in lacking["message"]
            assert condition(plane, namespace, "Degraded")["status"] == "False"
            assert condition(plane, namespace, "Ready")["reason"] == "Serving"
            assert status(plane, namespace)["gpus"] == f"{QUOTA} / {WISH} / {WISH}"
            assert admitted.gated and admitted.most == QUOTA

            plane.apply(*queue(namespace, WISH))
            _wait_for_workers(plane, namespace, WISH)
            settled(plane, namespace)
            wait_for(lambda: condition(plane, namespace, "CapacitySufficient")["status"] == "True", WAIT_S, "enough")
            assert admitted.most == WISH
        finally:
            admitted.close()


def _wait_for_workers(plane: ControlPlane, namespace: str, count: int) -> None:
    def there() -> bool:
        pods = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
        return len(pods) == WISH and sum(map(is_ready, pods)) == count == sum(workers(plane, namespace).values())

    wait_for(there, _ADMITTED_S, f"{count} of {WISH} workers to be admitted")
