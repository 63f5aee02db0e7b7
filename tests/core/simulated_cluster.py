"""A cluster that runs Deployments as Kubernetes does, in small steps that a test orders: controllers that lag behind
the specs, watches that lag behind the objects, pods that start, stop, fail, and are deleted by hand, a quota that lets
none be made and nodes that take none.

What is bounded is what the operator relies on: a ReplicaSet's controller acts on an older count for at most
`LAG_S` after its Deployment's controller has written the newer one, and news of a pod takes at most `LAG_S`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from hadis.planning.lowered import SETTLE_S
from hadis.planning.snapshot import Problem, Worker, WorkerGroup

LAG_S = 0.45 * SETTLE_S
_TICK_S = 0.05


@dataclass
class Pod:
    """One pod; `deleted_by_hand` is by somebody else than its controller."""

    name: str
    revision: str
    tiers: tuple[str, ...]
    ready: bool = False
    terminating: bool = False
    deleted_by_hand: bool = False
    changed_s: float = 0.0
    remote: bool = False
    gpus: int = 1
    waits_since_s: float | None = None
    """Since when no node takes it."""

    def view(self) -> Worker:
        waits = self.waits_since_s is not None
        return Worker(
            name=self.name,
            group=self.revision,
            tiers=self.tiers,
            ready=self.ready and not self.terminating,
            terminating=self.terminating,
            unschedulable=Problem("Unschedulable", f"{self.name} waits for a node") if waits else None,
            unschedulable_since_s=self.waits_since_s,
            remote=self.remote,
            gpus=self.gpus,
        )


@dataclass
class Deployment:
    """A Deployment with its one ReplicaSet."""

    revision: str
    tiers: tuple[str, ...]
    remote: bool = False
    gpus: int = 1
    replicas: int = 0
    generation: int = 1
    observed_generation: int = 0
    status_replicas: int = 0
    set_replicas: int = 0
    """The ReplicaSet's spec, and when it was written."""
    set_written_s: float = 0.0
    set_seen: int = 0
    """The count that the ReplicaSet's controller acts on."""
    set_status: int = 0
    refused: bool = False
    """Whether a quota kept its ReplicaSet's controller from creating a pod."""

    def view(self) -> WorkerGroup:
        return WorkerGroup(
            name=self.revision,
            tiers=self.tiers,
            replicas=self.replicas,
            created=self.status_replicas,
            observed=self.observed_generation >= self.generation,
            as_made=self.generation == 1,
            refused=Problem("QuotaExceeded", f"{self.revision} may have no pod") if self.refused else None,
            remote=self.remote,
            gpus=self.gpus,
        )


