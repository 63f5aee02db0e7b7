"""What changed between two profiles, and whether a plan made of the new one would be another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hadis.api.resources import Objective
from hadis.api.tier import TierSettings
from hadis.planning.objectives import criterion
from hadis.planning.pareto import pareto_front
from hadis.planning.plan import rounded
from hadis.planning.profile import Profile
from hadis.planning.routing import cached_routing
from hadis.planning.table import cached_table

_DEMANDS = (0.25, 0.5, 0.75, 1.0)
"""As shares of the highest demand that the cheapest configuration of the old profile keeps up with."""

_EVERY_S = 2.0
"""Period of the plans: a service's default."""

_NOTABLE = 0.01
"""Share by which a quality must change to be told of."""


def differences(old: Profile, new: Profile) -> Iterator[str]:
    """Yield one line per difference."""
    for name in [*old.tiers, *(n for n in new.tiers if n not in old.tiers)]:
        if name not in new.tiers:
            yield f"tier {name} is gone"
        elif name not in old.tiers:
            yield f"tier {name} is new"
        else:
            yield from _tier(old, new, name)
    before, after = _qualities(old), _qualities(new)
    both = before.keys() & after.keys()
    if gone := len(before) - len(both):
        yield f"{gone} configurations are gone"
    if added := len(after) - len(both):
        yield f"{added} configurations are new"
    changes = [after[key] / before[key] - 1 for key in both if abs(after[key] / before[key] - 1) > _NOTABLE]
    if changes:
        yield (
            f"quality of {len(changes)} configurations changed by over 1%: from {min(changes):+.1%} to "
            f"{max(changes):+.1%}"
        )
    yield from _front(old, new)
    if old.resource.spec.difficulty != new.resource.spec.difficulty:
        yield "the difficulty's weights or quantiles changed"
    for field in ("gpu_product", "software", "discriminator"):
        a, b = getattr(old.resource.spec, field), getattr(new.resource.spec, field)
        if a != b:
            yield f"{field.replace('_', ' ')}: {a} -> {b}"


def plans(old: Profile, new: Profile, objective: Objective, slo_s: float, gpus: int) -> Iterator[str]:
    """Yield one line per demand at which the two profiles route differently on shared GPUs."""
    tables = [cached_table(p, slo_s) for p in (old, new)]
    routings = [cached_routing(t, criterion(objective), shared=True, every_s=_EVERY_S) for t in tables]
    least = min(c.cost for c in old.configurations if c.cost > 0)
    for part in _DEMANDS:
        demand = part * gpus / least
        rows = []
        for profile, table, routing in zip((old, new), tables, routings, strict=True):
            route = routing.choose(demand, dict.fromkeys(profile.tiers, gpus), {}, None)
            rows.append((*table.row(route.row), bool(table.best_of_two[route.row])) if route else None)
        if rows[0] != rows[1]:
            yield f"at {rounded(demand)} requests/s: {_words(rows[0])} -> {_words(rows[1])}"


def _qualities(profile: Profile) -> dict[tuple[str, str, bool, float, float], float]:
    return {
        (c.light, c.heavy, c.best_of_two, c.direct_ratio, c.deferral_ratio): c.quality for c in profile.configurations
    }


def _front(old: Profile, new: Profile) -> Iterator[str]:
    """Yield how quality changed at equal cost, over the costs that both fronts have; linear between their rows."""
    fronts = []
    for rows in (old.configurations, new.configurations):
        best = [rows[i] for i in pareto_front([(row.cost, row.quality) for row in rows])]
        fronts.append(([row.cost for row in best], [row.quality for row in best]))
    (before, _), (after, _) = fronts
    costs = [c for c in sorted({*before, *after}) if max(before[0], after[0]) <= c <= min(before[-1], after[-1])]
    if not costs:
        return
    was, now = (np.interp(costs, *front) for front in fronts)
    least, most = float((now / was - 1).min()), float((now / was - 1).max())
    if max(abs(least), abs(most)) > _NOTABLE:
        yield f"at equal cost the front's quality changed from {least:+.1%} to {most:+.1%} (lower is better)"


def _words(row: tuple[str, str, float, float, float, bool] | None) -> str:
    if row is None:
        return "nothing keeps the SLO"
    light, heavy, direct, deferral, quality, best_of_two = row
    mix = f"{light} alone" if light == heavy else f"{light} + {heavy} direct {direct:.0%} deferral {deferral:.0%}"
    return f"{mix}{', the better of two' if best_of_two else ''} (quality {quality:.4g})"


def _tier(old: Profile, new: Profile, name: str) -> Iterator[str]:
    a, b = old.tiers[name], new.tiers[name]
    for field in (name for name in TierSettings.model_fields if name not in ("name", "tunable")):
        if getattr(a, field) != getattr(b, field):
            yield f"tier {name}: {field} {getattr(a, field)} -> {getattr(b, field)}"
    sizes = sorted({*old.batch_sizes(name)} & {*new.batch_sizes(name)})
    changes = [(size, new.latency_s(name, size) / old.latency_s(name, size) - 1) for size in sizes]
    large = [f"batch {size} {change:+.0%}" for size, change in changes if abs(change) > 0.05]
    if large:
        yield f"tier {name}: time of {', '.join(large)}"
    if old.batch_sizes(name) != new.batch_sizes(name):
        yield f"tier {name}: batch sizes {old.batch_sizes(name)} -> {new.batch_sizes(name)}"
