"""The simulated machines: pods that take time to end and to start, in place of a cluster's."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hadis.api.resources import ServiceSpec
from hadis.planning.fleet import is_shared
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem, Worker, WorkerGroup
from hadis.protocol.labels import tiers_by_pool
from hadis.protocol.run_state import WorkerAddress

from hadis_profiler.replay.transport import TableTransport, worker_name

_NO_GPU = Problem("Unschedulable", "no GPU is free")
Publish = Callable[[Sequence[WorkerAddress]], None]
"""Gives every router the workers that are ready."""


def groups_of(spec: ServiceSpec, profile: Profile) -> tuple[WorkerGroup, ...]:
    """Return the groups that a spec asks for, as they are before there is any pod."""
    pools = tiers_by_pool(profile.tiers, shared=is_shared(spec, profile), remote=profile.slots)
    each = spec.worker.gpus_per_worker
    return tuple(
        WorkerGroup(name, tiers, exists=False, remote=name in profile.slots, gpus=1 if name in profile.slots else each)
        for name, tiers in pools.items()
    )


@dataclass(eq=False)
class Pod:
    """One pod; it has an address while it has the GPUs of a worker, or a slot of an endpoint."""

    name: str
    group: WorkerGroup
    url: str = ""
    ready: bool = False
    terminating: bool = False
    start: asyncio.TimerHandle | None = None

    def view(self) -> Worker:
        """Return it as the control step sees it."""
        group = self.group
        return Worker(
            self.name,
            group.name,
            group.tiers,
            ready=self.ready and not self.terminating,
            terminating=self.terminating,
            unschedulable=None if self.url else _NO_GPU,
            url=self.url,
            remote=group.remote,
            gpus=group.gpus,
        )


def observe_pods(
    groups: Iterable[WorkerGroup], replicas: Mapping[str, int], rescaled: Container[str], pods: Sequence[Pod]
) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
    """Return groups and workers as the control step sees them, nothing of it late.

    `replicas` is what each group is asked for now; `rescaled` are those that were ever asked for anything else.
    """
    created = Counter(pod.group.name for pod in pods if not pod.terminating)
    seen = (
        replace(
            group,
            replicas=replicas.get(group.name, 0),
            created=created[group.name],
            exists=group.name in replicas,
            as_made=group.name in replicas and group.name not in rescaled,
        )
        for group in groups
    )
    return tuple(seen), tuple(pod.view() for pod in pods)


class Fleet:
    """The pods of every group, as Deployments keep them: the control step observes them, and says how many there are.

    One that ends finishes its batch, and holds its GPUs until then. One that begins takes the first that are free,
    waits where there are none, and is ready `start_s` seconds later.
    """

    def __init__(
        self,
        groups: Sequence[WorkerGroup],
        workers: int,
        start_s: float,
        transport: TableTransport,
        publish: Publish,
        changed: Callable[[], None],
    ) -> None:
        """Begin without a pod, on the GPUs of so many workers; `changed` is called when one is ready, gone or lost."""
        self._groups, self._start_s = {group.name: group for group in groups}, start_s
        self._transport, self._publish_to, self._changed = transport, publish, changed
        self._gpus = [worker_name(i) for i in range(workers)]
        self._slots = map(worker_name, itertools.count(workers))
        self._numbers = itertools.count()
        self._pods: list[Pod] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._replicas: dict[str, int] = {}
        self._rescaled: set[str] = set()
        self._published: list[WorkerAddress] = []

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""
        return observe_pods(self._groups.values(), self._replicas, self._rescaled, self._pods)

    def begin(self, replicas: Mapping[str, int]) -> None:
        """Have so many pods of each group, ready at once: the replay of a service that runs already."""
        start_s, self._start_s = self._start_s, 0.0
        self.apply(replicas)
        self._start_s = start_s

    def apply(self, replicas: Mapping[str, int]) -> None:
        """Ask each group for so many pods. Those that are not ready end first, then those that run no batch."""
        for name, count in replicas.items():
            if not count and name not in self._replicas:
                continue  # no Deployment is made for nothing
            if self._replicas.setdefault(name, count) != count:
                self._rescaled.add(name)
                self._replicas[name] = count
            pods = [pod for pod in self._pods if pod.group.name == name and not pod.terminating]
            for pod in sorted(pods, key=lambda p: (p.ready, self._transport.busy(p.url)))[: max(0, len(pods) - count)]:
                self._end(pod)
            self._pods += [self._make(name) for _ in range(count - len(pods))]
        self._schedule()

    def lose(self, count: int) -> None:
        """Lose the GPUs of so many workers for good, those of the highest numbers first, with the batches that run."""
        self._gpus, lost = self._gpus[: len(self._gpus) - count], self._gpus[len(self._gpus) - count :]
        for pod in [pod for pod in self._pods if pod.url in lost]:
            self._remove(pod)
            if not pod.terminating:
                self._pods.append(self._make(pod.group.name))
        self._schedule()
        for url in lost:
            self._transport.lose(url)

    def _make(self, group: str) -> Pod:
        return Pod(f"{group}-{next(self._numbers)}", self._groups[group])

    def _end(self, pod: Pod) -> None:
        pod.terminating = True
        if self._transport.busy(pod.url):
            task = asyncio.ensure_future(self._finish(pod))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        else:
            self._remove(pod)

    async def _finish(self, pod: Pod) -> None:
        await self._transport.until_free(pod.url)
        if pod in self._pods:  # nor lost meanwhile
            self._remove(pod)
            self._schedule()

    def _remove(self, pod: Pod) -> None:
        self._pods.remove(pod)
        if pod.start:
            pod.start.cancel()
        self._changed()

    def _schedule(self) -> None:
        """Give what is free to the pods that wait longest, and tell routers who is ready."""
        taken = {pod.url for pod in self._pods}
        free = (url for url in self._gpus if url not in taken)
        for pod in self._pods:
            if pod.url or not (url := next(self._slots if pod.group.remote else free, "")):
                continue
            pod.url = url
            if self._start_s:
                pod.start = asyncio.get_running_loop().call_later(self._start_s, self._started, pod)
            else:
                pod.ready = True
        self._publish()

    def _started(self, pod: Pod) -> None:
        pod.ready = True
        self._publish()
        self._changed()

    def _publish(self) -> None:
        ready = [WorkerAddress(p.url, p.group.tiers) for p in self._pods if p.ready and not p.terminating]
        if ready != self._published:
            self._published = ready
            self._publish_to(ready)
