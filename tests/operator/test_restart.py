"""An operator that is started anew decides as one that was not: what plans depend on comes back from the status."""

from __future__ import annotations

import json
from typing import Any

from documents import profile_document
from fake_kube import FakeCluster
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision, decide
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup
from hadis.planning.tuning import Tuning
from hadis_operator.observe import memory_of
from hadis_operator.status_writer import StatusWriter
from hadis_operator.views import ServiceView, service_view
from kube_objects import NAME, NAMESPACE, service_object

PLACES: dict[str, Any] = {"placement": "Shared", "planEvery": "2s"}
EVERY_S, LARGE = 2.0, "64x32"
WORKERS = tuple(Worker(f"w{i}", "all", ("light", "heavy"), ready=True) for i in range(4))
GROUP = WorkerGroup("all", ("light", "heavy"), replicas=4, created=4)
RATIOS = {"light": {1: 1.0987654321, 2: 1.0123456789}, "heavy": {1: 1.2345678901, 4: 1.3456789012}}


def profile_of_two_sizes() -> Profile:
    document = profile_document()
    for tier in document["spec"]["tiers"]:
        tier["sizes"] = [tier.pop("size"), LARGE]
        tier["latency"] += [point | {"size": LARGE, "seconds": 2 * point["seconds"]} for point in tier["latency"]]
    return Profile(CascadeProfile.read(document))


class Operator:
    """Takes steps on a service whose demand, sizes and batch times stay as they are, and writes its status."""

    def __init__(self) -> None:
        self.profile, self.spec = profile_of_two_sizes(), ServiceSpec.read(service_object(**PLACES)["spec"])
        self.cluster, self.memory, self.steps = FakeCluster(), Memory(), 0
        self.cluster.put(service_object(**PLACES))
        self.writer = StatusWriter(NAMESPACE, NAME, self.cluster.kube, self.cluster.cache)

    @property
    def service(self) -> ServiceView:
        """The service as the API server keeps it: fields of a map come back by name."""
        path = f"/apis/hadis.dev/v1alpha1/namespaces/{NAMESPACE}/diffusionservices/{NAME}"
        return service_view(json.loads(json.dumps(self.cluster.kube.objects[path], sort_keys=True)))

    async def step(self) -> Decision:
        now_s, self.steps = EVERY_S * self.steps, self.steps + 1
        counts = {"auto": 4.0 * self.steps, LARGE: 8.0 * self.steps}
        reading = DemandReading(now_s, counts, ratios=RATIOS, sizes={size: size for size in counts})
        snapshot = Snapshot(now_s, self.spec, self.profile, reading, WORKERS, (GROUP,))
        decision = decide(snapshot, self.memory)
        await self.writer.write(self.service, snapshot, decision)
        self.memory = decision.memory
        return decision

    def restart(self) -> None:
        self.memory = memory_of(self.service)


async def test_an_operator_that_is_started_anew_decides_as_one_that_was_not() -> None:
    steady, killed = Operator(), Operator()
    windows = int(2 * Tuning().slow_window_s / EVERY_S)
    for _ in range(windows):
        assert await killed.step() == await steady.step()
    killed.restart()
    assert killed.memory.mix == steady.memory.mix == ((None, 0.333), (LARGE, 0.667))
    assert killed.memory.ratios == steady.memory.ratios == RATIOS
    for _ in range(windows):
        anew, before = await killed.step(), await steady.step()
        assert (anew.plan, anew.workers_by_tier, anew.replicas) == (
            before.plan,
            before.workers_by_tier,
            before.replicas,
        )
    assert (anew.target, anew.conditions) == (before.target, before.conditions)
    assert anew.forecast_rps == before.forecast_rps > 0
