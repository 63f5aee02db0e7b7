"""Which pods a lower count takes first."""

from __future__ import annotations

from fake_http import FakeHttp
from hadis_operator.deletion_cost import cost_changes, idle_pods
from hadis_operator.workload_views import DELETION_COST, PodView, pod_view
from kube_objects import pod_object


def pod(name: str, cost: str | None = None, address: str = "10.0.0.1") -> PodView:
    return pod_view(pod_object(name, address=address, annotations={DELETION_COST: cost} if cost else None))


def test_idle_pods_cost_least_and_busy_ones_lose_the_mark() -> None:
    pods = [pod("a"), pod("b", "-1"), pod("c", "-1"), pod("d"), pod("e", "5")]
    assert cost_changes(pods, {"a", "b"}) == {"a": "-1", "c": None}


async def test_only_a_worker_that_says_so_is_idle() -> None:
    status = '{"tiers": ["light"], "ready": true, "busy": %s}'
    http = FakeHttp({
        "http://10.0.0.1:8100/status": status % "false",
        "http://10.0.0.2:8100/status": status % "true",
        "http://10.0.0.3:8100/status": "teapot",
        "http://[fd00::1]:8100/status": status % "false",
    })  # fmt: skip
    pods = [pod(address, address=address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1")]
    assert await idle_pods(http.session, pods) == {"10.0.0.1", "fd00::1"}
