"""What the router says of itself: the document behind `/v1/hadis/status` and the page."""

from __future__ import annotations

import asyncio
import math
from dataclasses import asdict
from typing import Any

from hadis.planning.speeds import SLOW_WORKER, Ratios, out_of_date, worst_by_tier
from hadis.protocol.address import worker_name

from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.workers import RemoteWorker
from hadis_router.http.clients import shown_key
from hadis_router.http.gateway import Gateway

_SHOWN_CLIENTS = 5


def status_document(gateway: Gateway) -> dict[str, Any]:
    """Return the status as JSON data: the plan, what waits, who works, and how the objective is kept."""
    dispatcher, now = gateway.dispatcher, asyncio.get_running_loop().time()
    p50, p95 = dispatcher.recent.latency_s(now, 0.5, 0.95)
    plan, ratios, worker_ratios = dispatcher.plan, dispatcher.ratios, dispatcher.worker_ratios
    gpu_s = gateway.front.gpu_s(plan) if plan else math.inf
    difficulty, confidence = dispatcher.lanes.stable.thresholds(plan) if plan else (None, None)
    return {
        "slo_s": gateway.slo_s,
        "asked_attainment": gateway.attainment,
        "attainment": dispatcher.recent.attainment(now),
        "latency": {"p50_s": p50, "p95_s": p95},
        "arrivals_total": gateway.metrics.arrivals_total,
        "arrivals_by_size": gateway.metrics.arrivals_by_size,
        "observed_rps": gateway.state.observed_rps,
        "forecast_rps": gateway.state.forecast_rps,
        "idle": gateway.state.idle or None,
        "idle_s": dispatcher.idle_s if math.isfinite(dispatcher.idle_s) else None,
        "held": len(dispatcher.first_worker),
        "plan": asdict(plan) if plan else None,
        "plan_gpu_s": gpu_s if math.isfinite(gpu_s) else None,
        "money_per_hour": gateway.money_per_hour,
        "thresholds": {"difficulty": difficulty, "confidence": confidence},
        "queues": dispatcher.queued,
        "queued_s": dispatcher.queued_s,
        "batch_time_ratios": ratios,
        "tiers": _tiers(ratios),
        "workers": [_worker(worker, worker_ratios.get(worker.url, 1.0)) for worker in dispatcher.workers],
        "clients": {"active": dispatcher.clients, "busiest": _busiest(dispatcher, now)},
        "answers": dict(dispatcher.recent.totals["answered"]),
        "unanswered": {how: dict(counts) for how, counts in dispatcher.recent.totals.items() if how != "answered"},
        "ended_rps": dispatcher.recent.rates(now),
        "changes": [asdict(change) for change in gateway.state.changes],
    }


def _tiers(ratios: Ratios) -> dict[str, dict[str, Any]]:
    stale = out_of_date(ratios)
    return {tier: {"time_ratio": ratio, "stale": tier in stale} for tier, ratio in worst_by_tier(ratios).items()}


def _busiest(dispatcher: Dispatcher, now: float) -> list[dict[str, Any]]:
    """Return the clients that ask for most, with the GPUs that it would take to serve all that they ask for."""
    return [
        {"client": shown_key(client), "weight": weight, "gpus": work_s / dispatcher.shares.horizon_s}
        for client, work_s, weight in dispatcher.shares.busiest(_SHOWN_CLIENTS, now)
    ]


def _worker(worker: RemoteWorker, ratio: float) -> dict[str, Any]:
    return {
        "name": worker_name(worker.url),
        "tiers": worker.tiers,
        "busy": worker.tier is not None,
        "tier": worker.tier or "",  # the API says "" for a worker that runs nothing
        "time_ratio": ratio,
        "slow": ratio >= SLOW_WORKER,
    }
