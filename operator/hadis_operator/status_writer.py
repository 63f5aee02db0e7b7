"""Writes a service's status when it says something new, and an event for each notable change of plan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hadis.api.conditions import Condition, with_times
from hadis.api.crd import GROUP, VERSION
from hadis.api.status import CHANGES_KEPT, DemandStatus, PlanChangeStatus, PlanStatus, ServiceStatus
from hadis.kube.client import ApiError, Kube
from hadis.planning.decide import Decision
from hadis.planning.plan import Plan
from hadis.planning.sizes import mix_document
from hadis.planning.snapshot import Snapshot

from hadis_operator import metrics
from hadis_operator.apply import MANAGER
from hadis_operator.cache import Cache
from hadis_operator.views import ServiceView

log = logging.getLogger(__name__)
_EVENT_EVERY_S = 60.0
_REFRESH_EVERY_S = 60.0
"""How often numbers are brought up to date that follow the load all the time and that nobody waits for."""


class StatusWriter:
    """Writes the status of one service."""

    def __init__(
        self, namespace: str, name: str, kube: Kube, cache: Cache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with nothing written; `clock` gives seconds."""
        self._clock = clock
        self._namespace, self._name, self._kube, self._cache = namespace, name, kube, cache
        self._announced: tuple[Plan | None, float] = (None, -1e9)
        self._written_s = -1e9

    async def write_conditions(self, service: ServiceView, conditions: Sequence[Condition]) -> None:
        """Bring the conditions up to date; what was planned before is left as it was."""
        await self._write_if_new(service, _with_conditions(service, conditions))

    async def write(self, service: ServiceView, snapshot: Snapshot, decision: Decision) -> None:
        """Bring the status up to date with a step."""
        status = _with_conditions(service, decision.conditions)
        if decision.planned:
            gpus = gpu_counts(snapshot)
            status = status_of(status, decision, gpus)
            if decision.plan is not None:
                metrics.record(self._namespace, self._name, decision, gpus)
                status = await self._with_change(service, decision.plan, status)
        await self._write_if_new(service, status)

    async def _write_if_new(self, service: ServiceView, status: ServiceStatus) -> None:
        refresh = self._clock() - self._written_s >= _REFRESH_EVERY_S
        if _news(status) == _news(service.status) and not (refresh and status != service.status):
            return
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/diffusionservices/{self._name}/status"
        metrics.WRITES.labels("status").inc()
        try:
            answer = await self._kube.merge(path, {"status": changed_parts(service.status, status)})
        except ApiError as error:
            if error.status != 404:  # deleted meanwhile
                raise
        else:
            self._written_s = self._clock()
            self._cache.saw("services", "MODIFIED", answer)

    async def _with_change(self, service: ServiceView, plan: Plan, status: ServiceStatus) -> ServiceStatus:
        """Return the status with a change of plan that people should be told of; tell it as an event, too."""
        last, at_s = self._announced
        if last is not None and not plan.differs_notably(last):
            return status
        known = service.status.changes
        if last is None and known and known[-1].summary == plan.headline:  # told before a restart
            self._announced = plan, at_s
            return status
        if self._clock() - at_s < _EVENT_EVERY_S:
            return status
        self._announced = plan, self._clock()
        change = PlanChangeStatus(time=_now(), summary=plan.headline, reason=plan.reason)
        await self._event(service, f"{plan.headline}; {plan.reason}")
        return status.model_copy(update={"changes": (*known, change)[-CHANGES_KEPT:]})

    async def _event(self, service: ServiceView, text: str) -> None:
        now = _now()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{self._name[:40]}.", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "DiffusionService",
                "name": self._name,
                "namespace": self._namespace,
                "uid": service.uid,
            },
            "source": {"component": MANAGER},
            "reason": "PlanChanged",
            "message": text[:1000],
            "type": "Normal",
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        try:
            await self._kube.create(f"/api/v1/namespaces/{self._namespace}/events", event)
        except ApiError as error:
            log.warning("%s/%s: event not written: %s", self._namespace, self._name, error)


def gpu_counts(snapshot: Snapshot) -> dict[str, int]:
    """Return a service's GPUs by state."""
    workers = [worker for worker in snapshot.workers if not worker.remote]
    ready = sum(worker.ready for worker in workers)
    return {"ready": ready, "existing": len(workers), "budget": snapshot.spec.gpus.max}


def status_of(former: ServiceStatus, decision: Decision, gpus: Mapping[str, int]) -> ServiceStatus:
    """Return a status with what a step planned; what is not known now stays as it was."""
    planned: dict[str, Any] = {
        "gpus": "{ready} / {existing} / {budget}".format(**gpus),
        "wanted_by_tier": dict(decision.workers_by_tier),
        "ready_by_tier": dict(decision.ready_by_tier),
        "size_shares": mix_document(decision.memory.mix),
        "profile_hash": decision.memory.profile_hash,
        "batch_time_ratios": {
            tier: {str(batch): _short(ratio) for batch, ratio in by_batch.items()}
            for tier, by_batch in decision.memory.ratios.items()
        },
    }
    if (plan := decision.plan) is not None:
        target = decision.target or former.plan.target
        quality = f"{plan.quality:.4g}"
        planned["plan"] = PlanStatus(active=plan, target=target, summary=plan.summary, quality=quality)
        observed_rps = _short(decision.memory.demand.observed_rps)
        planned["demand"] = DemandStatus(observed_rps=observed_rps, forecast_rps=_short(decision.forecast_rps))
    return former.model_copy(update=planned)


def changed_parts(former: ServiceStatus, status: ServiceStatus) -> dict[str, Any]:
    """Return a merge patch from one status to the other: the parts that differ, and null for what went from a map."""
    before, after = (each.model_dump(mode="json", by_alias=True) for each in (former, status))
    patch = {name: value for name, value in after.items() if value != before[name]}
    for name in ("wantedByTier", "readyByTier", "batchTimeRatios", "sizeShares"):
        if name in patch:
            patch[name] = _map_patch(before[name], patch[name])
    return patch


def _map_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return a merge patch from one map to the other, and so on for the maps in it."""
    inner = {name: _map_patch(before.get(name, {}), value) for name, value in after.items() if isinstance(value, dict)}
    return dict.fromkeys(before) | {**after, **inner}


def _with_conditions(service: ServiceView, conditions: Sequence[Condition]) -> ServiceStatus:
    dated = with_times(conditions, service.status.conditions, service.generation, _now())
    return service.status.model_copy(update={"observed_generation": service.generation, "conditions": dated})


def _news(status: ServiceStatus) -> object:
    """Return what of a status is written at once: all but predictions, messages and the demand."""
    plans = (status.plan.active, status.plan.target)
    return (
        [(c.type, c.status, c.reason, c.observed_generation) for c in status.conditions],
        [p and (p.light, p.heavy, p.direct_ratio, p.deferral_ratio, p.tiers, p.feasible, p.generation) for p in plans],
        (status.observed_generation, status.gpus, status.wanted_by_tier, status.ready_by_tier, status.changes),
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(value: float) -> float:
    return float(f"{value:.3g}")
