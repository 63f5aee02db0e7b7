"""Where the demand is read: Prometheus, or the routers' own /metrics."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
from hadis.planning.comparison import GroupCounts, group_counts
from hadis.planning.snapshot import DemandReading
from hadis.planning.speeds import mean_ratios, mean_worker_ratios
from hadis.protocol.secret import as_header
from prometheus_client.parser import text_string_to_metric_families

ARRIVALS, QUEUED = "hadis_router_arrivals_total", "hadis_router_queued_seconds"
BATCH_RATIO, WORKER_RATIO = "hadis_router_batch_time_ratio", "hadis_router_worker_time_ratio"
GROUPS = "hadis_router_rollout_total"
_READ = (ARRIVALS, QUEUED, BATCH_RATIO, WORKER_RATIO, GROUPS)
STALE_S = 60.0
_LARGEST = 2.0**53
"""Beyond, counters do not count."""
_TIMEOUT = aiohttp.ClientTimeout(total=3)


class DemandError(Exception):
    """No demand can be told; `reason` is for the condition, the message for people."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.reason = reason


def default_query(namespace: str, service: str) -> str:
    """Return the selector of a service's routers, by the labels that the chart's ServiceMonitor gives."""
    return f'{ARRIVALS}{{namespace="{namespace}",hadis_service="{service}"}}'


async def from_prometheus(http: aiohttp.ClientSession, address: str, query: str) -> DemandReading:
    """Return the counters of a query; raise DemandError."""
    samples = await _query(http, address, query)
    times = await _query(http, address, f"timestamp({query})")
    at = max(time_s for _, time_s in times)
    if time.time() - at > STALE_S:
        raise DemandError("StaleData", f"the newest sample of {query} is {time.time() - at:.0f} s old; is it scraped?")
    series = {str(sorted(labels.items())): value for labels, value in samples}
    sizes = {str(sorted(labels.items())): labels["size"] for labels, _ in samples if "size" in labels}
    return DemandReading(at, series, source=f"{len(series)} series from {address}", sizes=sizes)


async def _query(http: aiohttp.ClientSession, address: str, query: str) -> list[tuple[dict[str, str], float]]:
    """Return the labels and the value of each series; raise DemandError."""
    url = f"{address.rstrip('/')}/api/v1/query"
    try:
        async with http.get(url, params={"query": query}, timeout=_TIMEOUT) as answer:
            body = await answer.json(content_type=None)
    except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
        raise DemandError(
            "Unreachable", f"{address} does not answer as Prometheus does: {error or 'timeout'}"
        ) from None
    if not isinstance(body, dict) or body.get("status") != "success":
        said = body.get("error", "") if isinstance(body, dict) else ""
        raise DemandError("QueryFailed", f"{address} refused the query {query}: {said}")
    result = body["data"]["result"] if body["data"]["resultType"] == "vector" else []
    samples = [(r["metric"], float(r["value"][1])) for r in result]
    if not samples:
        raise DemandError("NoData", f"{query} has no series; is the router scraped?")
    if not all(math.isfinite(value) for _, value in samples):
        raise DemandError("NotANumber", f"{query} gives a value that is no number")
    return samples


async def from_routers(
    http: aiohttp.ClientSession, addresses: Sequence[str], secret: str | None = None
) -> DemandReading:
    """Return what the routers that answer count and learn, all asked at once; raise DemandError where none does."""
    answers = await asyncio.gather(*(_ask(http, address, secret) for address in addresses), return_exceptions=True)
    told: dict[str, RouterReading] = {}
    fault = "no router is ready"
    for address, answer in zip(addresses, answers, strict=True):
        if isinstance(answer, DemandError):
            fault = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            told[address] = answer
    if not told:
        raise DemandError("NoRouter", fault)
    tiers = {tier for each in told.values() for tier in each.queued_s}
    arrivals = {
        f"{address} {size}".strip(): (size, count)
        for address, each in told.items()
        for size, count in each.arrivals.items()
    }
    return DemandReading(
        at_s=time.time(),
        series={name: count for name, (_, count) in arrivals.items()},
        queued_s={tier: sum(each.queued_s.get(tier, 0.0) for each in told.values()) for tier in tiers},
        ratios=mean_ratios(each.ratios for each in told.values()),
        worker_ratios=mean_worker_ratios(each.worker_ratios for each in told.values()),
        source=f"read from {len(told)} of {len(addresses)} routers",
        sizes={name: size for name, (size, _) in arrivals.items() if size},
        groups=_together(told.values()),
    )


@dataclass
class RouterReading:
    """What one router's metrics say of it."""

    arrivals: dict[str, float] = field(default_factory=dict)
    """By image size; "" where a router does not tell it apart."""
    queued_s: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, dict[int, float]] = field(default_factory=dict)
    worker_ratios: dict[str, float] = field(default_factory=dict)
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of the requests that each profile decided on, while a new one is tried."""


def _together(readings: Iterable[RouterReading]) -> dict[str, GroupCounts]:
    """Return what all routers counted, by the profile's hash."""
    groups: dict[str, GroupCounts] = {}
    for reading in readings:
        for profile, sums in reading.sums.items():
            groups[profile] = groups.get(profile, GroupCounts()) + group_counts(sums)
    return groups


async def _ask(http: aiohttp.ClientSession, address: str, secret: str | None) -> RouterReading:
    """Return what a router's metrics say."""
    reading = RouterReading()
    try:
        async with http.get(f"{address}/metrics", timeout=_TIMEOUT, headers=as_header(secret)) as answer:
            lines = (await answer.text()).splitlines(keepends=True)
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
    elif name == QUEUED:
        reading.queued_s[labels["tier"]] = value
    elif name == BATCH_RATIO and value > 0:
        reading.ratios.setdefault(labels["tier"], {})[int(labels["batch"])] = value
    elif name == WORKER_RATIO and value > 0:
        reading.worker_ratios[labels["worker"]] = value
    elif name == GROUPS and 0 <= value <= _LARGEST:
        reading.sums.setdefault(labels["profile"], {})[labels["sum"]] = value
