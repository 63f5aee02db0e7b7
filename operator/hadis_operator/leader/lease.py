"""Leases as this process has seen them, and which of them keep it from leading. Pure: time is an argument.

A release of the chart has one Lease, which its replicas compete for; it says which namespaces the release watches.
Releases that share a namespace are in each other's way, though their Leases are different objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hadis.kube.client import Object, key
from hadis.protocol.labels import COMPONENT

LEASES = "/apis/coordination.k8s.io/v1/leases"
SELECTOR = f"{COMPONENT}=operator"
NAMESPACES = "hadis.dev/namespaces"
"""Annotation: the namespaces that a release watches, with commas between; "*" is every namespace."""
_EVERY = "*"


@dataclass(frozen=True)
class Candidate:
    """One process that may lead its release."""

    namespace: str
    """Where its release is, and the Lease."""
    release: str
    """Name of the Lease."""
    holder: str
    """What names this process, and no other that runs at the same time."""
    watched: frozenset[str]
    """Namespaces; none: every namespace."""
    lease_s: int
    """How long others wait after the last renewal."""

    @property
    def key(self) -> str:
        """Return "namespace/name" of the Lease."""
        return f"{self.namespace}/{self.release}"

    @property
    def path(self) -> str:
        """Return where the Leases of the namespace are."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def deployment(self) -> str:
        """Return where the Deployment of the release is, which has the name of its Lease."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.release}"

    def document(self, former: Lease | None, now: str, owner: Object | None = None, *, held: bool) -> Object:
        """Return the Lease as held by this process, or as given back, `now` (RFC 3339); others' fields stay.

        Where it has an `owner`, the release's Deployment, the cluster deletes it together with that.
        """
        before = former.document if former else {}
        meta, spec = before.get("metadata", {}), before.get("spec") or {}
        changed = former is None or former.holder != self.holder
        return {
            **before,
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **meta,
                "name": self.release,
                "namespace": self.namespace,
                "labels": {**(meta.get("labels") or {}), COMPONENT: "operator"},
                "annotations": {
                    **(meta.get("annotations") or {}),
                    NAMESPACES: ",".join(sorted(self.watched)) or _EVERY,
                },
                **({"ownerReferences": [_reference(owner)]} if owner else {}),
            },
            "spec": {
                **({"holderIdentity": self.holder} if held else {}),
                "leaseDurationSeconds": self.lease_s,
                "acquireTime": now if changed else spec.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (held and changed),
            },
        }


@dataclass(frozen=True)
class Lease:
    """What a Lease says."""

    key: str
    version: str
    holder: str
    """Empty: nobody."""
    seconds: float
    watched: frozenset[str]
    """Namespaces; none: every namespace."""
    given_back: bool = False
    document: Object = field(default_factory=dict, compare=False, repr=False)
    """As it was read: who writes it leaves others' fields as they are."""

    @property
    def places(self) -> str:
        """Return the namespaces in words."""
        return ", ".join(sorted(self.watched)) or "every namespace"


def _reference(deployment: Object) -> Object:
    meta = deployment["metadata"]
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}


def lease_view(item: Object, lease_s: float) -> Lease:
    """Return what a Lease says; `lease_s` where it does not say how long it is held."""
    meta, spec = item["metadata"], item.get("spec") or {}
    names = (meta.get("annotations") or {}).get(NAMESPACES, _EVERY)
    holder = spec.get("holderIdentity") or ""
    return Lease(
        key=key(item),
        version=meta.get("resourceVersion", ""),
        holder=holder,
        seconds=spec.get("leaseDurationSeconds") or lease_s,
        watched=frozenset() if names == _EVERY else frozenset(names.split(",")),
        given_back=not holder and "renewTime" in spec,
        document=item,
    )


class Sightings:
    """What this process has seen of all Leases, and when each changed last, by its own monotonic clock.

    A Lease is held until it was given back, or has not changed for as long as it says: the times in it are of another's
    clock. One that is gone is held as long, for who held it may not know yet. So is one that nobody has seen: it may
    have been deleted just before.
    """

    def __init__(self, candidate: Candidate) -> None:
        """Have seen nothing."""
        self._candidate = candidate
        self._seen: dict[str, tuple[Lease, float]] = {}

    def saw(self, leases: Iterable[Lease], now_s: float) -> None:
        """Take a whole list."""
        own, listed = self._candidate.key, {lease.key: lease for lease in leases}
        if own not in listed and own not in self._seen:
            unknown = Lease(own, "", "", self._candidate.lease_s, self._candidate.watched)
            self._seen[own] = unknown, now_s
        for lease in listed.values():
            self.saw_one(lease, now_s)
        for name in [name for name in self._seen if name not in listed and name != own]:
            if not self._held(name, now_s):
                del self._seen[name]

    def saw_one(self, lease: Lease, now_s: float) -> None:
        """Take one Lease."""
        if lease.key not in self._seen or self._seen[lease.key][0].version != lease.version:
            self._seen[lease.key] = lease, now_s

    def forget_own(self) -> None:
        """Know no more who holds the own Lease."""
        self._seen.pop(self._candidate.key, None)

    def blockers(self, now_s: float) -> list[Lease]:
        """Return the Leases that keep the candidate from leading: its own, held by another, and those of rivals."""
        return [
            lease
            for name, (lease, _) in sorted(self._seen.items())
            if self._held(name, now_s) and self._in_the_way(lease)
        ]

    def _in_the_way(self, lease: Lease) -> bool:
        candidate = self._candidate
        if lease.key == candidate.key:
            return lease.holder != candidate.holder
        return not (lease.watched and candidate.watched) or bool(lease.watched & candidate.watched)

    def _held(self, name: str, now_s: float) -> bool:
        lease, changed_s = self._seen[name]
        return not lease.given_back and now_s - changed_s < lease.seconds
