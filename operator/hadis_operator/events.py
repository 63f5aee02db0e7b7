"""Kubernetes events on an object of ours, and which of them a change of its conditions is worth.

What is recorded must not flood the API server, whatever flaps: the same words are one event that is counted up once per
minute at most, and new words are taken from a budget that fills slowly, as those of Kubernetes' own recorders.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from hadis.api.conditions import Condition
from hadis.api.crd import GROUP, VERSION
from hadis.api.times import rfc3339
from hadis.kube.client import ApiError, Kube

from hadis_operator import metrics
from hadis_operator.children.event import event

log = logging.getLogger(__name__)
_SAME_EVERY_S = 60.0
_BURST, _REFILL_S = 10.0, 30.0
"""New events that may come at once, and the seconds after which there may be one more."""
_MOST_KNOWN = 64
_GOOD = {"Ready": "True", "Degraded": "False", "Valid": "True"}
"""The conditions whose changes are recorded, with their status while all is well."""


@dataclass(frozen=True)
class Message:
    """What an event says."""

    type: Literal["Normal", "Warning"]
    reason: str
    """For programs."""
    text: str


def changes(before: Iterable[Condition], after: Iterable[Condition]) -> Iterator[Message]:
    """Yield what there is to tell of conditions that changed their status or reason; one that is new and good is not.

    Each is recorded as what it says of the object: "Ready: ...".
    """
    former = {each.type: (each.status, each.reason) for each in before}
    for each in after:
        if each.type not in _GOOD or former.get(each.type) == (each.status, each.reason):
            continue
        good = each.status == _GOOD[each.type]
        if not good or each.type in former:
            words = each.type if each.status == "True" else f"not {each.type}"
            yield Message("Normal" if good else "Warning", each.reason, f"{words}: {each.message}")


@dataclass
class _Recorded:
    """An event that was written."""

    name: str
    written_s: float
    count: int = 1


class Recorder:
    """Writes the events of one object."""

    def __init__(
        self, kind: str, namespace: str, name: str, kube: Kube, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with nothing told; `clock` gives seconds."""
        self._kind, self._namespace, self._name, self._kube, self._clock = kind, namespace, name, kube, clock
        self._path = f"/api/v1/namespaces/{namespace}/events"
        self._recorded: OrderedDict[Message, _Recorded] = OrderedDict()
        self._budget, self._filled_s = _BURST, clock()

    async def record(self, uid: str, message: Message) -> None:
        """Write an event on the object with this uid, or count it; one that cannot be written is logged."""
        recorded, now_s = self._recorded.get(message), self._clock()
        if recorded is not None:
            recorded.count += 1
            if now_s - recorded.written_s < _SAME_EVERY_S:
                return
        elif not self._may_be_new(now_s):
            log.info("%s/%s: too many events; not written: %s", self._namespace, self._name, message.text)
            return
        try:
            if recorded is None or not await self._count_up(recorded):
                await self._create(uid, message)
        except ApiError as error:
            log.warning("%s/%s: event not written: %s", self._namespace, self._name, error)

    def _may_be_new(self, now_s: float) -> bool:
        self._budget = min(_BURST, self._budget + (now_s - self._filled_s) / _REFILL_S)
        self._filled_s = now_s
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    async def _count_up(self, recorded: _Recorded) -> bool:
        """Return whether the event was still there."""
        metrics.WRITES.labels("Event").inc()
        recorded.written_s = self._clock()
        try:
            await self._kube.merge(f"{self._path}/{recorded.name}", {"count": recorded.count, "lastTimestamp": now()})
        except ApiError as error:
            if error.status != 404:  # events end after an hour
                raise
            return False
        return True

    async def _create(self, uid: str, message: Message) -> None:
        metrics.WRITES.labels("Event").inc()
        involved = {"apiVersion": f"{GROUP}/{VERSION}", "kind": self._kind, "name": self._name, "uid": uid}
        involved["namespace"] = self._namespace
        document = event(self._name[:40], involved, message.type, message.reason, message.text, now())
        written = await self._kube.create(self._path, document)
        self._recorded[message] = _Recorded(written["metadata"]["name"], self._clock())
        while len(self._recorded) > _MOST_KNOWN:
            self._recorded.popitem(last=False)


def now() -> str:
    """Return the time as Kubernetes writes it (RFC 3339)."""
    return rfc3339(time.time())
