"""`hadis plan`: what would be planned for a demand, without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hadis.api.manifest import ManifestError, read_manifest
from hadis.cli import fail
from hadis.cli.tables import LOWER_IS_BETTER, columns, console
from hadis.planning.fleet import is_shared
from hadis.planning.objectives import criterion
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.solve import Solver

_CAPTION = f"quality: {LOWER_IS_BETTER}; latency: of the slowest path"


def plan(
    manifest: Annotated[Path, typer.Argument(help="YAML with a DiffusionService and its CascadeProfile.")],
    rps: Annotated[list[float] | None, typer.Option(min=0, help="Demand, requests/s; may be given again.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs; default: gpus.max of the manifest.")] = None,
) -> None:
    """Show the plan for each demand: configuration, GPUs and batch of each tier, predicted quality and latency."""
    try:
        documents = read_manifest(manifest)
    except ManifestError as error:
        raise fail(str(error)) from None
    spec, profile = documents.service.spec, Profile(documents.profile)
    if (problem := criterion(spec.objective).refusal(profile)) is not None:
        raise fail(problem.message)
    each, bounds = spec.worker.gpus_per_worker, spec.worker_bounds
    solver = Solver(profile, spec.objective, shared=is_shared(spec, profile), gpus_per_worker=each)
    table = columns("rps", "<plan", "GPUs", "batch", "quality", "latency", caption=_CAPTION)
    for demand in rps or (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        chosen = solver.solve(demand, bounds.max if gpus is None else gpus // each, bounds.min)
        for row in _rows(demand, chosen, each):
            table.add_row(*row)
        table.add_section()
    console().print(table)


def _rows(demand_rps: float, plan: Plan, each: int) -> Iterator[tuple[str, ...]]:
    """Yield a line for each tier, and the ratios and the reason below."""
    first, *others = plan.tiers
    quality, latency = f"{plan.quality:.4g}", f"{plan.heavy_latency_s:.2f} s"
    yield f"{demand_rps:g}", first.tier, gpus_of(first, plan, each), str(first.batch), quality, latency
    for tier in others:
        yield "", f"+ {tier.tier}", gpus_of(tier, plan, each), str(tier.batch), "", ""
    yield "", f"{plan.summary}; {plan.reason}" if others else plan.reason, "", "", "", ""


def gpus_of(tier: TierPlan, plan: Plan, each: int = 1) -> str:
    """Return how many GPUs, `each` per worker, run a tier; one that is used and has none takes turns on others'."""
    shares = tier.count == 0 and any(other.count for other in plan.tiers)
    unused = tier.tier == plan.light and plan.light != plan.heavy and plan.direct_ratio == 1
    return "unused" if unused else "in turn" if shares else str(tier.count * each)
