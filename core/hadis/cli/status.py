"""`hadis status`: the plan in force, demand, workers, queues and how the objective is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from hadis.api.status import PlanChange
from hadis.api.times import unix_s
from hadis.cli.client import DEFAULT_URL, Key, Url, fetch_status, fetch_status_json
from hadis.cli.plan import gpus_of
from hadis.cli.tables import LOWER_IS_BETTER, console, facts
from hadis.planning.plan import Plan
from hadis.protocol.router_status import DifficultyScore, RouterStatus


def status(
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the router's status document as it is.")] = False,
) -> None:
    """Show the plan, demand, workers, queue lengths and SLO attainment of a running router."""
    out = console()
    if as_json:
        out.print_json(fetch_status_json(url, key))
        return
    router = fetch_status(url, key)
    out.print(facts(_facts(router)))
    if router.changes:
        out.print(_changes(router.changes[-5:]))


def _facts(router: RouterStatus) -> list[tuple[str, str]]:
    plan = router.plan
    lines = [("idle", router.idle)] if router.idle else []
    lines += [("plan", f"{plan.headline} (generation {plan.generation})" if plan else "none yet")]
    if plan:
        counts = ", ".join(f"{t.tier}: {gpus_of(t, plan)}, in batches of {t.batch}" for t in plan.tiers)
        lines += [
            ("workers by tier", counts),
            ("quality", f"{plan.quality:.4g} predicted ({LOWER_IS_BETTER})"),
            *consumption_facts(plan, router.money_per_hour),
            ("why", plan.reason),
        ]
    lines += [
        ("demand", f"{router.observed_rps:.2f} requests/s, forecast {router.forecast_rps:.2f}"),
        ("workers", f"{len(router.workers)}, of them {sum(worker.busy for worker in router.workers)} busy"),
        ("queues", ", ".join(f"{tier} {n}" for tier, n in router.queues.items())),
        *_ended(router.ended_rps),
    ]
    lines.append(("difficulty", difficulty_words(router.difficulty)))
    p50_s, p95_s = router.latency.p50_s, router.latency.p95_s
    if p50_s is not None and p95_s is not None:
        lines.append(("latency", f"p50 {p50_s:.2f} s, p95 {p95_s:.2f} s of {router.slo_s:g} s"))
    if router.quality is not None:
        lines.append(("quality in service", router.quality.summary))
    if router.attainment is not None:
        within = f"within {router.slo_s:g} s"
        lines.append((within, f"{router.attainment:.1%} (objective {100 * router.attainment_objective:.4g}%)"))
    return lines


def difficulty_words(score: DifficultyScore) -> str:
    """Return how prompts are scored."""
    reads = "text features and n-grams" if score.reads == "ngrams" else "text features"
    return f"by {reads}" + (f"; {score.why}" if score.why else "")


def consumption_facts(plan: Plan, money_per_hour: float | None) -> list[tuple[str, str]]:
    """Return what images and GPUs consume, as far as it is known."""
    known = ((plan.money_per_image, "per image"), (money_per_hour, "per hour of the GPUs that are ready"))
    money = ", ".join(f"{value:.3g} {words}" for value, words in known if value is not None)
    joules = [] if plan.joules_per_image is None else [("energy", f"{plan.joules_per_image:.3g} J per image predicted")]
    return joules + ([("money", money)] if money else [])


def _ended(ended_rps: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """Return what became of the last minute's images, by reason; answered ones also where there are none."""
    lines = []
    for outcome, by_reason in ended_rps.items():
        if by_reason or outcome == "answered":
            reasons = ", ".join(f"{reason} {rate:.2f}" for reason, rate in by_reason.items())
            total = f"{sum(by_reason.values()):.2f} per second"
            lines.append((outcome, f"{total}: {reasons}" if reasons else total))
    return lines


def _changes(changes: Sequence[PlanChange]) -> Table:
    at = (time.strftime("%H:%M:%S", time.localtime(unix_s(change.time))) for change in changes)
    table = facts(zip(at, (f"{change.summary}\n{change.reason}" for change in changes), strict=True))
    table.title, table.title_justify = "last plan changes", "left"
    return table
