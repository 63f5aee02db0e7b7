"""Typed views of Kubernetes objects: what of each the operator looks at, parsed once where it enters the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hadis.api.gpu_pool import GpuPoolSpec, GpuPoolStatus
from hadis.api.profile_status import ProfileStatus
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.api.status import ServiceStatus, read_status
from hadis.kube.client import Object
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem


@dataclass(frozen=True)
class ServiceView:
    """A DiffusionService."""

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    spec: ServiceSpec | Problem
    status: ServiceStatus
    profile: str
    """Name of its CascadeProfile, also where the rest of the spec cannot be read."""
    pool: str = ""
    """Name of its GpuPool, likewise; empty where it has none."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class ProfileView:
    """A CascadeProfile."""

    uid: str
    generation: int
    content: Profile | Problem
    """As the planner uses it, or why it cannot be read."""
    status: ProfileStatus


@dataclass(frozen=True)
class GpuPoolView:
    """A GpuPool."""

    namespace: str
    name: str
    gpus: int | Problem
    """How many it has, or why its spec cannot be read."""
    status: GpuPoolStatus | None
    """None where there is none, or one of another form."""
    listed: frozenset[str]
    """Names of the services in its status, also where the rest cannot be read."""


@dataclass(frozen=True)
class ChildView:
    """Any other object of a service."""

    kind: str
    name: str
    owner: str
    """UID of the DiffusionService that owns it; empty where none does."""


def service_view(item: Object) -> ServiceView:
    """Return the view of a DiffusionService; a spec that cannot be read is a Problem."""
    meta, document = item["metadata"], item.get("spec") or {}
    try:
        spec: ServiceSpec | Problem = ServiceSpec.read(document)
    except ValueError as error:
        spec = Problem("InvalidSpec", str(error))
    return ServiceView(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        deleting="deletionTimestamp" in meta,
        spec=spec,
        status=read_status(item.get("status") or {}),
        profile=str(document.get("profile", "")),
        pool=_pool(document),
        labels=meta.get("labels") or {},
    )


def _pool(spec: Mapping[str, Any]) -> str:
    gpus = spec.get("gpus")
    return str(gpus.get("pool") or "") if isinstance(gpus, Mapping) else ""


def gpu_pool_view(item: Object) -> GpuPoolView:
    """Return the view of a GpuPool."""
    meta, status = item["metadata"], item.get("status") or {}
    try:
        gpus: int | Problem = GpuPoolSpec.read(item.get("spec") or {}).gpus
    except ValueError as error:
        gpus = Problem("PoolInvalid", f"GpuPool {meta['name']}: {error}")
    return GpuPoolView(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        gpus=gpus,
        status=_pool_status(status) if status else None,
        listed=frozenset(status.get("services") or ()),
    )


def _pool_status(document: Mapping[str, Any]) -> GpuPoolStatus | None:
    try:
        return GpuPoolStatus.model_validate(document, extra="ignore")
    except ValueError:
        return None


def profile_view(item: Object, former: ProfileView | None = None) -> ProfileView:
    """Return the view of a CascadeProfile.

    The content is that of a `former` view where only its status was written since: tables made of it can be kept.
    """
    meta = item["metadata"]
    uid, generation = meta.get("uid", ""), meta.get("generation", 0)
    same = former is not None and generation and (former.uid, former.generation) == (uid, generation)
    content = former.content if former is not None and same else _profile(item)
    return ProfileView(uid, generation, content, _profile_status(item.get("status") or {}))


def _profile_status(document: Mapping[str, Any]) -> ProfileStatus:
    """Return a status; one that an operator of another version wrote in another form is written anew."""
    try:
        return ProfileStatus.read(document)
    except ValueError:
        return ProfileStatus()


def _profile(item: Object) -> Profile | Problem:
    document = {part: item[part] for part in ("apiVersion", "kind", "spec") if part in item}
    try:
        return Profile(CascadeProfile.read(document | {"metadata": {"name": item["metadata"]["name"]}}))
    except ValueError as error:
        return Problem("ProfileInvalid", str(error))


def child_view(item: Object) -> ChildView:
    """Return the view of any other object."""
    return ChildView(item["kind"], item["metadata"]["name"], owner_uid(item))


def owner_uid(item: Object) -> str:
    """Return the UID of the DiffusionService that owns an object; empty where none does."""
    owners = item["metadata"].get("ownerReferences") or []
    return next((str(owner.get("uid", "")) for owner in owners if owner.get("kind") == "DiffusionService"), "")
