"""What routers tell at one step, in the words of each of those who read it: /metrics, a status, a reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from documents import router_status
from hadis.planning.comparison import group_counts
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Quiet
from hadis.planning.speeds import Ratios
from hadis.planning.watched_quality import WatchSums, named_sums
from hadis.protocol.router_status import watched_quality

ROUTERS = 3
"""Of the operator; the others have one."""


@dataclass(frozen=True)
class Moment:
    """What there is to observe at one step, workers aside."""

    profile: Profile
    """That the service names."""
    arrivals: Mapping[str, int] | None = None
    """So far, by size; None: no router answers."""
    restricted: int = 0
    """Of them, those that the heavy tier alone may make."""
    queued_s: float = 0.0
    """Of the heavy tier."""
    ratios: Ratios = field(default_factory=dict)
    idle_s: float = 0.0
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By a profile's hash, the sums of the requests that it decided on."""
    watched: WatchSums | None = None
    """What routers had judged lately."""
    pool_gpus: int | None = None
    away: int = 0
    """Workers of each group, the oldest, that do not answer now."""
    restarts: bool = False
    """Whether the operator is started anew before this step."""


def metrics_text(moment: Moment, *, first: bool) -> str:
    """Return what one of the routers tells: each has a part of the arrivals, and all else is the first one's."""
    parts = {}
    for size, count in (moment.arrivals or {}).items():
        parts[size] = count - count // ROUTERS * (ROUTERS - 1) if first else count // ROUTERS
    lines = [f'hadis_router_arrivals_total{{size="{size}"}} {count}' for size, count in parts.items()]
    lines += [f"hadis_router_idle_seconds {moment.idle_s}"]
    if first:
        lines += [f'hadis_router_restricted_arrivals_total{{tiers="heavy"}} {moment.restricted}']
        lines += [f'hadis_router_queued_seconds{{tier="heavy"}} {moment.queued_s}']
        lines += [
            f'hadis_router_batch_time_ratio{{tier="{tier}",batch="{batch}"}} {ratio}'
            for tier, by_batch in moment.ratios.items()
            for batch, ratio in by_batch.items()
        ]
        lines += [
            f'hadis_router_rollout_total{{profile="{profile}",sum="{name}"}} {value}'
            for profile, sums in moment.counted.items()
            for name, value in sums.items()
        ]
        watched = {} if moment.watched is None else named_sums(moment.watched)
        lines += [f'hadis_router_watched_quality{{sum="{name}"}} {value}' for name, value in watched.items()]
    return "\n".join(lines) + "\n"


def status_text(moment: Moment) -> str:
    """Return what a router's status tells, as JSON."""
    return router_status(
        arrivals_by_size=dict(moment.arrivals or {}),
        restricted_arrivals={"heavy": moment.restricted},
        queued_s={"heavy": moment.queued_s},
        batch_time_ratios={tier: dict(each) for tier, each in moment.ratios.items()},
        idle_s=None if math.isinf(moment.idle_s) else moment.idle_s,
        quality=None if moment.watched is None else watched_quality(moment.watched, 0.0),
    ).json_text()


def reading_of(now_s: float, moment: Moment) -> DemandReading | Problem:
    """Return what the replay reads of its routers."""
    if moment.arrivals is None:
        return Problem("NoRouter", "none answers")
    return DemandReading(
        at_s=now_s,
        series={size: float(count) for size, count in moment.arrivals.items()},
        queued_s={"heavy": moment.queued_s},
        ratios=moment.ratios,
        sizes={size: size for size in moment.arrivals},
        restricted={"heavy": {"": float(moment.restricted)}},
        quiet=Quiet(moment.idle_s),
        groups={profile: group_counts(sums) for profile, sums in moment.counted.items()},
        quality=moment.watched,
    )
