"""Metrics of what is kept for later: images behind links, jobs with their results, answers; and of webhooks.

The stores count for themselves; each scrape reads what they have counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric


@dataclass(slots=True)
class StoreCounts:
    """What one router has kept since it started, and lost of that; a shared store ends things for itself."""

    stored: int = 0
    stored_bytes: int = 0
    evicted: int = 0
    """Those that made room for others before their time was over."""
    expired: int = 0


class StoreMetrics:
    """Collects the counts of the stores, by what they keep, and of webhooks, by what became of them."""

    def __init__(self, stores: Mapping[str, StoreCounts], webhooks: Mapping[str, int]) -> None:
        """Keep what is counted in."""
        self._stores, self._webhooks = stores, webhooks

    def describe(self) -> list[Metric]:
        """Return nothing: what there is, a scrape says."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        kept = "Images behind links, long jobs, and answers for requests that are alike"
        items = CounterMetricFamily(
            "hadis_router_stored",
            f"{kept}, by what became of them: each is stored; in memory, some are evicted for others, some expire.",
            labels=["kind", "event"],
        )
        size = CounterMetricFamily("hadis_router_stored_bytes", f"Bytes stored: {kept.lower()}.", labels=["kind"])
        for kind, counts in self._stores.items():
            for event in ("stored", "evicted", "expired"):
                items.add_metric([kind, event], getattr(counts, event))
            size.add_metric([kind], counts.stored_bytes)
        webhooks = CounterMetricFamily("hadis_router_webhooks", "Webhooks of jobs that ended.", labels=["outcome"])
        for outcome, count in self._webhooks.items():
            webhooks.add_metric([outcome], count)
        yield from (items, size, webhooks)
