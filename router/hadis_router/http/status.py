"""What the router says of itself: fills in the document behind `/v1/hadis/status` and the page."""

from __future__ import annotations

import asyncio
import math

from hadis.planning.speeds import SLOW_WORKER, Ratios, out_of_date, worst_by_tier
from hadis.protocol.address import worker_name
from hadis.protocol.router_status import (
    Clients,
    ClientUse,
    DifficultyScore,
    Latency,
    RouterStatus,
    Thresholds,
    TierTimes,
    WorkerState,
)

from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.workers import RemoteWorker
from hadis_router.http.clients import shown_key
from hadis_router.http.gateway import Gateway

_SHOWN_CLIENTS = 5


def router_status(gateway: Gateway) -> RouterStatus:
    """Return the status: the plan, what waits, who works, and how the objective is kept."""
    dispatcher, state, now = gateway.dispatcher, gateway.state, asyncio.get_running_loop().time()
    p50, p95 = dispatcher.recent.latency_s(now, 0.5, 0.95)
    plan, ratios, worker_ratios = dispatcher.plan, dispatcher.ratios, dispatcher.worker_ratios
    difficulty, confidence = dispatcher.lanes.stable.thresholds(plan) if plan else (None, None)
    scored = gateway.profile.resource.spec.difficulty
    totals = dispatcher.recent.totals
    return RouterStatus(
        slo_s=gateway.slo_s,
        attainment_objective=gateway.attainment,
        attainment=dispatcher.recent.attainment(now),
        latency=Latency(p50_s=p50, p95_s=p95),
        arrivals_total=gateway.metrics.arrivals_total,
        arrivals_by_size=gateway.metrics.arrivals_by_size,
        restricted_arrivals=gateway.metrics.restricted_arrivals,
        observed_rps=state.observed_rps,
        forecast_rps=state.forecast_rps,
        idle=state.idle,
        idle_s=_finite(dispatcher.idle_s),
        held=len(dispatcher.first_worker),
        plan=plan,
        money_per_hour=gateway.money_per_hour,
        plan_gpu_s=_finite(gateway.front.gpu_s(plan)) if plan else None,
        thresholds=Thresholds(difficulty=difficulty, confidence=confidence),
        difficulty=DifficultyScore(
            reads="features" if scored.known_ngrams is None else "ngrams", why=scored.why_features_alone
        ),
        queues=dispatcher.queued,
        queued_s=dispatcher.queued_s,
        batch_time_ratios=ratios,
        tiers=_tiers(ratios),
        workers=tuple(_worker(worker, worker_ratios.get(worker.url, 1.0)) for worker in dispatcher.workers),
        clients=Clients(active=dispatcher.clients, busiest=_busiest(dispatcher, now)),
        answers=dict(totals["answered"]),
        unanswered={how: dict(counts) for how, counts in totals.items() if how != "answered"},
        ended_rps=dict(dispatcher.recent.rates(now)),
        changes=state.changes,
        quality=gateway.watch.status(),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tiers(ratios: Ratios) -> dict[str, TierTimes]:
    stale = out_of_date(ratios)
    return {tier: TierTimes(time_ratio=ratio, stale=tier in stale) for tier, ratio in worst_by_tier(ratios).items()}


def _busiest(dispatcher: Dispatcher, now: float) -> tuple[ClientUse, ...]:
    """Return the clients that ask for most."""
    return tuple(
        ClientUse(client=shown_key(client), weight=weight, gpus=work_s / dispatcher.shares.horizon_s)
        for client, work_s, weight in dispatcher.shares.busiest(_SHOWN_CLIENTS, now)
    )


def _worker(worker: RemoteWorker, ratio: float) -> WorkerState:
    return WorkerState(
        name=worker_name(worker.url),
        tiers=worker.tiers,
        busy=worker.tier is not None,
        tier=worker.tier,
        time_ratio=ratio,
        slow=ratio >= SLOW_WORKER,
    )
