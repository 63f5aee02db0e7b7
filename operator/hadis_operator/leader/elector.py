"""Takes the release's Lease, leads while it can be renewed, and gives it back.

The times are in the proportions of Kubernetes' own controllers: others wait `lease_s` after the last renewal, this
process stops two thirds of that after it sent the last one that succeeded, and it tries every two fifteenths.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from hadis.api.times import rfc3339
from hadis.kube.client import ApiError, Kube, Object

from hadis_operator import metrics
from hadis_operator.children.common import Manifest
from hadis_operator.children.event import event
from hadis_operator.leader.fence import Fence
from hadis_operator.leader.lease import LEASES, SELECTOR, Candidate, Lease, Sightings, lease_view

log = logging.getLogger(__name__)
_DRAIN_S = 5.0
_TICK_S = 0.01
"""Waited for longer than until an end, so that it has passed then."""


class _LostError(Exception):
    """Another process has the Lease."""


class Elector:
    """Leads one release whenever nobody else does. `run` once."""

    def __init__(self, kube: Kube, fence: Fence, candidate: Candidate) -> None:
        """Use a client without a fence."""
        self._kube, self._fence, self._me = kube, fence, candidate
        self._sightings = Sightings(candidate)
        self._own: Lease | None = None
        """The own Lease as it was seen last; None where it is not there."""
        self._owner: Object | None = None
        """The release's Deployment, with which the Lease goes; None until it was read, and where there is none."""
        self._blockers: Sequence[Lease] = ()
        self._logged: tuple[str, ...] = ()
        self._deadline_s, self._retry_s = candidate.lease_s * 2 / 3, candidate.lease_s * 2 / 15

    @property
    def role(self) -> dict[str, str]:
        """Return who leads, for people: whether this process does, else who is in its way."""
        if self._fence.remaining_s:
            return {"role": "leader", "holder": self._me.holder}
        return {"role": "standby", "holder": ", ".join(_holder(lease) for lease in self._blockers)}

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Run `lead` whenever this process leads, for ever; it is cancelled when it leads no more."""
        metrics.LEADER.set(0)
        while True:
            try:
                await self._acquire()
                log.info("%s leads %s", self._me.holder, self._me.key)
                metrics.LEADER.set(1)
                await self._hold(lead)
            except _LostError as error:
                log.warning("%s leads %s no more: %s", self._me.holder, self._me.key, error)
            except Exception:
                log.exception("%s: to lead %s failed; again in %.0f s", self._me.holder, self._me.key, self._retry_s)
                await asyncio.sleep(self._retry_s)
            finally:
                metrics.LEADER.set(0)

    async def _acquire(self) -> None:
        """Wait until this process leads."""
        while True:
            try:
                async with asyncio.timeout(self._deadline_s):
                    if await self._campaign():
                        return
            except (ApiError, TimeoutError) as error:
                log.warning("the Lease %s: %s", self._me.key, str(error) or "no answer in time")
            await asyncio.sleep(self._retry_s * random.uniform(0.8, 1.2))

    async def _campaign(self) -> bool:
        """Take the Lease where nobody is in the way; return whether this process leads now.

        Looked for rivals is before and after: of two that take theirs at one moment, the later one to write sees the
        other's.
        """
        await self._look()
        await self._log_blockers()
        if self._blockers:
            return False
        self._owner = self._owner or await self._read_owner()
        sent_s = _now_s()
        await self._write(held=True)
        await self._look()
        if self._blockers:
            await self._write(held=False)
            await self._log_blockers()
            return False
        self._fence.open(sent_s + self._deadline_s)
        return True

    async def _hold(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Lead until the Lease is lost (_LostError), `lead` ends or fails, or this is cancelled."""
        leading = asyncio.ensure_future(lead())
        try:
            while not leading.done():
                await asyncio.wait([leading], timeout=min(self._retry_s, self._fence.remaining_s + _TICK_S))
                if not self._fence.remaining_s:
                    self._sightings.forget_own()
                    raise _LostError("it could not be renewed in time")
                await self._renew()
            await leading
        finally:
            self._fence.close()
            drained = await self._fence.drained(_DRAIN_S)
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
            if drained:
                await self._give_back()

    async def _renew(self) -> None:
        """Renew the Lease where the API server lets it; raise _LostError where another process has it."""
        sent_s = _now_s()
        try:
            async with asyncio.timeout(min(self._fence.remaining_s, self._deadline_s / 2)):
                try:
                    await self._write(held=True)
                except ApiError as error:
                    if error.status not in (404, 409):  # a Lease that was deleted is a conflict, too: its uid is gone
                        raise
                    await self._renew_changed()
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease %s is not renewed: %s", self._me.key, str(error) or "no answer in time")
        else:
            self._fence.open(sent_s + self._deadline_s)

    async def _renew_changed(self) -> None:
        """Renew a Lease that somebody else wrote or deleted; raise _LostError where another process has it."""
        try:
            item = await self._kube.get(f"{self._me.path}/{self._me.release}")
        except ApiError as error:
            if error.status != 404:
                raise
            await self._make_again()
            return
        lease = self._take_note(lease_view(item, self._me.lease_s))
        if lease.holder != self._me.holder:
            raise _LostError(f"{lease.holder or 'nobody'} has it")
        await self._write(held=True)

    async def _make_again(self) -> None:
        """Put back the Lease that somebody deleted: until it is there, others may not know of this process."""
        log.warning("the Lease %s was deleted; it is made again", self._me.key)
        self._fence.close()
        self._own = None
        if not await self._campaign():
            raise _LostError("it was deleted, and another operator came first")

    async def _look(self) -> None:
        """Read all Leases."""
        listed = await self._kube.list_items(LEASES, labelSelector=SELECTOR)
        leases = [lease_view(item, self._me.lease_s) for item in listed]
        self._own = next((lease for lease in leases if lease.key == self._me.key), None)
        now_s = _now_s()
        self._sightings.saw(leases, now_s)
        self._blockers = self._sightings.blockers(now_s)

    async def _read_owner(self) -> Object | None:
        """Return the release's Deployment; None where it is not there or not ours to read: the Lease stays then."""
        try:
            return await self._kube.get(self._me.deployment)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            return None

    async def _write(self, *, held: bool) -> None:
        """Write the own Lease if it is as it was seen last; raise ApiError."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        document = self._me.document(self._own, now, self._owner, held=held)
        if self._own is not None:
            answer = await self._kube.update(f"{self._me.path}/{self._me.release}", document)
        else:
            answer = await self._kube.create(self._me.path, document)
        self._take_note(lease_view(answer, self._me.lease_s))

    def _take_note(self, lease: Lease) -> Lease:
        self._own = lease
        self._sightings.saw_one(lease, _now_s())
        return lease

    async def _give_back(self) -> None:
        """Let another process lead at once; where that cannot be said, it waits."""
        if self._own is None or self._own.holder != self._me.holder:
            return
        try:
            async with asyncio.timeout(self._deadline_s / 2):
                await self._write(held=False)
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease %s is not given back: %s", self._me.key, str(error) or "no answer in time")

    async def _log_blockers(self) -> None:
        """Say who is in the way when that changes: in the log, and of other releases in an Event."""
        names = tuple(_holder(lease) for lease in self._blockers)
        if names == self._logged:
            return
        self._logged = names
        for lease in self._blockers:
            if lease.key == self._me.key:
                log.info("%s stands by: %s leads %s", self._me.holder, _holder(lease), lease.key)
                continue
            keeps = f"release {lease.key} keeps {lease.places} ({lease.holder})"
            text = f"this release waits: {keeps}, and two cannot share one"
            log.warning("%s", text)
            try:
                await self._kube.create(f"/api/v1/namespaces/{self._me.namespace}/events", self._event(text))
            except ApiError as error:
                log.warning("event not written: %s", error)

    def _event(self, text: str) -> Manifest:
        pod = {"apiVersion": "v1", "kind": "Pod", "name": self._me.holder, "namespace": self._me.namespace}
        return event(self._me.release, pod, "Warning", "NamespaceHeld", text, rfc3339(time.time()))


def _holder(lease: Lease) -> str:
    return lease.holder or "an operator that was not seen yet"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
