"""A service that is idle, from what its routers say to what is written."""

from __future__ import annotations

import asyncio
import math

import pytest
from fake_http import FakeHttp
from hadis.api.resources import ServiceSpec
from hadis.planning.snapshot import Quiet
from hadis_operator import metrics
from hadis_operator.demand_sources import from_routers
from kube_objects import NAME, NAMESPACE, pod_object, service_object
from test_reconciler import METRICS, Operator
from virtual import virtual

ARRIVALS = "hadis_router_arrivals_total 5.0\n"
FIRST, SECOND = "http://10.0.1.1:8080", "http://10.0.1.2:8080"
GPUS = {"max": 4, "idleAfter": "1ms"}


def idle_for(seconds: str) -> str:
    return f"{ARRIVALS}hadis_router_idle_seconds {seconds}\n"


@pytest.mark.parametrize(
    ("answers", "quiet"),
    [
        ({FIRST: idle_for("7.5"), SECOND: idle_for("+Inf")}, Quiet(7.5)),
        ({FIRST: idle_for("+Inf"), SECOND: idle_for("+Inf")}, Quiet(math.inf)),
        ({FIRST: idle_for("7.5")}, Quiet(7.5, complete=False)),
        ({FIRST: idle_for("7.5"), SECOND: ARRIVALS}, Quiet(0.0)),
        ({FIRST: idle_for("7.5"), SECOND: idle_for("NaN")}, Quiet(0.0)),
        ({FIRST: idle_for("7.5"), SECOND: idle_for("-1")}, Quiet(0.0)),
    ],
)
async def test_routers_are_quiet_since_the_last_request_to_any_and_what_is_not_known_is_none(
    answers: dict[str, str], quiet: Quiet
) -> None:
    http = FakeHttp({f"{url}/metrics": text for url, text in answers.items()})
    assert (await from_routers(http.session, [FIRST, SECOND], lambda: 0.0)).quiet == quiet


async def serving() -> Operator:
    """Return an operator with a service whose workers are ready."""
    operator = Operator(service_object(gpus=GPUS, **METRICS))
    operator.prometheus()
    operator.http.answers[f"{FIRST}/metrics"] = idle_for("0.0")
    await operator.reconcile()
    operator.follow()
    await operator.reconcile()
    assert operator.condition("Idle").reason == "InUse"
    return operator


async def idle() -> Operator:
    """Return one whose service is idle, and its workers are gone."""
    operator = await serving()
    operator.http.answers[f"{FIRST}/metrics"] = idle_for("900.0")
    await asyncio.sleep(0.01)
    await operator.reconcile()
    assert set(operator.replicas.values()) == {0}
    for pod in [item for path, item in operator.cluster.kube.objects.items() if "/pods/" in path]:
        if pod["metadata"]["name"] != "r":
            operator.cluster.take("Pod", pod["metadata"]["name"])
    operator.follow()
    await operator.reconcile()
    return operator


async def test_workers_go_and_the_status_says_why_and_what_comes_next() -> None:
    operator = await idle()
    resting, ready = operator.condition("Idle"), operator.condition("Ready")
    assert (resting.status, resting.reason) == ("True", "NoRequest")
    assert (ready.status, ready.reason, ready.message) == ("True", "Idle", resting.message)
    assert operator.status.start_seconds is not None
    assert operator.status.gpus == "0 / 0 / 4"
    assert metrics.GPUS.labels(NAMESPACE, NAME, "existing")._value.get() == 0
    assert operator.status.plan.active is not None  # routers keep it for the first worker
    assert await operator.reconcile() == []


async def test_the_next_request_brings_workers_back_also_without_prometheus() -> None:
    operator = await idle()
    operator.http.answers.clear()
    operator.http.answers[f"{FIRST}/metrics"] = idle_for("0.0")
    await operator.reconcile()
    assert sum(operator.status.desired_by_tier.values()) > 0
    assert (operator.condition("Ready").reason, operator.condition("Idle").reason) == ("Waking", "Waking")


async def test_a_router_that_does_not_answer_changes_nothing() -> None:
    operator = await serving()
    operator.cluster.put(pod_object("s", component="router", ready=True, address="10.0.1.2"))
    operator.http.answers[f"{FIRST}/metrics"] = idle_for("900.0")
    await operator.reconcile()
    assert operator.condition("Idle").status == "False"


async def test_it_is_remembered_over_a_restart() -> None:
    operator = await idle()
    operator.restart()
    operator.http.answers[f"{FIRST}/metrics"] = idle_for("+Inf")
    await operator.reconcile()
    assert operator.condition("Idle").status == "True"
    operator.restart()
    operator.http.answers[f"{FIRST}/metrics"] = idle_for("0.0")
    await operator.reconcile()
    assert sum(operator.status.desired_by_tier.values()) > 0
    operator.restart()
    await operator.reconcile()
    assert operator.condition("Ready").reason == "Waking"


@virtual
async def test_while_idle_routers_are_asked_every_two_seconds_whatever_the_plan_s_period() -> None:
    operator = await idle()
    spec = operator.service.spec
    assert isinstance(spec, ServiceSpec)
    rare = spec.model_copy(update={"plan_every": "60s"})
    reconciler = operator.reconciler
    assert reconciler._due_s(rare) - reconciler._read_s == pytest.approx(2.0)
