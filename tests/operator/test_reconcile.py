"""The pure half of the operator: GPUs within the budget at every moment, differences, names, conditions."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from documents import profile_document
from hadis.api.manifest import read_manifest
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.profile import Profile
from hadis_operator import children
from hadis_operator.children.common import Owner, child_name
from hadis_operator.conditions import Verdict, nodes_have_room, pod_troubles, with_times
from hadis_operator.demand import Counter, DemandError, from_routers
from hadis_operator.idle import COST, cost_changes
from hadis_operator.reconcile import Group, differs, next_replicas
from hadis_operator.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OWNER = Owner("images", "default", "uid")


@dataclass
class Cluster:
    """Deployments that create and end pods one at a time, in any order."""

    budget: int
    replicas: dict[str, int] = field(default_factory=dict)
    starting: dict[str, int] = field(default_factory=dict)
    ready: dict[str, int] = field(default_factory=dict)
    ending: dict[str, int] = field(default_factory=dict)

    def existing(self, name: str) -> int:
        return sum(part.get(name, 0) for part in (self.starting, self.ready, self.ending))

    def step(self, rng: random.Random) -> None:
        """Let one thing happen."""
        for name, count in sorted(self.replicas.items(), key=lambda _: rng.random()):
            live = self.starting.get(name, 0) + self.ready.get(name, 0)
            if live < count:
                self.starting[name] = self.starting.get(name, 0) + 1
            elif live > count:
                part = self.starting if self.starting.get(name) else self.ready
                part[name] -= 1
                self.ending[name] = self.ending.get(name, 0) + 1
            elif self.starting.get(name) and rng.random() < 0.5:
                self.starting[name] -= 1
                self.ready[name] = self.ready.get(name, 0) + 1
            elif self.ending.get(name):
                self.ending[name] -= 1
            else:
                continue
            return

    def groups(self, fresh: str) -> list[Group]:
        """Groups of pools a and b in revisions old and new."""
        return [
            Group(name, name[0], self.replicas.get(name, 0), self.replicas.get(name, 0),
                  self.starting.get(name, 0) + self.ready.get(name, 0),
                  self.ending.get(name, 0), self.ready.get(name, 0), not name.endswith(fresh))
            for name in ("a-old", "b-old", "a-new", "b-new")
        ]  # fmt: skip


counts = st.tuples(st.integers(0, 6), st.integers(0, 6))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.lists(st.tuples(counts, st.booleans()), min_size=1, max_size=4), st.integers(0, 10**6))
def test_no_more_gpus_than_the_budget_at_any_moment(
    budget: int, wishes: list[tuple[tuple[int, int], bool]], seed: int
) -> None:
    rng, cluster = random.Random(seed), Cluster(budget)
    fresh, wish = "old", {"a": 0, "b": 0}
    for (a, b), newer in wishes:
        fresh = "new" if newer else fresh
        wish = {"a": min(a, budget), "b": min(b, budget - min(a, budget))}
        for _ in range(rng.randrange(60)):
            move(cluster, fresh, wish, rng)
    for _ in range(400):
        move(cluster, fresh, wish, rng)
    assert cluster.ready.get(f"a-{fresh}", 0) == wish["a"]
    assert cluster.ready.get(f"b-{fresh}", 0) == wish["b"]
    assert sum(map(cluster.existing, ("a-old", "b-old", "a-new", "b-new"))) == sum(wish.values())


def move(cluster: Cluster, fresh: str, wish: dict[str, int], rng: random.Random) -> None:
    if rng.random() < 0.7:
        room = rng.random() < 0.5
        cluster.replicas = next_replicas(cluster.groups(fresh), wish, cluster.budget, room=room)
    cluster.step(rng)
    names = ("a-old", "b-old", "a-new", "b-new")
    assert sum(map(cluster.existing, names)) <= cluster.budget


def test_old_pods_go_a_few_at_a_time_while_new_ones_come() -> None:
    groups = [Group("old", "a", 8, 8, 8, 0, 8, True), Group("new", "a", 0, 0, 0, 0, 0, False)]
    assert next_replicas(groups, {"a": 8}, 8) == {"old": 6, "new": 0}
    groups = [Group("old", "a", 6, 6, 6, 1, 6, True), Group("new", "a", 0, 0, 0, 0, 0, False)]
    assert next_replicas(groups, {"a": 8}, 8) == {"old": 6, "new": 1}
    groups = [Group("old", "a", 6, 6, 6, 0, 6, True), Group("new", "a", 0, 0, 0, 0, 0, False)]
    assert next_replicas(groups, {"a": 8}, 8) == {"old": 6, "new": 2}


@pytest.mark.parametrize(
    ("fresh", "room", "wanted"),
    [
        (Group("new", "a", 0, 0, 0, 0, 0, False), True, {"old": 1, "new": 1}),
        (Group("new", "a", 1, 1, 1, 0, 0, False), True, {"old": 1, "new": 1}),
        (Group("new", "a", 1, 1, 1, 0, 1, False), True, {"old": 0, "new": 1}),
        (Group("new", "a", 1, 1, 1, 0, 0, False), False, {"old": 0, "new": 1}),
    ],
)
def test_the_only_worker_goes_when_the_new_one_is_ready(fresh: Group, room: bool, wanted: dict[str, int]) -> None:
    groups = [Group("old", "a", 1, 1, 1, 0, 1, True), fresh]
    assert next_replicas(groups, {"a": 1}, 8, room=room) == wanted
    if not fresh.replicas:  # nobody may have two
        assert next_replicas(groups, {"a": 1}, 1) == {"old": 0, "new": 0}


def test_a_pod_that_no_node_takes_and_a_quota_mean_no_room() -> None:
    condition = {"type": "PodScheduled", "status": "False", "lastTransitionTime": "2026-01-01T11:58:00Z"}
    pod = {"metadata": {"name": "p"}, "status": {"conditions": [condition]}}
    assert nodes_have_room([pod], [], NOW, 180)
    assert not nodes_have_room([pod], [], NOW, 60)
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert not nodes_have_room([], [{"metadata": {"name": "d"}, "status": {"conditions": [refused]}}], NOW, 60)


@pytest.mark.parametrize(
    ("wanted", "found", "different"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}, False),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"a": {}}, {}, False),
        ({"a": []}, {}, False),
        ({"a": ""}, {}, True),
        ({"cpu": "1000m"}, {"cpu": "1"}, False),
        ({"memory": "1.5Gi"}, {"memory": "1536Mi"}, False),
        ({"memory": "1Gi"}, {"memory": "1G"}, True),
        ({"x": True}, {"x": 1}, False),
    ],
)
def test_only_what_we_want_counts(wanted: Any, found: Any, different: bool) -> None:
    assert differs(wanted, found) is different


@pytest.mark.parametrize("name", ["images", "a" * 63, "1.2.3", "a.b", "x" * 62 + "y", "9" * 63])
def test_names_of_children_are_dns_labels_that_differ(name: str) -> None:
    import re

    made = [child_name(name, suffix) for suffix in ("router", "worker-0123456789", "workers-abcdef")]
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", each) for each in made)
    assert len(set(made)) == 3
    assert child_name(name + "b" if len(name) < 63 else name[:-1] + "z", "router") not in made


def test_counters_come_go_and_start_anew() -> None:
    counter = Counter()
    assert counter.add({"a": 100.0}) == 0
    assert counter.add({"a": 110.0, "b": 50.0}) == 10
    assert counter.add({"b": 53.0}) == 13
    assert counter.add({"a": 4.0, "b": 53.0}) == 17


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = with_times([Verdict("Ready", True, "A", "a"), Verdict("Degraded", False, "B", "b")], [], 1, "then")
    after = with_times([Verdict("Ready", True, "C", "c"), Verdict("Degraded", True, "D", "d")], before, 2, "now")
    assert [c["lastTransitionTime"] for c in after] == ["then", "now"]
    assert after[0]["reason"] == "C"
    assert after[0]["observedGeneration"] == 2


def test_troubles_of_pods_are_named() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"state": waiting}]}}
    assert pod_troubles([pod], NOW, 60) == ("ImagePullBackOff", "pod p: no such image")
    assert pod_troubles([{"metadata": {"name": "p"}, "status": {}}], NOW, 60) is None
    started = {"metadata": {"name": "p"}, "status": {"phase": "Running", "startTime": "2026-01-01T11:58:00Z"}}
    assert pod_troubles([started], NOW, 180) is None
    late = pod_troubles([started], NOW, 60)
    assert late is not None
    assert late[0] == "NotReady"


def test_pods_are_safe_and_workers_ask_for_one_gpu() -> None:
    profile = Profile(CascadeProfile.read(profile_document()))
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4},
                             "worker": {"gpuResource": "amd.com/gpu", "nodeSelector": {"a": "b"}}})  # fmt: skip
    made = children.make(OWNER, spec, Settings(), profile, shared=True)
    deployments = [*made.workers.values(), *(c for c in made.fixed if c["kind"] == "Deployment")]
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        container = pod["containers"][0]["securityContext"]
        assert container["readOnlyRootFilesystem"]
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert not container["allowPrivilegeEscalation"]
    worker = deployments[0]["spec"]["template"]["spec"]
    assert worker["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "1"}
    assert worker["nodeSelector"] == {"a": "b"}
    threads = next(e for e in worker["containers"][0]["env"] if e["name"] == "HADIS_WORKER_THREADS")
    assert threads["valueFrom"]["resourceFieldRef"]["resource"] == "requests.cpu"
    assert worker["terminationGracePeriodSeconds"] > profile.latency_s("heavy", 4)
    assert worker["automountServiceAccountToken"] is False


def test_other_pods_are_another_deployment() -> None:
    profile = Profile(CascadeProfile.read(profile_document()))
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}})

    def names(changed: Profile = profile, image: str = "w:1", shared: bool = False) -> set[str]:
        made = children.make(OWNER, spec, Settings(worker_image=image), changed, shared=shared)
        return {d["metadata"]["name"] for d in made.workers.values()}

    assert len(names()) == 2
    assert names() == names()
    renamed = profile_document()
    renamed["metadata"]["name"] = "other"
    others = names(Profile(CascadeProfile.read(renamed))), names(image="w:2"), names(shared=True)
    assert len(set().union(names(), *others)) == 7


def test_a_count_that_was_just_lowered_is_still_charged() -> None:
    groups = [Group("a", "a", 1, 6, 2, 0, 2, False), Group("b", "b", 0, 0, 0, 0, 0, False)]
    assert next_replicas(groups, {"a": 1, "b": 7}, 8) == {"a": 1, "b": 2}
    # Wanted again while its old pods terminate: they must be gone before.
    groups = [Group("a", "a", 2, 8, 2, 6, 2, False), Group("b", "b", 0, 0, 0, 0, 0, False)]
    assert next_replicas(groups, {"a": 8, "b": 0}, 8) == {"a": 2, "b": 0}


def test_idle_pods_cost_least_and_busy_ones_lose_the_mark() -> None:
    def pod(name: str, cost: str | None = None) -> dict[str, Any]:
        return {"metadata": {"name": name, "annotations": {COST: cost} if cost else None}}

    pods = [pod("a"), pod("b", "-1"), pod("c", "-1"), pod("d"), pod("e", "5")]
    assert cost_changes(pods, {"a", "b"}) == {"a": "-1", "c": None}


async def test_routers_are_asked_at_once_and_the_deaf_left_out() -> None:
    open_now, most = 0, 0

    async def metrics(_: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.1)
        open_now -= 1
        text = 'hadis_router_arrivals_total 5.0\nhadis_router_queued_seconds{tier="light"} 0.5\n'
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    async with TestServer(app, host="0.0.0.0") as server, aiohttp.ClientSession() as http:
        good = [f"http://{host}:{server.port}" for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3")]
        reading = await from_routers(http, [*good, "http://127.0.0.1:1"])
        assert reading.series == dict.fromkeys(good, 5.0)
        assert reading.queued_s == {"light": pytest.approx(1.5)}
        assert most == 3
        with pytest.raises(DemandError, match=r"127\.0\.0\.1:1/metrics"):
            await from_routers(http, ["http://127.0.0.1:1"])


def test_the_router_reads_the_manifest_that_is_mounted_for_it(tmp_path: Path) -> None:
    profile = Profile(CascadeProfile.read(profile_document()))
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}})
    made = children.make(OWNER, spec, Settings(), profile, shared=True)
    configs = {c["metadata"]["name"]: c["data"] for c in made.fixed if c["kind"] == "ConfigMap"}
    deployment = next(c for c in made.fixed if c["kind"] == "Deployment")
    volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
    for source in volumes["manifest"]["projected"]["sources"]:
        data = configs[source["configMap"]["name"]]
        for item in source["configMap"].get("items", [{"key": key, "path": key} for key in data]):
            path = tmp_path / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(data[item["key"]])
    manifest = read_manifest(tmp_path / "manifest.yaml")
    assert manifest.service.spec.gpus.max == 4
    assert manifest.profile.content_hash() == profile.hash
