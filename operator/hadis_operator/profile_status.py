"""Writes the status of every CascadeProfile: whether it is valid, what is in it, and who uses it.

Level-triggered like the services' loops: any event of a profile or a service wakes one pass over all of them, which
writes what differs from what stands there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection
from functools import lru_cache

from hadis.api.conditions import condition, with_times
from hadis.api.crd import GROUP, VERSION
from hadis.api.profile_status import MOST_NAMED, FrontEnd, FrontStatus, ProfileStatus
from hadis.api.resources import Configuration
from hadis.kube.client import ApiError, Kube
from hadis.planning.pareto import pareto_front
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem

from hadis_operator import metrics
from hadis_operator.cache import Cache
from hadis_operator.events import Recorder, changes, now
from hadis_operator.views import ProfileView

log = logging.getLogger(__name__)
_SETTLE_S, _RETRY_S, _AGAIN_S = 0.2, 10.0, 300.0
"""Events come in bursts; what could not be written is tried again; and all are looked at again now and then."""
_LONGEST = 2000


class ProfileStatuses:
    """Keeps the status of all profiles that the cache has."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        """Begin with nothing written."""
        self._kube, self._cache = kube, cache
        self._changed = asyncio.Event()
        self._recorders: dict[str, Recorder] = {}

    def wake(self) -> None:
        """Look at all of them again soon: a profile or a service changed."""
        self._changed.set()

    async def run(self) -> None:
        """Write what differs, for ever."""
        wait_s = _AGAIN_S
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(_SETTLE_S)
            self._changed.clear()
            try:
                wait_s = _AGAIN_S if await self.write_all() else _RETRY_S
            except Exception:
                log.exception("the status of profiles could not be written; again in %g s", _RETRY_S)
                wait_s = _RETRY_S

    async def write_all(self) -> bool:
        """Write the status of each profile where it differs; return whether all could be written."""
        profiles = self._cache.profiles()
        self._recorders = {key: each for key, each in self._recorders.items() if key in profiles}
        users = defaultdict[str, list[str]](list)
        for key in self._cache.services:
            if (service := self._cache.service(key)) is not None:
                users[f"{service.namespace}/{service.profile}"].append(service.name)
        written = [await self._write(key, profile, users[key]) for key, profile in profiles.items()]
        return all(written)

    async def _write(self, key: str, profile: ProfileView, users: Collection[str]) -> bool:
        namespace, name = key.split("/", 1)
        status = status_of(profile, users)
        if status == profile.status:
            return True
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/cascadeprofiles/{name}/status"
        metrics.WRITES.labels("status").inc()
        try:
            document = status.model_dump(mode="json", by_alias=True)
            answer = await self._kube.merge(path, {"status": document})
        except ApiError as error:
            if error.status == 404:  # deleted meanwhile
                return True
            log.warning("%s: the status of the profile is not written: %s", key, error)
            return False
        self._cache.saw("profiles", "MODIFIED", answer)
        recorder = self._recorders.setdefault(key, Recorder("CascadeProfile", namespace, name, self._kube))
        for message in changes(profile.status.conditions, status.conditions):
            await recorder.record(profile.uid, message)
        return True


def status_of(profile: ProfileView, users: Collection[str]) -> ProfileStatus:
    """Return what the status of a profile should be."""
    former, named = profile.status, tuple(sorted(users)[:MOST_NAMED])
    known = {"observed_generation": profile.generation, "used_by": named, "users": len(users)}
    if isinstance(profile.content, Problem):
        valid = condition("Valid", False, profile.content.reason, profile.content.message[:_LONGEST])
        contents = {"rows": 0, "tiers": "", "front": None, "content_hash": ""}
    else:
        valid = condition("Valid", True, "Valid", "the planner can use it")
        contents = _contents(profile.content)
    conditions = with_times((valid,), former.conditions, profile.generation, now())
    return ProfileStatus.model_validate(known | contents | {"conditions": conditions})


@lru_cache(maxsize=64)
def _contents(profile: Profile) -> dict[str, object]:
    rows = profile.configurations
    front = [rows[i] for i in pareto_front([(row.cost, row.quality) for row in rows])]
    return {
        "rows": len(rows),
        "tiers": ", ".join(profile.tiers),
        "content_hash": profile.hash,
        "front": FrontStatus(size=len(front), cheapest=_end(front[0]), best=_end(front[-1])),
    }


def _end(row: Configuration) -> FrontEnd:
    return FrontEnd(light=row.light, heavy=row.heavy, quality=row.quality, cost=row.cost)
