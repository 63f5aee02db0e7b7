"""Demand from routers: what is read, and what is said when nothing can be."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_http import FakeHttp
from hadis_operator.demand_sources import DemandError, from_routers

METRICS = 'hadis_router_arrivals_total 5.0\nhadis_router_queued_seconds{tier="light"} 0.5\n'


def clock() -> float:
    return 100.0


async def test_routers_are_asked_at_once_and_the_deaf_left_out() -> None:
    together = asyncio.Barrier(3)

    async def metrics(_: web.Request) -> web.Response:
        await together.wait()  # one that is asked after another's answer would wait for ever
        return web.Response(text=METRICS)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    async with TestServer(app, host="0.0.0.0") as server, aiohttp.ClientSession() as http:
        good = [f"http://{host}:{server.port}" for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3")]
        reading = await from_routers(http, [*good, "http://127.0.0.1:1"], clock)
    assert (reading.at_s, reading.series) == (100.0, dict.fromkeys(good, 5.0))
    assert reading.queued_s == {"light": pytest.approx(1.5)}
    assert reading.source == "read from 3 of 4 routers"


async def test_what_routers_learn_of_batch_times_is_averaged() -> None:
    learnt = (
        'hadis_router_batch_time_ratio{tier="light",batch="4"} %s\n'
        'hadis_router_worker_time_ratio{worker="http://w1:8100"} 4.0\n'
    )
    http = FakeHttp({"http://a/metrics": METRICS + learnt % "1.0", "http://b/metrics": METRICS + learnt % "2.0"})
    reading = await from_routers(http.session, ["http://a", "http://b"], clock)
    assert reading.ratios == {"light": {4: 1.5}}
    assert reading.worker_ratios == {"http://w1:8100": 4.0}


async def test_of_what_routers_say_each_size_is_kept_and_nonsense_is_not() -> None:
    batch, worker = "hadis_router_batch_time_ratio", "hadis_router_worker_time_ratio"
    knowing = (
        f'{batch}{{tier="light",batch="1"}} 1.0\n{batch}{{tier="light",batch="4"}} 2.0\n'
        f'{batch}{{tier="heavy",batch="1"}} 0.0\n{batch}{{tier="heavy",batch="2"}} NaN\n'
        f'{batch}{{tier="heavy",batch="4"}} 1e308\n{worker}{{worker="http://w4"}} 1e-308\n'
        f'{worker}{{worker="http://w1"}} 2.0\n{worker}{{worker="http://w2"}} 0.0\n{worker}{{worker="http://w3"}} NaN\n'
    )
    other = 'hadis_router_arrivals_total 1.0\nhadis_router_queued_seconds{tier="heavy"} 2.0\n'
    http = FakeHttp(
        {
            "http://a/metrics": METRICS + knowing,
            "http://b/metrics": other + f'{worker}{{worker="http://w1"}} 4.0\n',
        }
    )
    reading = await from_routers(http.session, ["http://a", "http://b"], clock)
    assert reading.series == {"http://a": 5.0, "http://b": 1.0}
    assert reading.queued_s == {"light": 0.5, "heavy": 2.0}
    assert reading.ratios == {"light": {1: 1.0, 4: 2.0}}
    assert reading.worker_ratios == {"http://w1": 3.0}


async def test_arrivals_are_told_apart_by_size() -> None:
    sized = "".join(f'hadis_router_arrivals_total{{size="{size}"}} {n}.0\n' for size, n in (("auto", 3), ("64x32", 1)))
    http = FakeHttp({"http://a/metrics": sized, "http://b/metrics": METRICS})
    reading = await from_routers(http.session, ["http://a", "http://b"], clock)
    assert reading.series == {"http://a auto": 3.0, "http://a 64x32": 1.0, "http://b": 5.0}
    assert reading.sizes == {"http://a auto": "auto", "http://a 64x32": "64x32"}


async def test_arrivals_that_only_some_tiers_may_make_are_told_by_router() -> None:
    restricted = 'hadis_router_restricted_arrivals_total{tiers="middle,heavy"} 2.0\n'
    http = FakeHttp({"http://a/metrics": METRICS + restricted, "http://b/metrics": METRICS})
    reading = await from_routers(http.session, ["http://a", "http://b"], clock)
    assert reading.restricted == {"middle,heavy": {"http://a": 2.0}}
    assert sum(reading.series.values()) == 10.0, "they are part of the arrivals, not more of them"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"http://r/metrics: nobody"),
        ("up 1\n", "has no hadis_router_arrivals_total"),
        ("hadis_router_arrivals_total{ 5\n", "http://r/metrics: "),
        (METRICS + 'hadis_router_batch_time_ratio{tier="light"} 1.0\n', "http://r/metrics: 'batch'"),
        (METRICS + 'hadis_router_batch_time_ratio{tier="light",batch="a"} 1.0\n', "http://r/metrics: invalid literal"),
        (METRICS + "hadis_router_queued_seconds " * 200_000, "the answer is over 4194304 bytes"),
    ],
)
async def test_where_no_router_tells_its_arrivals_the_first_fault_is_told(text: str | None, said: str) -> None:
    http = FakeHttp({} if text is None else {"http://r/metrics": text})
    with pytest.raises(DemandError, match=said) as error:
        await from_routers(http.session, ["http://r"], clock)
    assert error.value.reason == "NoRouter"
    with pytest.raises(DemandError, match="no router is ready"):
        await from_routers(http.session, [], clock)
