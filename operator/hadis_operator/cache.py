"""What the operator has seen of the cluster: its own caches, filled by watches, so that reconciling reads nothing.

Objects come in as the API server writes them and are parsed here, once; what goes out are the views. Of the documents
is kept what is compared: with what we want (`lacks`), and with the next event of the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hadis.kube.client import Object
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem

from hadis_operator.children.common import Manifest
from hadis_operator.differences import differs, restricted
from hadis_operator.kind_cache import KindCache
from hadis_operator.objects import cached_name, cached_place, generation, is_newer, namespace_of, owning_service, slim
from hadis_operator.views import (
    ChildView,
    GpuPoolView,
    ProfileView,
    ServiceView,
    child_view,
    gpu_pool_view,
    profile_view,
    service_view,
)
from hadis_operator.workload_views import DeploymentView, PodView, deployment_view, pod_view

_AnyKind = (
    KindCache[ServiceView]
    | KindCache[ProfileView]
    | KindCache[GpuPoolView]
    | KindCache[DeploymentView]
    | KindCache[PodView]
    | KindCache[ChildView]
)


class Cache:
    """Objects by kind and "namespace/name"; says which services should be reconciled when one changes."""

    def __init__(self, changed: Callable[[str], None], profiles_changed: Callable[[], None] = lambda: None) -> None:
        """`changed` gets the key of each service that an event may concern.

        `profiles_changed` is called where one may concern what profiles say of themselves and of their users.
        """
        self._changed, self._profiles_changed = changed, profiles_changed
        self._services = KindCache[ServiceView](lambda item, _: service_view(item))
        self._profiles = KindCache[ProfileView](profile_view)
        self._pools = KindCache[GpuPoolView](lambda item, _: gpu_pool_view(item))
        self._deployments = KindCache[DeploymentView](lambda item, _: deployment_view(item), kept=_whole)
        self._pods = KindCache[PodView](lambda item, _: pod_view(item))
        self._others = KindCache[ChildView](lambda item, _: child_view(item), kept=_whole)
        self._kinds: Mapping[str, _AnyKind] = {
            "services": self._services,
            "profiles": self._profiles,
            "pools": self._pools,
            "deployments": self._deployments,
            "pods": self._pods,
            "others": self._others,
        }
        self._met: dict[str, tuple[Object, Manifest]] = {}
        """By kind and name, an object and the last document that it was seen to lack nothing of."""
        self._granted: dict[str, tuple[Manifest, Object]] = {}
        """By kind and name, the last document that was applied, and what the answer had of its fields."""

    # What is known

    @property
    def services(self) -> list[str]:
        """Keys of all services."""
        return list(self._services.views)

    def service(self, service: str) -> ServiceView | None:
        """Return a service by its key."""
        return self._services.views.get(service)

    def profile(self, namespace: str, name: str) -> Profile | Problem:
        """Return a profile, read once for all services that name it, or why there is none."""
        missing = Problem(
            "ProfileNotFound",
            f"there is no CascadeProfile {name} in namespace {namespace}; what runs goes on as it is",
        )
        view = self._profiles.views.get(f"{namespace}/{name}")
        return missing if view is None else view.content

    def profiles(self) -> dict[str, ProfileView]:
        """Return all profiles by "namespace/name"."""
        return dict(self._profiles.views)

    def gpu_pool(self, namespace: str, name: str) -> int | Problem:
        """Return the GPUs of a pool, or why it has none."""
        missing = Problem("PoolNotFound", f"there is no GpuPool {name} in namespace {namespace}")
        view = self._pools.views.get(f"{namespace}/{name}")
        return missing if view is None else view.gpus

    def gpu_pools(self) -> list[GpuPoolView]:
        """Return all pools."""
        return list(self._pools.views.values())

    def owners(self, namespace: str) -> set[str]:
        """Return the labels of the services that Deployments and pods of a namespace were made for."""
        owners = {*self._deployments.owners(), *self._pods.owners()}
        return {owner.split("/", 1)[1] for owner in owners if namespace_of(owner) == namespace}

    def deployments(self, namespace: str, label: str, component: str) -> list[DeploymentView]:
        """Return the Deployments of a component ("worker" or "router") of a service (by its label's value)."""
        return [view for view in self._deployments.of(f"{namespace}/{label}") if view.component == component]

    def pods(self, namespace: str, label: str, component: str) -> list[PodView]:
        """Return the pods of a component of a service that have not ended."""
        pods = self._pods.of(f"{namespace}/{label}")
        return [pod for pod in pods if pod.component == component and not pod.finished]

    def others(self, namespace: str, label: str) -> list[ChildView]:
        """Return the other objects of a service."""
        return self._others.of(f"{namespace}/{label}")

    def lacks(self, document: Manifest) -> bool:
        """Return whether an object is not there, or not as a document of it wants it, as far as that was granted."""
        kind, name = cached_place(document)
        known, name = self._kinds[kind].documents.get(name), f"{kind}/{name}"
        if known is None:
            return True
        compared = self._met.get(name)
        if compared is not None and compared[0] is known and compared[1] == document:
            return False
        applied, granted = self._granted.get(name, (None, None))
        if differs(granted if applied == document else slim(document), known):
            return True
        self._met[name] = known, document
        return False

    def knows(self, document: Manifest) -> bool:
        """Return whether the object of a document is there."""
        kind, name = cached_place(document)
        return name in self._kinds[kind].views

    def owner(self, document: Manifest) -> str | None:
        """Return the UID of the DiffusionService that owns the object of a document, or "" where none does.

        None where the object is not there.
        """
        kind, name = cached_place(document)
        view = (self._deployments if kind == "deployments" else self._others).views.get(name)
        return None if view is None else view.owner

    # What was seen

    def saw(self, kind: str, event: str | None, item: Object) -> None:
        """Take an event: None (listed), ADDED, MODIFIED or DELETED."""
        item = slim(item)
        name, owner = cached_name(kind, item), owning_service(item)
        before = self._kinds[kind].documents.get(name)
        if event == "DELETED":
            self._forget(kind, name, owner)
        elif before is not None and not is_newer(item, before, listed=event is None):
            return  # an event of our own last write, whose answer is here already, or from before it
        else:
            self._kinds[kind].put(name, owner, item)
        concerned = self._concerned(kind, event, before, item)
        if kind == "profiles" or (kind == "services" and concerned):
            self._profiles_changed()
        for service in concerned:
            self._changed(service)

    def wrote(self, document: Manifest, answer: Object) -> None:
        """Take the answer to a document that was applied; admission may have changed what was asked for."""
        kind, name = cached_place(document)
        self._granted[f"{kind}/{name}"] = document, restricted(slim(document), slim(answer))
        self.saw(kind, "MODIFIED", answer)

    def replace(self, kind: str, namespace: str, items: list[Object]) -> None:
        """Take a whole list of a namespace: what is not in it is gone."""
        listed = {cached_name(kind, item) for item in items}
        documents = self._kinds[kind].documents
        for name, item in list(documents.items()):
            if namespace_of(name) == namespace and name not in listed:
                self.saw(kind, "DELETED", item)
        for item in items:
            before = documents.get(cached_name(kind, item))
            if before is None or before["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
                self.saw(kind, None, item)

    def gone(self, namespace: str, kind: str, name: str) -> None:
        """Forget an object that we have deleted; a Deployment is there until its pods are seen to go."""
        if item := self._others.documents.get(f"{namespace}/{kind}/{name}"):
            self.saw("others", "DELETED", item)

    def _forget(self, kind: str, name: str, owner: str) -> None:
        self._kinds[kind].drop(name, owner)
        self._met.pop(f"{kind}/{name}", None)
        self._granted.pop(f"{kind}/{name}", None)

    def _concerned(self, kind: str, event: str | None, before: Object | None, item: Object) -> list[str]:
        """Return the services that an event may concern."""
        name = cached_name(kind, item)
        # A status that was written, by us most likely, is nothing to reconcile.
        new = before is None or event == "DELETED" or generation(before) != generation(item)
        if kind == "services":
            return [name] if new else []
        services = self._services.views
        near = [service for service in services if namespace_of(service) == namespace_of(name)]
        if kind == "profiles":
            if not new and generation(item)[0]:
                return []
            return [service for service in near if services[service].profile == item["metadata"]["name"]]
        if kind == "pools":
            if not new and generation(item)[0]:
                return []
            return [service for service in near if services[service].pool == item["metadata"]["name"]]
        return [owning_service(item)] if owning_service(item) in services else near


def _whole(item: Object) -> Object:
    """Return what is kept of an object that is compared with what we want: all of it."""
    return item
