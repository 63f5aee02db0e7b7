"""The cached objects of one kind: their views, and of their documents what is compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from hadis.kube.client import Object

View = TypeVar("View")


def metadata_of(item: Object) -> Object:
    """Return what is kept of an object that nobody writes from here: enough to see what an event changed."""
    return {"metadata": item["metadata"]}


class KindCache(Generic[View]):
    """Objects by name ("namespace/name", with the kind between where there are several), and by service."""

    def __init__(
        self, view: Callable[[Object, View | None], View], kept: Callable[[Object], Object] = metadata_of
    ) -> None:
        """`view` makes an object's view, beside its former one; `kept` says what is kept of its document."""
        self._view, self._kept = view, kept
        self.documents: dict[str, Object] = {}
        self.views: dict[str, View] = {}
        self._names_by_service: dict[str, set[str]] = defaultdict(set)

    def put(self, name: str, service: str, item: Object) -> None:
        """Have an object of a service ("namespace/label") as it is now."""
        self.views[name] = self._view(item, self.views.get(name))
        self.documents[name] = self._kept(item)
        self._names_by_service[service].add(name)

    def drop(self, name: str, service: str) -> None:
        """Have an object no more."""
        self.documents.pop(name, None)
        self.views.pop(name, None)
        self._names_by_service[service].discard(name)

    def of(self, service: str) -> list[View]:
        """Return the views of a service's objects by name."""
        return [self.views[name] for name in sorted(self._names_by_service[service]) if name in self.views]

    def owners(self) -> Iterator[str]:
        """Yield the services that there are objects of."""
        return (service for service, names in self._names_by_service.items() if names)
