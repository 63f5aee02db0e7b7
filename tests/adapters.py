"""Operator, `hadis up` and the replay as they run, each on a small world of its own that follows what it does.

The worlds differ in their words alone: a worker is ready two steps after it was made, who is not ready goes first,
and routers tell the same, by /metrics to the operator and by their status to `hadis up`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
from fake_http import FakeHttp
from fake_kube import FakeCluster
from hadis.api.resources import API_VERSION, ServiceSpec
from hadis.cli.control_loop import ControlLoop
from hadis.cli.local_workers import LocalWorkers, Place
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import is_shared
from hadis.planning.gpu_pool import Member, Pool, decide_in_pool
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.rollout import profiles_in_force
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup
from hadis.planning.tuning import Tuning
from hadis.protocol.labels import COMPONENT, POOL, REMOTE, REVISION, tiers_by_pool
from hadis_operator.gpu_pools import GpuPools
from hadis_operator.reconciler import Reconciler
from hadis_operator.settings import OperatorSettings
from hadis_profiler.replay import control as replay_control
from hadis_profiler.replay import policies
from hadis_profiler.replay.fleet import Pod, groups_of, observe_pods
from hadis_profiler.replay.setting import Setting
from kube_objects import NAME, NAMESPACE, pod_object
from moments import ROUTERS, Moment, metrics_text, reading_of, status_text

KEY = f"{NAMESPACE}/{NAME}"
EVERY_S = 2.0
_STARTS_FOR = 2
"""Steps until a worker that was made is ready."""


class Recorder:
    """Stands in for `decide` where an adapter calls it, and keeps what it said."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.last: tuple[Snapshot, Decision] | None = None

    def __call__(self, snapshot: Snapshot, memory: Memory, tuning: Tuning = Tuning()) -> Decision:
        decision = decide(snapshot, memory, tuning)
        self.last = snapshot, decision
        return decision


class Adapter(Protocol):
    """One of the callers of the control step."""

    async def step(self, number: int, moment: Moment) -> None:
        """Observe, decide and act; then the world follows."""


def is_ready(number: int, made: int, age_rank: int, moment: Moment) -> bool:
    """Return whether a worker that was made at a step is ready at another; `age_rank` is 0 for its group's oldest."""
    return number - made >= _STARTS_FOR and age_rank >= moment.away


@dataclass
class Fleet:
    """Workers of groups that are as many as was asked at once."""

    made: dict[str, dict[str, int]] = field(default_factory=dict)
    """By group and name, the oldest first, when each was made."""
    _names: int = 0

    def ready(self, number: int, moment: Moment) -> dict[str, bool]:
        """Return every worker by name, and whether it is ready."""
        return {
            name: is_ready(number, made, rank, moment)
            for each in self.made.values()
            for rank, (name, made) in enumerate(each.items())
        }

    def follow(self, replicas: Mapping[str, int], number: int, ready: Mapping[str, bool]) -> None:
        """Make and end workers until each group has as many as it is asked for."""
        for group, count in replicas.items():
            mine = self.made.setdefault(group, {})
            for name in sorted(mine, key=lambda each: ready[each])[: max(0, len(mine) - count)]:
                del mine[name]
            while len(mine) < count:
                self._names += 1
                mine[f"w{self._names}"] = number


