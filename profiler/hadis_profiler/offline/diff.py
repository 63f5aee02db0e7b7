"""What changed between two profiles, and whether a plan made of the new one would be another."""

from __future__ import annotations

from collections.abc import Iterator

from hadis.api.resources import Objective
from hadis.planning.objectives import criterion
from hadis.planning.profile import Profile
from hadis.planning.routing import cached_routing
from hadis.planning.table import cached_table

_DEMANDS = (0.25, 0.5, 0.75, 1.0)
"""Of the most that the old profile's quickest configuration keeps up with."""


def differences(old: Profile, new: Profile) -> Iterator[str]:
    """Yield a line a difference."""
    for name in [*old.tiers, *(n for n in new.tiers if n not in old.tiers)]:
        if name not in new.tiers:
            yield f"tier {name} is gone"
        elif name not in old.tiers:
            yield f"tier {name} is new"
        else:
            yield from _tier(old, new, name)
    rows = [{(c.light, c.heavy, c.direct_ratio, c.deferral_ratio): c.quality for c in p.configurations}
            for p in (old, new)]  # fmt: skip
    both = rows[0].keys() & rows[1].keys()
    if gone := len(rows[0]) - len(both):
        yield f"{gone} configurations are gone"
    if fresh := len(rows[1]) - len(both):
        yield f"{fresh} configurations are new"
    moved = [rows[1][key] / rows[0][key] - 1 for key in both if abs(rows[1][key] / rows[0][key] - 1) > 0.01]
    if moved:
        yield f"quality of {len(moved)} configurations moved by over 1%: from {min(moved):+.1%} to {max(moved):+.1%}"
    if old.resource.spec.difficulty != new.resource.spec.difficulty:
        yield "the difficulty's weights or quantiles are others"
    for what in ("gpu_product", "software", "discriminator"):
        a, b = getattr(old.resource.spec, what), getattr(new.resource.spec, what)
        if a != b:
            yield f"{what.replace('_', ' ')}: {a} -> {b}"


def plans(old: Profile, new: Profile, objective: Objective, slo_s: float, gpus: int) -> Iterator[str]:
    """Yield a line a demand at which the two profiles route differently on shared GPUs."""
    tables = [cached_table(p, slo_s) for p in (old, new)]
    routings = [cached_routing(t, criterion(objective), shared=True) for t in tables]
    least = min(c.cost for c in old.configurations if c.cost > 0)
    for part in _DEMANDS:
        demand = part * gpus / least
        found = []
        for profile, table, routing in zip((old, new), tables, routings, strict=True):
            route = routing.choose(demand, dict.fromkeys(profile.tiers, gpus), {}, None)
            found.append(table.row(route.row) if route else None)
        if found[0] != found[1]:
            yield f"at {demand:.3g} requests/s: {_words(found[0])} -> {_words(found[1])}"


def _words(row: tuple[str, str, float, float, float] | None) -> str:
    if row is None:
        return "nothing keeps the SLO"
    light, heavy, direct, deferral, quality = row
    mix = f"{light} alone" if light == heavy else f"{light} + {heavy} direct {direct:.0%} deferral {deferral:.0%}"
    return f"{mix} (quality {quality:.4g})"


def _tier(old: Profile, new: Profile, name: str) -> Iterator[str]:
    a, b = old.tiers[name], new.tiers[name]
    for what in ("model", "steps", "guidance", "size", "dtype"):
        if getattr(a, what) != getattr(b, what):
            yield f"tier {name}: {what} {getattr(a, what)} -> {getattr(b, what)}"
    sizes = sorted({*old.batch_sizes(name)} & {*new.batch_sizes(name)})
    moves = [(size, new.latency_s(name, size) / old.latency_s(name, size) - 1) for size in sizes]
    large = [f"batch {size} {move:+.0%}" for size, move in moves if abs(move) > 0.05]
    if large:
        yield f"tier {name}: time of {', '.join(large)}"
    if old.batch_sizes(name) != new.batch_sizes(name):
        yield f"tier {name}: batch sizes {old.batch_sizes(name)} -> {new.batch_sizes(name)}"
