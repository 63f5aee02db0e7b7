"""`hadis plan`: what would be planned for a demand, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hadis.api.manifest import ManifestError, read_manifest
from hadis.cli import fail
from hadis.planning.fleet import is_shared
from hadis.planning.profile import Profile
from hadis.planning.solve import Solver


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
    solver = Solver(profile, spec.objective, shared=is_shared(spec, profile))
    table = Table("requests/s", "plan", "GPUs", "quality", "latency s", "why")
    for demand in rps or (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        chosen = solver.solve(demand, spec.gpus.max if gpus is None else gpus, spec.gpus.min)
        counts = ", ".join(f"{t.tier} x{t.count} batch {t.batch}" for t in chosen.tiers)
        table.add_row(
            f"{demand:g}",
            chosen.headline,
            counts,
            f"{chosen.quality:.4g}",
            f"{chosen.heavy_latency_s:.2f}",
            chosen.reason,
        )
    Console().print(table)
