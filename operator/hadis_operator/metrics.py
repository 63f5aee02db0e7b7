"""The operator's metrics for Prometheus, bounded by the number of services."""

from __future__ import annotations

from collections.abc import Mapping

from hadis.planning.decide import Decision
from prometheus_client import Counter, Gauge, Histogram

_LABELS = ["namespace", "service"]
LEADER = Gauge("hadis_operator_leader", "Whether this process writes (1) or stands by (0).")
RECONCILES = Counter("hadis_operator_reconciles", "Reconciliations.", ["result"])
SECONDS = Histogram("hadis_operator_reconcile_seconds", "Time of a reconciliation, the API server's included.")
WRITES = Counter("hadis_operator_writes", "Requests that change something in the API server.", ["kind"])
DEMAND = Gauge("hadis_operator_demand_rps", "Observed demand.", _LABELS)
FORECAST = Gauge("hadis_operator_forecast_rps", "Forecast demand, which GPUs are planned for.", _LABELS)
QUALITY = Gauge("hadis_operator_plan_quality", "Predicted quality of the plan in force (lower is better).", _LABELS)
DIRECT = Gauge("hadis_operator_plan_direct_ratio", "Direct ratio of the plan in force.", _LABELS)
DEFERRAL = Gauge("hadis_operator_plan_deferral_ratio", "Deferral ratio of the plan in force.", _LABELS)
FEASIBLE = Gauge("hadis_operator_plan_feasible", "Whether the ready GPUs keep up with the demand.", _LABELS)
GPUS = Gauge("hadis_operator_gpus", "GPUs by state: ready, existing, budget.", [*_LABELS, "state"])
IMAGE_JOULES = Gauge(
    "hadis_operator_plan_image_joules", "Predicted energy per image of the plan in force, where it is known.", _LABELS
)
IMAGE_MONEY = Gauge(
    "hadis_operator_plan_image_money", "Predicted money per image of the plan in force, where it is known.", _LABELS
)
HOUR_MONEY = Gauge(
    "hadis_operator_money_per_hour", "Money per hour of the GPUs that workers hold, where it is known.", _LABELS
)
_PER_SERVICE = (DEMAND, FORECAST, QUALITY, DIRECT, DEFERRAL, FEASIBLE, IMAGE_JOULES, IMAGE_MONEY, HOUR_MONEY)


def record(namespace: str, service: str, decision: Decision, gpus: Mapping[str, int], hour_money: float | None) -> None:
    """Set a service's gauges; `gpus` are counted by state, and cost so much per hour, where that is known."""
    demand, plan = decision.memory.demand, decision.plan
    DEMAND.labels(namespace, service).set(demand.observed_rps)
    FORECAST.labels(namespace, service).set(decision.forecast_rps)
    for state, count in gpus.items():
        GPUS.labels(namespace, service, state).set(count)
    if plan:
        QUALITY.labels(namespace, service).set(plan.quality)
        FEASIBLE.labels(namespace, service).set(plan.feasible)
        DIRECT.labels(namespace, service).set(plan.direct_ratio)
        DEFERRAL.labels(namespace, service).set(plan.deferral_ratio)
        _set_known(IMAGE_JOULES, namespace, service, plan.joules_per_image)
        _set_known(IMAGE_MONEY, namespace, service, plan.money_per_image)
    _set_known(HOUR_MONEY, namespace, service, hour_money)


def _set_known(gauge: Gauge, namespace: str, service: str, value: float | None) -> None:
    """Set a gauge; leave it out where nothing is known: 0 would be a price."""
    if value is None:
        gauge.remove_by_labels({"namespace": namespace, "service": service})
    else:
        gauge.labels(namespace, service).set(value)


def forget(namespace: str, service: str) -> None:
    """Drop a service's gauges."""
    for gauge in _PER_SERVICE:
        gauge.remove_by_labels({"namespace": namespace, "service": service})
    GPUS.remove_by_labels({"namespace": namespace, "service": service})
