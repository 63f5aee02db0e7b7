"""What the routers' own /metrics say of the demand; `prometheus` reads it where they are scraped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
from hadis.planning.comparison import GroupCounts, group_counts
from hadis.planning.readings import MOST_COUNT, is_ratio
from hadis.planning.snapshot import DemandReading, Quiet
from hadis.planning.speeds import mean_ratios, mean_worker_ratios
from hadis.planning.watched_quality import WatchSums, watch_sums
from hadis.protocol.secret import as_header
from prometheus_client.parser import text_string_to_metric_families

from hadis_operator.bounded import read_bounded

ARRIVALS, QUEUED = "hadis_router_arrivals_total", "hadis_router_queued_seconds"
RESTRICTED = "hadis_router_restricted_arrivals_total"
BATCH_RATIO, WORKER_RATIO = "hadis_router_batch_time_ratio", "hadis_router_worker_time_ratio"
IDLE = "hadis_router_idle_seconds"
GROUPS = "hadis_router_rollout_total"
WATCHED = "hadis_router_watched_quality"
_READ = (ARRIVALS, RESTRICTED, QUEUED, BATCH_RATIO, WORKER_RATIO, IDLE, GROUPS, WATCHED)
TIMEOUT = aiohttp.ClientTimeout(total=3)
_MOST_BYTES = 4 * 1024 * 1024


class DemandError(Exception):
    """No demand can be told; `reason` is for the condition, the message for people."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.reason = reason


async def from_routers(
    http: aiohttp.ClientSession, addresses: Sequence[str], clock: Callable[[], float], secret: str | None = None
) -> DemandReading:
    """Return what the routers that answer count and learn, all asked at once; raise DemandError where none does.

    `clock` gives seconds and never jumps.
    """
    answers = await asyncio.gather(*(_ask(http, address, secret) for address in addresses), return_exceptions=True)
    readings: dict[str, RouterReading] = {}
    fault = "no router is ready"
    for address, answer in zip(addresses, answers, strict=True):
        if isinstance(answer, DemandError):
            fault = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            readings[address] = answer
    if not readings:
        raise DemandError("NoRouter", fault)
    tiers = {tier for each in readings.values() for tier in each.queued_s}
    arrivals = {
        f"{address} {size}".strip(): (size, count)
        for address, each in readings.items()
        for size, count in each.arrivals.items()
    }
    return DemandReading(
        at_s=clock(),
        series={name: count for name, (_, count) in arrivals.items()},
        queued_s={tier: sum(each.queued_s.get(tier, 0.0) for each in readings.values()) for tier in tiers},
        ratios=mean_ratios(each.ratios for each in readings.values()),
        worker_ratios=mean_worker_ratios(each.worker_ratios for each in readings.values()),
        source=f"read from {len(readings)} of {len(addresses)} routers",
        sizes={name: size for name, (size, _) in arrivals.items() if size},
        restricted=_by_restriction(readings),
        quiet=Quiet(min(each.idle_s for each in readings.values()), complete=len(readings) == len(addresses)),
        groups=_together(readings.values()),
        quality=_watched(readings.values()),
    )


@dataclass
class RouterReading:
    """What one router's metrics say of it."""

    arrivals: dict[str, float] = field(default_factory=dict)
    """By image size; "" where a router does not tell it apart."""
    restricted: dict[str, float] = field(default_factory=dict)
    """Of the arrivals, those that only some tiers may make, by these."""
    queued_s: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, dict[int, float]] = field(default_factory=dict)
    worker_ratios: dict[str, float] = field(default_factory=dict)
    idle_s: float = 0.0
    """Seconds since its last request; of a router that does not tell it, none."""
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of the requests that each profile decided on, while a new one is tried."""
    watched: dict[str, float] = field(default_factory=dict)
    """Sums over the answers that were judged lately, by name; empty where none are."""


def _by_restriction(readings: Mapping[str, RouterReading]) -> dict[str, dict[str, float]]:
    """Return the arrivals that only some tiers may make, by these and by router."""
    restricted: dict[str, dict[str, float]] = {}
    for address, reading in readings.items():
        for tiers, count in reading.restricted.items():
            restricted.setdefault(tiers, {})[address] = count
    return restricted


def _together(readings: Iterable[RouterReading]) -> dict[str, GroupCounts]:
    """Return what all routers counted, by the profile's hash."""
    groups: dict[str, GroupCounts] = {}
    for reading in readings:
        for profile, sums in reading.sums.items():
            groups[profile] = groups.get(profile, GroupCounts()) + group_counts(sums)
    return groups


def _watched(readings: Iterable[RouterReading]) -> WatchSums | None:
    """Return what all routers had judged; None where no router does."""
    sums = [watch_sums(reading.watched) for reading in readings if reading.watched]
    return sum(sums[1:], sums[0]) if sums else None


async def _ask(http: aiohttp.ClientSession, address: str, secret: str | None) -> RouterReading:
    """Return what a router's metrics say."""
    reading = RouterReading()
    try:
        async with http.get(f"{address}/metrics", timeout=TIMEOUT, headers=as_header(secret)) as answer:
            body = await read_bounded(answer, _MOST_BYTES)
        lines = body.decode(errors="replace").splitlines(keepends=True)
        read = "".join(line for line in lines if line.startswith(_READ))  # to parse all takes milliseconds
        for family in text_string_to_metric_families(read):
            for sample in family.samples:
                _take(sample.name, sample.labels, sample.value, reading)
    except (TimeoutError, aiohttp.ClientError, ValueError, KeyError, OSError) as error:
        raise DemandError("NoRouter", f"{address}/metrics: {error or 'timeout'}") from None
    if not reading.arrivals:
        raise DemandError("NoRouter", f"{address}/metrics has no {ARRIVALS}")
    return reading


def _take(name: str, labels: Mapping[str, str], value: float, reading: RouterReading) -> None:
    if name == ARRIVALS:
        reading.arrivals[labels.get("size", "")] = value
    elif name == RESTRICTED:
        reading.restricted[labels["tiers"]] = value
    elif name == QUEUED:
        reading.queued_s[labels["tier"]] = value
    elif name == IDLE and value >= 0:
        reading.idle_s = value
    elif name == BATCH_RATIO and is_ratio(value):
        reading.ratios.setdefault(labels["tier"], {})[int(labels["batch"])] = value
    elif name == WORKER_RATIO and is_ratio(value):
        reading.worker_ratios[labels["worker"]] = value
    elif name == GROUPS and 0 <= value <= MOST_COUNT:
        reading.sums.setdefault(labels["profile"], {})[labels["sum"]] = value
    elif name == WATCHED and 0 <= value <= MOST_COUNT:
        reading.watched[labels["sum"]] = value