class OperatorAdapter:
    """The operator's Reconciler, on an API server without a cluster."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """`spec` is a DiffusionService's."""
        self.cluster, self.http, self.fleet = FakeCluster(), FakeHttp(), Fleet()
        self._profile: Profile | None = None
        meta = {"namespace": NAMESPACE, "name": NAME, "uid": "u", "generation": 1}
        kind = {"apiVersion": API_VERSION, "kind": "DiffusionService"}
        self.cluster.put({**kind, "metadata": meta, "spec": dict(spec), "status": {}})
        for i in range(ROUTERS):
            self.cluster.put(pod_object(f"r{i}", component="router", ready=True, address=f"10.0.1.{i}"))
        self._start()

    def _start(self) -> None:
        cluster = self.cluster
        pools = GpuPools(cluster.cache, lambda key: None)
        self.reconciler = Reconciler(KEY, OperatorSettings(), cluster.kube, self.http.session, cluster.cache, pools)
        self.reconciler._began_s = 0.0  # wall-clock seconds would round otherwise than the others' do

    async def step(self, number: int, moment: Moment) -> None:
        if moment.restarts:
            self._start()
        self._observe(number, moment)
        await self.reconciler.reconcile()
        self._follow(number, moment)

    def _observe(self, number: int, moment: Moment) -> None:
        self._put_profile(moment.profile)
        if moment.pool_gpus is not None:
            pool = {"kind": "GpuPool", "metadata": {"namespace": NAMESPACE, "name": "all"}}
            self.cluster.put({**pool, "spec": {"gpus": moment.pool_gpus}})
        self.http.answers = {
            f"http://10.0.1.{i}:8080/metrics": metrics_text(moment, first=i == 0)
            for i in range(ROUTERS)
            if moment.arrivals is not None
        }
        ready = self.fleet.ready(number, moment)
        for revision, each in self.fleet.made.items():
            labels = self._deployments()[revision]["metadata"]["labels"]
            for name in each:
                pod = pod_object(name, pool=labels[POOL], revision=revision, ready=ready[name])
                pod["metadata"]["labels"] |= {REMOTE: labels[REMOTE]} if REMOTE in labels else {}
                self.cluster.put(pod)

    def _put_profile(self, profile: Profile) -> None:
        if profile is self._profile:
            return
        self._profile = profile
        document = profile.resource.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        kind = {"apiVersion": API_VERSION, "kind": "CascadeProfile"}
        self.cluster.put({**document, **kind, "metadata": {"namespace": NAMESPACE, "name": "two"}})

    def _follow(self, number: int, moment: Moment) -> None:
        """Let the Deployments' controllers do what they are asked for."""
        deployments, before = self._deployments(), self.fleet.ready(number, moment)
        self.fleet.follow({r: item["spec"]["replicas"] for r, item in deployments.items()}, number, before)
        for name in before.keys() - self.fleet.ready(number, moment).keys():
            self.cluster.take("Pod", name)
        for item in deployments.values():
            status = {"replicas": item["spec"]["replicas"], "observedGeneration": item["metadata"]["generation"]}
            self.cluster.put(item | {"status": status})

    def _deployments(self) -> dict[str, dict[str, Any]]:
        items = [item for path, item in self.cluster.kube.objects.items() if "/deployments/" in path]
        workers = [item for item in items if item["metadata"]["labels"].get(COMPONENT) == "worker"]
        return {item["metadata"]["labels"][REVISION]: item for item in workers}


