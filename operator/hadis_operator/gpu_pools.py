"""The ledger of the GPU pools: what each service needs and holds, as of its last step.

A reconciler looks a pool up, decides, and puts what its service may take, without an await between: the ledger is right
at every moment. An entry by which another service's grant changes wakes that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hadis.api.gpu_pool import GpuPoolStatus, PoolMemberStatus
from hadis.planning.gpu_budget import gpus_taken
from hadis.planning.gpu_pool import Member, Pool, fair_shares, grants
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import label

from hadis_operator.cache import Cache
from hadis_operator.observe import groups_of, worker_of
from hadis_operator.views import ServiceView


class GpuPools:
    """The pools of all namespaces."""

    def __init__(self, cache: Cache, wake: Callable[[str], None]) -> None:
        """`wake` gets the key of a service whose grant is another than it was."""
        self._cache, self._wake = cache, wake
        self._members: dict[str, Member] = {}
        """By service's key."""

    def pool(self, namespace: str, name: str) -> Pool:
        """Return a pool as it is now. A service without a step since the start counts as the cluster shows it."""
        members = {view.key: self._members.get(view.key) or self._seen(view) for view in self._of(namespace, name)}
        ours = {label(view.name) for view in self._services(namespace)}
        # Of which pool services were that are gone is not known: what they still hold counts in each.
        gone = sum(self._held(namespace, owner) for owner in self._cache.owners(namespace) - ours)
        return Pool(self._cache.gpu_pool(namespace, name), members, gone)

    def put(self, service: ServiceView, member: Member) -> None:
        """Take a service as it is after its step."""
        before = grants(self.pool(service.namespace, service.pool))
        self._members[service.key] = member
        for other, granted in grants(self.pool(service.namespace, service.pool)).items():
            if other != service.key and granted != before.get(other):
                self._wake(other)

    def put_seen(self, service: ServiceView) -> None:
        """Take a service for which nothing can be decided as the cluster shows it."""
        if service.pool:
            self.put(service, self._seen(service, stands=True))

    def forget(self, key: str) -> None:
        """Drop a service that is in no pool or is gone; its pods count while they are there."""
        self._members.pop(key, None)

    def status(self, namespace: str, name: str) -> GpuPoolStatus | None:
        """Return how a pool is used; None where its GPUs are not known."""
        pool = self.pool(namespace, name)
        if isinstance(pool.gpus, Problem):
            return None
        shares = fair_shares(pool.gpus, pool.members)
        services = {
            key.split("/", 1)[1]: PoolMemberStatus(desired=member.desired, share=shares[key], taken=member.taken)
            for key, member in pool.members.items()
        }
        taken = sum(member.taken for member in pool.members.values()) + pool.elsewhere
        return GpuPoolStatus(taken=taken, services=services)

    def _services(self, namespace: str) -> Iterator[ServiceView]:
        for key in sorted(self._cache.services):
            view = self._cache.service(key)
            if view is not None and view.namespace == namespace:
                yield view

    def _of(self, namespace: str, pool: str) -> list[ServiceView]:
        return [view for view in self._services(namespace) if view.pool == pool]

    def _seen(self, service: ServiceView, *, stands: bool = False) -> Member:
        """Return a service as the cluster shows it: it wants what it has.

        Unless it `stands` still, and its controllers have followed, they may be about to take more.
        """
        name = label(service.name)
        groups = list(groups_of(None, self._cache.deployments(service.namespace, name, "worker"), ()))
        settled = stands and all(group.followed or group.as_made for group in groups)
        held = self._held(service.namespace, name)
        return Member(1.0, 0, held, held, settled=settled)

    def _held(self, namespace: str, name: str) -> int:
        groups = groups_of(None, self._cache.deployments(namespace, name, "worker"), ())
        return gpus_taken(groups, [worker_of(pod, ()) for pod in self._cache.pods(namespace, name, "worker")], {})
