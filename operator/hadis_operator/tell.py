"""Tells a service's status: conditions, plans, demand, the last changes, and an event for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hadis.api.crd import GROUP, VERSION
from hadis.api.status import CHANGES_KEPT, headline, plan_document, summary
from hadis.kube.client import ApiError, Kube
from hadis.planning.plan import Plan

from hadis_operator import metrics
from hadis_operator.apply import MANAGER
from hadis_operator.conditions import Verdict, with_times
from hadis_operator.reconcile import differs
from hadis_operator.world import World

log = logging.getLogger(__name__)
_EVENT_EVERY_S = 60.0
_REFRESH_EVERY_S = 30.0
"""How often numbers are brought up to date that follow the load all the time and that nobody waits for."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """What a turn planned, as far as the status tells it."""

    active: Plan | None
    target: Plan | None
    demand_rps: tuple[float, float]
    """Observed, and forecast."""
    gpus: dict[str, int]
    """GPUs by state: ready, existing, budget."""
    wanted_by_tier: dict[str, int]
    ready_by_tier: dict[str, int]


class Teller:
    """Writes the status of one service when it says something new."""

    def __init__(self, namespace: str, name: str, kube: Kube, world: World) -> None:
        """Begin with nothing told."""
        self._namespace, self._name, self._kube, self._world = namespace, name, kube, world
        self._told_change: tuple[Plan | None, float] = (None, -1e9)
        self._written = -1e9

    async def tell(self, item: Object, verdicts: Sequence[Verdict], planned: Planned | None = None) -> None:
        """Bring the status up to date; what is not planned now is left as it was."""
        before = item.get("status", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        generation = item["metadata"].get("generation", 0)
        status: Object = {
            "observedGeneration": generation,
            "conditions": with_times(verdicts, before.get("conditions", []), generation, now),
        }
        if planned is not None:
            status["gpus"] = "{ready} / {existing} / {budget}".format(**planned.gpus)
            status["wantedByTier"], status["readyByTier"] = planned.wanted_by_tier, planned.ready_by_tier
            if planned.active is not None:
                await self._add_plan(item, planned, planned.active, status, now)
        new = _news(before | status) != _news(before)
        refresh = time.monotonic() - self._written >= _REFRESH_EVERY_S
        if new or (refresh and differs(status, before)):
            await self._write(status)

    async def _add_plan(self, item: Object, planned: Planned, active: Plan, status: Object, now: str) -> None:
        before = item.get("status", {})
        status["plan"] = {"active": plan_document(active), "summary": summary(active)}
        if planned.target:
            status["plan"]["target"] = plan_document(planned.target)
        observed, forecast = planned.demand_rps
        status["demand"] = {"observedRps": _short(observed), "forecastRps": _short(forecast)}
        metrics.tell(self._namespace, self._name, active, planned.demand_rps, planned.gpus)
        await self._tell_change(item, active, before.get("changes", []), status, now)

    async def _write(self, status: Object) -> None:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/diffusionservices/{self._name}/status"
        metrics.WRITES.labels("status").inc()
        try:
            found = await self._kube.merge(path, {"status": status})
        except ApiError as error:
            if error.status != 404:  # deleted meanwhile
                raise
        else:
            self._written = time.monotonic()
            self._world.saw("services", "MODIFIED", found)

    async def _tell_change(self, item: Object, plan: Plan, known: Sequence[Object], status: Object, now: str) -> None:
        last, at = self._told_change
        if last is not None and not plan.worth_telling(last):
            return
        text = headline(plan)
        if last is None and known and known[-1]["summary"] == text:  # told before a restart
            self._told_change = plan, at
            return
        if time.monotonic() - at < _EVENT_EVERY_S:
            return
        self._told_change = plan, time.monotonic()
        status["changes"] = [*known, {"time": now, "summary": text, "reason": plan.reason}][-CHANGES_KEPT:]
        await self._event(item, f"{text}; {plan.reason}", now)

    async def _event(self, item: Object, text: str, now: str) -> None:
        concerns = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "DiffusionService", "name": self._name,
                    "namespace": self._namespace, "uid": item["metadata"]["uid"]}  # fmt: skip
        event = {
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": f"{self._name[:40]}.", "namespace": self._namespace},
            "involvedObject": concerns, "source": {"component": MANAGER},
            "reason": "PlanChanged", "message": text[:1000], "type": "Normal", "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
        }  # fmt: skip
        try:
            await self._kube.create(f"/api/v1/namespaces/{self._namespace}/events", event)
        except ApiError as error:
            log.warning("%s/%s: event not written: %s", self._namespace, self._name, error)


def _news(status: Object) -> object:
    """Return what of a status is told at once: all but predictions, messages and the demand."""
    plans = status.get("plan", {})
    told = ("light", "heavy", "directRatio", "deferralRatio", "tiers", "feasible", "generation")
    return (
        [(c["type"], c["status"], c["reason"], c["observedGeneration"]) for c in status.get("conditions", [])],
        [[plans.get(which, {}).get(name) for name in told] for which in ("active", "target")],
        [status.get(name) for name in ("observedGeneration", "gpus", "wantedByTier", "readyByTier", "changes")],
    )


def _short(value: float) -> float:
    return float(f"{value:.3g}")
