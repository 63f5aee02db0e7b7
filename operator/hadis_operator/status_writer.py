"""Writes a service's status when it says something new, and events for changes of plan and of what matters most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from hadis.api.conditions import Condition, with_times
from hadis.api.crd import GROUP, VERSION
from hadis.api.status import CHANGES_KEPT, DemandStatus, FetchStatus, PlanChange, PlanStatus, ServiceStatus
from hadis.kube.client import ApiError, Kube
from hadis.planning.consumption import money_per_hour
from hadis.planning.decide import Decision
from hadis.planning.plan import Plan
from hadis.planning.rollout import CONDITION as ROLLOUT
from hadis.planning.sizes import mix_document
from hadis.planning.snapshot import Snapshot
from hadis.protocol.labels import gpu_workers

from hadis_operator import metrics
from hadis_operator.cache import Cache
from hadis_operator.events import Message, Recorder, changes, now
from hadis_operator.views import ServiceView

_EVENT_EVERY_S = 60.0
_REFRESH_EVERY_S = 60.0
"""How often numbers are brought up to date that follow the load all the time and that nobody waits for."""

_MENDED = ("InvalidSpec", "ProfileInvalid", "NameTaken", "ChildRefused", "Contested")
"""Reasons whose messages name one fault of several, and no number."""


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
        self._events = Recorder("DiffusionService", namespace, name, kube, clock)

    async def write_conditions(self, service: ServiceView, conditions: Sequence[Condition]) -> None:
        """Bring the conditions up to date; what was planned before is left as it was."""
        await self._write_if_new(service, _with_conditions(service, conditions))

    async def write(
        self, service: ServiceView, snapshot: Snapshot, decision: Decision, fetch: FetchStatus | None = None
    ) -> None:
        """Bring the status up to date with a step."""
        status = _with_conditions(service, decision.conditions).model_copy(update={"fetch": fetch or FetchStatus()})
        await self._publish_rollout(service, status)
        if decision.planned:
            gpus = gpu_counts(snapshot)
            status = status_of(status, decision, gpus)
            money = money_per_hour(snapshot.spec, gpus["existing"])
            held = {"workers": gpus["existing"], "selector": gpu_workers(self._name), "money_per_hour": money}
            status = status.model_copy(update=held)
            metrics.record(self._namespace, self._name, decision, gpus, money)
            if decision.plan is not None:
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
            for message in changes(service.status.conditions, status.conditions):
                await self._events.record(service.uid, message)

    async def _publish_rollout(self, service: ServiceView, status: ServiceStatus) -> None:
        """Tell as an event what becomes of a new profile: that it is tried, taken over, or rolled back and why."""
        before, now = (
            next((c for c in each.conditions if c.type == ROLLOUT), None) for each in (service.status, status)
        )
        if now is None or now.status == (before.status if before else "True"):
            return
        reason = {"Unknown": "ProfileTried", "True": "ProfileInForce", "False": "ProfileRolledBack"}[now.status]
        kind: Literal["Normal", "Warning"] = "Warning" if now.status == "False" else "Normal"
        await self._events.record(service.uid, Message(kind, reason, now.message))

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
        change = PlanChange(time=now(), summary=plan.headline, reason=plan.reason)
        await self._events.record(service.uid, Message("Normal", "PlanChanged", f"{plan.headline}; {plan.reason}"))
        return status.model_copy(update={"changes": (*known, change)[-CHANGES_KEPT:]})


def gpu_counts(snapshot: Snapshot) -> dict[str, int]:
    """Return a service's GPUs by state."""
    workers = [worker for worker in snapshot.workers if not worker.remote]
    ready, existing = sum(worker.gpus for worker in workers if worker.ready), sum(worker.gpus for worker in workers)
    return {"ready": ready, "existing": existing, "budget": snapshot.gpus.max}


def status_of(former: ServiceStatus, decision: Decision, gpus: Mapping[str, int]) -> ServiceStatus:
    """Return a status with what a step planned; what is not known now stays as it was."""
    planned: dict[str, Any] = {
        "gpus": "{ready} / {existing} / {budget}".format(**gpus),
        "desired_by_tier": dict(decision.workers_by_tier),
        "ready_by_tier": dict(decision.ready_by_tier),
        "size_shares": mix_document(decision.memory.mix),
        "restricted_shares": dict(decision.memory.restricted),
        "profile_hash": decision.memory.profile_hash,
        "start_seconds": None if (start_s := decision.memory.rest.start_s) is None else _short(start_s),
        "rollout": decision.memory.rollout if decision.memory.rollout.candidate else None,
        "canary": decision.canary,
        "batch_time_ratios": {
            tier: {str(batch): ratio for batch, ratio in by_batch.items()}
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
    for name in ("desiredByTier", "readyByTier", "batchTimeRatios", "sizeShares", "restrictedShares"):
        if name in patch:
            patch[name] = _map_patch(before[name], patch[name])
    return patch


def _map_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return a merge patch from one map to the other, and so on for the maps in it."""
    inner = {name: _map_patch(before.get(name, {}), value) for name, value in after.items() if isinstance(value, dict)}
    return dict.fromkeys(before) | {**after, **inner}


def _with_conditions(service: ServiceView, conditions: Sequence[Condition]) -> ServiceStatus:
    dated = with_times(conditions, service.status.conditions, service.generation, now())
    return service.status.model_copy(update={"observed_generation": service.generation, "conditions": dated})


def _news(status: ServiceStatus) -> object:
    """Return what of a status is written at once: all but predictions, the demand, and messages that hold such."""
    plans = (status.plan.active, status.plan.target)
    return (
        [(c.type, c.status, c.reason, c.observed_generation, _fault(c)) for c in status.conditions],
        [
            p and (p.light, p.heavy, p.direct_ratio, p.deferral_ratio, p.best_of_two, p.tiers, p.feasible, p.generation)
            for p in plans
        ],
        (status.observed_generation, status.gpus, status.desired_by_tier, status.ready_by_tier, status.changes),
        (status.fetch.pods, status.fetch.files, status.profile_hash),
        # They move in steps, and plans with them.
        (status.batch_time_ratios, status.size_shares, status.restricted_shares),
        (
            status.rollout and (status.rollout.candidate, status.rollout.comparisons, status.rollout.verdict),
            status.canary,
        ),
    )


def _fault(entry: Condition) -> str:
    """Return a message that somebody who mends what it says waits to see change."""
    return entry.message if entry.reason in _MENDED else ""


def _short(value: float) -> float:
    return float(f"{value:.3g}")
