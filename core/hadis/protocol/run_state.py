"""The run folder's one file: on one machine it gives the router its plan and workers, as a watch does in Kubernetes."""

from __future__ import annotations

import json
import os
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hadis.api.status import PlanChange
from hadis.api.times import rfc3339
from hadis.planning.plan import Plan
from hadis.planning.readings import usable_ratios
from hadis.planning.rollout import Canary
from hadis.planning.speeds import Ratios


@dataclass(frozen=True)
class WorkerAddress:
    """A worker that is ready, and the tiers it has resident."""

    url: str
    tiers: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """What the control loop tells the router."""

    plan: Plan | None
    workers: tuple[WorkerAddress, ...]
    observed_rps: float = 0.0
    forecast_rps: float = 0.0
    changes: tuple[PlanChange, ...] = ()
    routers: tuple[str, ...] = ()
    """URLs of the routers that are ready, where there may be several."""
    idle: str | None = None
    """Why there is no worker, while that is because there was no request."""
    start_s: float | None = None
    """Seconds until a first worker is ready; None where a service is never idle."""
    canary: Canary | None = None
    """How a new profile is tried, where one is."""
    batch_time_ratios: Ratios = field(default_factory=dict)
    """Those that are planned with, by tier and batch size: what a router that starts goes on from."""
    profile_hash: str = ""
    """Of the profile that they compare with; empty where none was planned with."""

    def ratios_for(self, profile_hash: str) -> dict[str, dict[int, float]]:
        """Return the ratios as far as they can be ones; raise ValueError where they are of another profile."""
        if self.profile_hash not in ("", profile_hash):
            raise ValueError(f"its batch times are of the profile {self.profile_hash}; this one is {profile_hash}")
        return usable_ratios(self.batch_time_ratios)


_STATE = TypeAdapter(RunState)


def write_state(path: Path, state: RunState) -> None:
    """Replace the file at once, so that a reader sees the old state or the new one and nothing between."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_bytes(_STATE.dump_json(state, by_alias=True))
    draft.replace(path)


def read_state(path: Path) -> RunState:
    """Return the state; raise ValueError for a file of another form, OSError where it cannot be read."""
    try:
        return _STATE.validate_python(_as_now(json.loads(path.read_bytes())))
    except ValidationError as error:
        raise ValueError(f"{path}: is no run state: {error.errors()[0]['msg']}") from None
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{path}: is no run state: {error}") from None


def _as_now(document: Any) -> Any:
    """Return a document as it is written now: once, changes had Unix times, and who was not idle an empty text."""
    if not isinstance(document, dict):
        return document
    changes = [_change_as_now(change) for change in document.get("changes") or ()]
    return document | {"changes": changes, "idle": document.get("idle") or None}


def _change_as_now(change: Any) -> Any:
    if not isinstance(change, dict) or not isinstance(change.get("at"), int | float):
        return change
    return {**{name: value for name, value in change.items() if name != "at"}, "time": rfc3339(change["at"])}
