"""What Prometheus' answers say of the demand, and which of them are refused.

Ages of samples are by Prometheus' own clock: an answer says when it was evaluated. So no clock is compared with
another one, and whichever of them jumps, what is read stays as old as it is.
"""

from __future__ import annotations

from typing import Any, Literal

import aiohttp
from hadis.planning.readings import count_problem, time_problem
from hadis.planning.snapshot import DemandReading
from pydantic import BaseModel, Field, ValidationError

from hadis_operator.bounded import read_bounded
from hadis_operator.credentials import Credentials
from hadis_operator.demand_sources import ARRIVALS, TIMEOUT, DemandError
from hadis_operator.sample_clock import SampleClock

STALE_S = 60.0
_MOST_BYTES = 4 * 1024 * 1024
_MOST_SAID = 300
_WHERE = "its credentials are those of metrics.prometheus, or of the chart's prometheus.secret"
_LATEST_S = 1e11
"""No clock says a later time than this, in seconds since 1970."""


class _Sample(BaseModel):
    metric: dict[str, str]
    value: tuple[float, float]
    """When it was evaluated, and the value."""

    @property
    def name(self) -> str:
        """Its labels alone: times of samples have no metric's name."""
        return str(sorted(label for label in self.metric.items() if label[0] != "__name__"))


class _Vector(BaseModel):
    kind: Literal["vector"] = Field(alias="resultType")
    result: list[_Sample]


class _Other(BaseModel):
    kind: str = Field(alias="resultType")


class _Reply(BaseModel):
    status: str
    error: str = ""
    data: _Vector | _Other | None = Field(None, union_mode="left_to_right")


def default_query(namespace: str, service: str) -> str:
    """Return the selector of a service's routers, by the labels that the chart's ServiceMonitor gives."""
    return f'{ARRIVALS}{{namespace="{namespace}",hadis_service="{service}"}}'


async def from_prometheus(
    http: aiohttp.ClientSession, address: str, query: str, clock: SampleClock, now_s: float, shown: Credentials
) -> DemandReading:
    """Return the counters of a query at times of our clock, which says `now_s`; raise DemandError.

    `shown` are the credentials; no error says more of them than the server did.
    """
    samples = await _query(http, address, shown, query)
    evaluated_s = samples[0].value[0]
    if not 0 < evaluated_s < _LATEST_S:
        raise DemandError("BadAnswer", f"{address} says that it is {evaluated_s:g} s after 1970")
    # At the same time, so that both are of the same samples.
    times = await _query(http, address, shown, f"timestamp({query})", time=repr(evaluated_s))
    for problem in (
        *(count_problem(each.name, each.value[1]) for each in samples),
        *(time_problem(each.name, each.value[1], evaluated_s) for each in times),
    ):
        if problem is not None:
            raise DemandError(problem.reason, problem.message)
    sampled_s = max(each.value[1] for each in times)
    if evaluated_s - sampled_s > STALE_S:
        age_s = evaluated_s - sampled_s
        raise DemandError("StaleData", f"the newest sample of {query} is {age_s:.0f} s old; is it scraped?")
    times_s = {each.name: each.value[1] for each in times}
    sampled = {each.name: (times_s.get(each.name, sampled_s), each.value[1]) for each in samples}
    newest = clock.newest(sampled, evaluated_s, now_s)
    # Counters by other names are new ones, which count from what they show now.
    mark = f" {clock.setbacks}" if clock.setbacks else ""
    return DemandReading(
        at_s=max(at_s for at_s, _ in newest.values()),
        series={name + mark: value for name, (_, value) in newest.items()},
        source=f"{len(newest)} series from {address}",
        sizes={each.name + mark: each.metric["size"] for each in samples if "size" in each.metric},
    )


async def _query(
    http: aiohttp.ClientSession, address: str, shown: Credentials, query: str, **more: str
) -> list[_Sample]:
    """Return the samples of an instant query; raise DemandError."""
    url, params = f"{address.rstrip('/')}/api/v1/query", {"query": query, **more}
    access: dict[str, Any] = {"headers": shown.headers, "ssl": shown.tls, "server_hostname": shown.server_name}
    try:
        async with http.get(url, params=params, timeout=TIMEOUT, **access) as answer:
            if answer.status in (401, 403):
                raise DemandError("Unauthorized", f"{address} answers {answer.status}; {_WHERE}")
            body = await read_bounded(answer, _MOST_BYTES)
        reply = _Reply.model_validate_json(body)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        # aiohttp's own words have the TLS context in them, as an address in memory.
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
        raise DemandError("Unreachable", f"{address} does not answer: {cause or 'timeout'}") from None
    except ValidationError:
        raise DemandError("BadAnswer", f"{address} does not answer as Prometheus does; is the address right?") from None
    except ValueError as error:
        raise DemandError("BadAnswer", f"{address} does not answer as Prometheus does: {error}") from None
    return _samples(reply, address, query)


def _samples(reply: _Reply, address: str, query: str) -> list[_Sample]:
    """Return the samples of a reply; raise DemandError where there are none."""
    if reply.status != "success":
        raise DemandError("QueryFailed", f"{address} refused the query {query}: {reply.error[:_MOST_SAID]}")
    if reply.data is None:
        raise DemandError("BadAnswer", f"{address} answers the query {query} without data")
    if isinstance(reply.data, _Other):
        if reply.data.kind == "vector":
            raise DemandError("NotANumber", f"{query} gives a sample that is no number; write a query of counters")
        kind = reply.data.kind[:_MOST_SAID]
        raise DemandError("QueryFailed", f"{query} gives a {kind}; write a query of counters, one per router")
    if not reply.data.result:
        raise DemandError("NoData", f"{query} has no series; is the router scraped?")
    return reply.data.result
