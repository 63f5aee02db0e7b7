"""Documents made by hand, for tests of every room."""

from __future__ import annotations

from typing import Any

from hadis.api.resources import API_VERSION
from hadis.api.status import PlanStatus
from hadis.planning.plan import Plan
from hadis.protocol.router_status import Clients, DifficultyScore, Latency, RouterStatus, Thresholds


def profile_document(**changes: Any) -> dict[str, Any]:
    """Return a profile of two tiers: light takes 0.1 s per image, heavy 1 s, whatever the batch."""
    tiers = [
        {
            "name": name,
            "model": name,
            "steps": 1,
            "size": "32x32",
            "latency": [{"batch": b, "seconds": seconds * b} for b in (1, 2, 4)],
            "discriminatorSeconds": 0.0,
            "confidenceQuantiles": [0.0, 0.25, 0.5, 0.75, 1.0],
            "tunable": name == "heavy",
            "negativePrompts": name == "heavy",
        }
        for name, seconds in (("light", 0.1), ("heavy", 1.0))
    ]
    rows = [
        {
            "light": "light",
            "heavy": "heavy",
            "directRatio": x / 4,
            "deferralRatio": y / 4,
            "quality": 30 - 2 * x - y * (4 - x) / 4,
            "cost": 1.0,
        }
        for x in range(5)
        for y in range(5)
    ]
    rows += [
        {"light": n, "heavy": n, "directRatio": 0, "deferralRatio": 0, "quality": q, "cost": 1.0}
        for n, q in (("light", 30.0), ("heavy", 21.0))
    ]
    spec = {
        "discriminator": "discriminator",
        "tiers": tiers,
        "difficulty": {
            "features": ["num_objects"],
            "mean": [0],
            "std": [1],
            "weights": [1],
            "quantiles": [0, 5, 10, 15, 20],
        },
        "configurations": rows,
        **changes,
    }
    return {"apiVersion": API_VERSION, "kind": "CascadeProfile", "metadata": {"name": "two"}, "spec": spec}


def save_time_in_batches(profile: dict[str, Any]) -> None:
    """Have each tier's batch of 8 take less than four times as long as a single image."""
    for tier in profile["spec"]["tiers"]:
        [single_s] = (point["seconds"] for point in tier["latency"] if point["batch"] == 1)
        tier["latency"] = [{"batch": b, "seconds": single_s * (0.6 + 0.4 * b)} for b in (1, 2, 4, 8)]


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as a DiffusionService's status holds it."""
    document: dict[str, Any] = PlanStatus(active=plan).model_dump(mode="json", by_alias=True)["active"]
    return document


def router_status(**changes: Any) -> RouterStatus:
    """Return what a router says of itself that has nothing to do yet."""
    status = RouterStatus(
        slo_s=4.0, attainment_objective=0.95, attainment=None, latency=Latency(p50_s=None, p95_s=None),
        arrivals_total=0, arrivals_by_size={}, restricted_arrivals={}, observed_rps=0.0, forecast_rps=0.0, idle=None,
        idle_s=None, held=0,
        plan=None, money_per_hour=None, plan_gpu_s=None, thresholds=Thresholds(difficulty=None, confidence=None),
        difficulty=DifficultyScore(reads="features", why=None), queues={}, queued_s={}, batch_time_ratios={}, tiers={},
        workers=(), clients=Clients(active=0, busiest=()), answers={}, unanswered={}, ended_rps={}, changes=(),
    )  # fmt: skip
    return status.model_copy(update=changes)
