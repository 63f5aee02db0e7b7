"""The run folder's one file: on one machine it gives the router its plan and workers, as a watch does in Kubernetes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from hadis.planning.plan import Plan


@dataclass(frozen=True)
class WorkerAddress:
    """A worker that is ready, and the tiers it has resident."""

    url: str
    tiers: tuple[str, ...]


@dataclass(frozen=True)
class PlanChange:
    """One change of plan and why."""

    at: float
    """Unix time, seconds."""
    summary: str
    reason: str


@dataclass(frozen=True)
class RunState:
    """What the control loop tells the router."""

    plan: Plan | None
    workers: tuple[WorkerAddress, ...]
    observed_rps: float = 0.0
    forecast_rps: float = 0.0
    changes: tuple[PlanChange, ...] = ()


def write_state(path: Path, state: RunState) -> None:
    """Replace the file at once, so that a reader sees the old state or the new one and nothing between."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(asdict(state)), "utf-8")
    draft.replace(path)


def read_state(path: Path) -> RunState:
    """Return the state; raise ValueError for a file of another form, OSError where it cannot be read."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return RunState(
            plan=Plan.from_dict(data["plan"]) if data["plan"] else None,
            workers=tuple(WorkerAddress(w["url"], tuple(w["tiers"])) for w in data["workers"]),
            observed_rps=float(data["observed_rps"]),
            forecast_rps=float(data["forecast_rps"]),
            changes=tuple(PlanChange(float(c["at"]), str(c["summary"]), str(c["reason"])) for c in data["changes"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: is no run state: {error!r}") from None