@dataclass
class Cluster:
    """What there is, and what the operator's watches have delivered of it."""

    now_s: float = 0.0
    deployments: dict[str, Deployment] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Revisions whose pods never become ready."""
    quota: bool = False
    """Whether no pod may be created."""
    nodes_gpus: int | None = None
    """GPUs that nodes have for pods; None: as many as are asked for."""
    seen_groups: dict[str, WorkerGroup] = field(default_factory=dict)
    seen_pods: dict[str, Worker] = field(default_factory=dict)
    _news_s: dict[str, float] = field(default_factory=dict)
    """When the oldest news of a pod happened that was not delivered."""
    _made: int = 0

    # What the operator does and sees

    def scale(self, group: WorkerGroup, replicas: int) -> None:
        """Write a Deployment; the answer is seen at once, with the status as it is."""
        revision = group.name
        deployment = self.deployments.setdefault(revision, Deployment(revision, group.tiers, group.remote, group.gpus))
        if deployment.replicas != replicas:
            deployment.replicas, deployment.generation = replicas, deployment.generation + 1
        self.deliver_deployment(revision)

    def delete(self, revision: str) -> None:
        self.deployments.pop(revision, None)
        self.seen_groups.pop(revision, None)

    def groups(
        self, desired: Mapping[str, tuple[str, ...]], remote: Container[str] = (), gpus: int = 1
    ) -> tuple[WorkerGroup, ...]:
        """Return the groups as seen: those that are desired first, whether there are any or not.

        Their workers take `gpus` each; those of `remote` tiers have none.
        """
        fresh = [
            self.seen_groups.get(r) or _to_make(r, tiers, gpus, remote=tiers[0] in remote)
            for r, tiers in desired.items()
        ]
        return (*fresh, *(replace(g, stale=True) for r, g in self.seen_groups.items() if r not in desired))

    def relist(self) -> None:
        """See everything as it is, as a new operator does."""
        self.seen_groups = {revision: d.view() for revision, d in self.deployments.items()}
        self.seen_pods = {name: pod.view() for name, pod in self.pods.items()}
        self._news_s.clear()

    def deliver_deployment(self, revision: str) -> None:
        if revision in self.deployments:
            self.seen_groups[revision] = self.deployments[revision].view()

    def deliver_pods(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._news_s.pop(name, None)
            if name in self.pods:
                self.seen_pods[name] = self.pods[name].view()
            else:
                self.seen_pods.pop(name, None)

    # What happens by itself

    def advance(self, seconds: float) -> None:
        """Let time pass: what may lag for a while only does not lag longer."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + _TICK_S)
            for deployment in self.deployments.values():
                if self.now_s - deployment.set_written_s >= LAG_S:
                    deployment.set_seen = deployment.set_replicas
            self.deliver_pods([name for name, at_s in self._news_s.items() if self.now_s - at_s >= LAG_S])

    def sync_deployment(self, revision: str) -> None:
        """The Deployment's controller looks at it."""
        deployment = self.deployments[revision]
        if deployment.set_replicas != deployment.replicas:
            deployment.set_replicas, deployment.set_written_s = deployment.replicas, self.now_s
        deployment.observed_generation = deployment.generation
        deployment.status_replicas = deployment.set_status

    def sync_set(self, revision: str) -> None:
        """The ReplicaSet's controller creates or deletes one pod."""
        deployment = self.deployments[revision]
        mine = [pod for pod in self.pods.values() if pod.revision == revision and not pod.terminating]
        deployment.refused = self.quota and len(mine) < deployment.set_seen
        if deployment.refused:
            return
        if len(mine) < deployment.set_seen:
            self._made += 1
            pod = Pod(f"p{self._made}", revision, deployment.tiers, remote=deployment.remote, gpus=deployment.gpus)
            pod.waits_since_s = None if self._node_takes(pod) else self.now_s
            self.pods[pod.name] = pod
            self._news(pod)
        elif len(mine) > deployment.set_seen:
            self._terminate(min(mine, key=lambda pod: pod.ready))
        deployment.set_status = sum(p.revision == revision and not p.terminating for p in self.pods.values())

    def start(self, name: str) -> None:
        """A pod gets ready, if it can."""
        pod = self.pods[name]
        if pod.waits_since_s is not None and not self._node_takes(pod):
            return
        if not pod.terminating and pod.revision not in self.broken:
            pod.ready, pod.waits_since_s = True, None
            self._news(pod)

    def end(self, name: str) -> None:
        """A pod that terminates is gone."""
        if self.pods[name].terminating:
            self._news(self.pods.pop(name))

    def delete_by_hand(self, name: str) -> None:
        pod = self.pods[name]
        pod.deleted_by_hand = pod.deleted_by_hand or not pod.terminating
        self._terminate(pod)

    def settle(self) -> None:
        """Let everything that is under way come to its end, but for the operator."""
        for revision in list(self.deployments):
            self.sync_deployment(revision)
        self.advance(2 * SETTLE_S)
        for revision, deployment in self.deployments.items():
            while deployment.set_seen != sum(
                pod.revision == revision and not pod.terminating for pod in self.pods.values()
            ):
                self.sync_set(revision)
                if deployment.refused:
                    break
            self.sync_set(revision)
        for name in list(self.pods):
            self.start(name)
            self.end(name)
        self.collect_garbage()
        for revision in list(self.deployments):
            self.sync_deployment(revision)
            self.deliver_deployment(revision)
        self.advance(2 * SETTLE_S)

    def collect_garbage(self) -> None:
        """Pods whose Deployment is gone go, too."""
        for pod in list(self.pods.values()):
            if pod.revision not in self.deployments:
                self._terminate(pod)

    @property
    def placed_gpus(self) -> int:
        """GPUs of the pods that have a node."""
        return sum(pod.gpus for pod in self.pods.values() if not pod.remote and pod.waits_since_s is None)

    def _node_takes(self, pod: Pod) -> bool:
        return pod.remote or self.nodes_gpus is None or self.placed_gpus + pod.gpus <= self.nodes_gpus

    def committed_gpus(self) -> int:
        """Return the GPUs that pods hold or that controllers may take for them until somebody asks for more.

        Those of pods that were deleted by hand are left out.
        """
        committed = 0
        for pod in self.pods.values():
            if not pod.remote and not pod.deleted_by_hand and (pod.terminating or pod.revision not in self.deployments):
                committed += pod.gpus
        for revision, each in self.deployments.items():
            live = sum(pod.revision == revision and not pod.terminating for pod in self.pods.values())
            most = max(each.replicas, each.set_replicas, each.set_seen, live)
            committed += 0 if each.remote else most * each.gpus
        return committed

    def _terminate(self, pod: Pod) -> None:
        pod.terminating = True
        self._news(pod)

    def _news(self, pod: Pod) -> None:
        self._news_s.setdefault(pod.name, self.now_s)


def _to_make(revision: str, tiers: tuple[str, ...], gpus: int, *, remote: bool) -> WorkerGroup:
    return WorkerGroup(revision, tiers, exists=False, remote=remote, gpus=1 if remote else gpus)
