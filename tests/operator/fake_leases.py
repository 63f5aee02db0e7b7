"""Leases without an API server: written only where nobody else has written since, as the real one does it."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Iterable
from typing import Any

from hadis.kube.client import ApiError, Kube
from hadis_operator.leader.lease import LEASES

LEASE_S = 15


class Leases:
    """What the API server keeps, by path, and the events that were written."""

    def __init__(self) -> None:
        """Keep nothing."""
        self.objects: dict[str, dict[str, Any]] = {}
        self.events: list[str] = []
        self.deployments: dict[str, dict[str, Any]] = {}
        """By path; to read one that is not there is forbidden."""
        self._versions = itertools.count(1)

    def given_back(self, *names: str, namespace: str = "hadis", watched: str = "*") -> None:
        """Have Leases that nobody holds."""
        for name in names:
            meta = {
                "namespace": namespace,
                "name": name,
                "labels": {"hadis.dev/component": "operator"},
                "annotations": {"hadis.dev/namespaces": watched},
            }
            spec = {"leaseDurationSeconds": LEASE_S, "renewTime": "2026-01-01T00:00:00.000000Z"}
            self.write(f"{LEASES.rsplit('/', 1)[0]}/namespaces/{namespace}/leases/{name}", meta, spec)

    def write(self, path: str, meta: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        """Keep a Lease in its next version."""
        meta = {**meta, "resourceVersion": str(next(self._versions))}
        self.objects[path] = {"metadata": meta, "spec": copy.deepcopy(spec)}
        return copy.deepcopy(self.objects[path])


class Client(Kube):
    """One operator's way to the API server, which may be slow (`delays_s`, one per request) or broken (`away`)."""

    def __init__(self, leases: Leases, delays_s: Iterable[float] = ()) -> None:
        """Reach the API server at once."""
        self._leases, self.away = leases, False
        self._delays_s = itertools.chain(delays_s, itertools.repeat(0.0))

    async def _reach(self) -> None:
        await asyncio.sleep(next(self._delays_s))
        if self.away:
            raise ApiError(0, "the API server does not answer")

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        await self._reach()
        if path == LEASES:
            return {"items": copy.deepcopy(list(self._leases.objects.values()))}
        if "/deployments/" in path:
            if path not in self._leases.deployments:
                raise ApiError(403, "forbidden")
            return self._leases.deployments[path]
        if path not in self._leases.objects:
            raise ApiError(404, "not found")
        return copy.deepcopy(self._leases.objects[path])

    async def update(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        await self._reach()
        there = self._leases.objects.get(path)
        if there is None:  # no 404: what is written has the uid of what was there
            raise ApiError(409, "precondition failed: UID")
        if there["metadata"]["resourceVersion"] != document["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified")
        answer = self._leases.write(path, document["metadata"], document["spec"])
        await asyncio.sleep(next(self._delays_s))  # the answer's way
        return answer

    async def create(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        await self._reach()
        if path.endswith("/events"):
            self._leases.events.append(document["message"])
            return document
        path = f"{path}/{document['metadata']['name']}"
        if path in self._leases.objects:
            raise ApiError(409, "already exists")
        return self._leases.write(path, document["metadata"], document["spec"])