class Idle:
    """What runs in place of a worker's process."""

    def __init__(self, *_: object) -> None:
        """Start nothing."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class UpAdapter:
    """The ControlLoop of `hadis up`, with tasks for processes."""

    def __init__(self, spec: ServiceSpec, moment: Moment, folder: Path, tasks: asyncio.TaskGroup) -> None:
        """`folder` is the run folder; the workers are tasks of `tasks`."""
        slots = moment.profile.slots
        pools = tiers_by_pool(moment.profile.tiers, shared=is_shared(spec, moment.profile), remote=slots)
        count = spec.gpus.max + sum(slots.values())
        places = [Place(i, 9000 + i, {}, remote=i >= spec.gpus.max) for i in range(count)]
        self.workers = LocalWorkers(
            pools, places, tasks, print, lambda: None, child=Idle, remote=[pool for pool in pools if pool in slots]
        )
        self.loop = ControlLoop(
            spec, moment.profile, self.workers, "http://router", folder / "state.json", lambda *_, **__: None,
            asyncio.Event(),
        )  # fmt: skip
        self.made: dict[str, int] = {}

    async def step(self, number: int, moment: Moment) -> None:
        ready = self._ready(number, moment)

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.host != "router":
                name = str((request.url.port or 0) - 9000)
                return httpx.Response(200, json={"tiers": [], "ready": ready[name], "busy": False})
            if moment.arrivals is None:
                raise httpx.ConnectError("nobody listens")
            return httpx.Response(200, text=status_text(moment))

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            await self.loop.step(http)
        for _ in range(3):  # what was stopped is gone before the next step
            await asyncio.sleep(0)
        names = {worker.name for worker in self.workers.observe()[1]}
        self.made = {name: made for name, made in self.made.items() if name in names}
        self.made |= dict.fromkeys(names - self.made.keys(), number)

    def _ready(self, number: int, moment: Moment) -> dict[str, bool]:
        ranks: dict[str, int] = {}
        ready = {}
        for worker in self.workers.observe()[1]:
            rank = ranks[worker.group] = ranks.get(worker.group, -1) + 1
            ready[worker.name] = is_ready(number, self.made[worker.name], rank, moment)
        return ready


class ReplayAdapter:
    """The replay's policy on its simulated machines; what only the operator has beside is put in by hand."""

    def __init__(self, spec: ServiceSpec, moment: Moment) -> None:
        """Begin with no worker."""
        self.spec, self.fleet, self.memory = spec, Fleet(), Memory()
        self.former = {moment.profile.hash: moment.profile}
        self.members: dict[str, Member] = {}

    async def step(self, number: int, moment: Moment) -> None:
        known = self.former if self.spec.rollout else {}
        before, rollout = self.memory.profile_hash, self.memory.rollout
        profile, candidate = profiles_in_force(moment.profile, known, self.spec.rollout, before, rollout)
        ready = self.fleet.ready(number, moment)
        setting = Setting(profile, self.spec.model_copy(update={"rollout": None}))
        reading = reading_of(asyncio.get_running_loop().time(), moment)
        seen = self._seen(profile, ready)
        snapshot = replay_control.snapshot_of(asyncio.get_running_loop().time(), setting, reading, *seen)
        quiet = reading.quiet if isinstance(reading, DemandReading) else None
        decision = self._decide(replace(snapshot, spec=self.spec, candidate=candidate, quiet=quiet), moment)
        self.memory = decision.memory
        self.fleet.follow(decision.replicas or {}, number, ready)

    def _seen(self, profile: Profile, ready: Mapping[str, bool]) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        groups = {group.name: group for group in groups_of(self.spec, profile)}
        replicas = {name: len(each) for name, each in self.fleet.made.items() if each}
        pods = [
            Pod(name, groups[group], url=name, ready=ready[name])
            for group, each in self.fleet.made.items()
            for name in each
        ]
        return observe_pods(groups.values(), replicas, (), pods)

    def _decide(self, snapshot: Snapshot, moment: Moment) -> Decision:
        assert isinstance(snapshot.profile, Profile)
        if moment.pool_gpus is None:
            return policies.Hadis(snapshot.profile, Tuning(), EVERY_S).decide(snapshot, self.memory)
        pool = Pool(moment.pool_gpus, self.members)
        _, decision, self.members[KEY] = decide_in_pool(snapshot, self.memory, pool, KEY)
        return decision


def replicas_by_tiers(snapshot: Snapshot, replicas: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """Return what groups are asked for by the tiers of each: their names are the adapters' own."""
    counts: dict[tuple[str, ...], int] = {}
    for group in snapshot.groups:
        counts[group.tiers] = counts.get(group.tiers, 0) + replicas[group.name]
    return counts


async def run(adapter: Adapter, moments: Iterable[Moment], recorder: Recorder) -> list[tuple[Snapshot, Decision]]:
    """Return what an adapter sees and decides at each moment."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(math.ceil(loop.time()) + 1 - loop.time())
    decided = []
    for number, moment in enumerate(moments):
        await adapter.step(number, moment)
        assert recorder.last is not None
        decided.append(recorder.last)
        recorder.last = None
        await asyncio.sleep(EVERY_S)
    return decided
