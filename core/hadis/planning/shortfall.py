"""What a service cannot have on its budget whatever the demand is: wrong by the profile, not by a rule of the spec."""

from __future__ import annotations

from hadis.planning.objectives import criterion
from hadis.planning.plan import Plan
from hadis.planning.snapshot import Problem, Snapshot


def shortfall(snapshot: Snapshot, target: Plan | None) -> Problem | None:
    """Return why the target cannot be what the spec asks for; None where nothing stands in its way."""
    if target is not None and not target.feasible:
        return Problem("TooFewGpus", target.reason)
    missing = criterion(snapshot.spec.objective).shortfall(target, snapshot.gpus.max) if target is not None else None
    return missing or _no_cascade(snapshot)


def _no_cascade(snapshot: Snapshot) -> Problem | None:
    profile, spec = snapshot.profile, snapshot.spec
    if isinstance(profile, Problem) or profile.slots or spec.placement != "Dedicated" or spec.worker_bounds.max != 1:
        return None
    if all(row.light == row.heavy for row in profile.configurations):
        return None
    each = spec.worker.gpus_per_worker
    text = f"placement Dedicated keeps one tier per worker, so that no cascade runs on {each} GPU{'s' * (each > 1)}"
    return Problem("OneTierAlone", f"{text}; write gpus.max of {2 * each} or more, or placement Shared")
