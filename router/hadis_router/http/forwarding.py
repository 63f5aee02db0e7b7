"""Forwarding: a router that does not own the queue for a request gives it to the one that does, as it came.

    client -> this router -> owner -> worker

Where the owner does not answer, or stops, the next one gets the request; at last this router serves it itself.

A request that another router forwards is served where it arrives, so that routers that see different lists for a
moment do not send it in circles. It says how old it is, for its deadline counts from its first arrival, and from whom
it comes. Only routers are believed: a client that says such things gains nothing by it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping

from fastapi import Request, Response

from hadis_router.dispatch import refusals
from hadis_router.http.access import visitor_of
from hadis_router.http.entrance import request_id_of
from hadis_router.http.gateway import Gateway
from hadis_router.http.peer_client import AGE, HOPS, PeerUnavailable

log = logging.getLogger(__name__)

MOST_OWNERS = 3
"""How many routers a request is tried at before it is served here."""
_MOST_HOPS = 3
"""Routers that do not know each other, and do not agree on the owner, would go on for ever."""


async def forward(gateway: Gateway, request: Request, content: bytes, arrived: float) -> Response | None:
    """Return the answer of the router that owns the queue for a request; None where this one is to serve it.

    `content` is the body, which was read, `arrived` loop time. Raises ServeError 499 for a client that went away.
    """
    if gateway.owns_all() or _by_router(request):
        return None
    if _hops(request) >= _MOST_HOPS:
        raise refusals.no_owner()
    disconnected = asyncio.ensure_future(until_disconnected(request))
    answer = asyncio.ensure_future(_first_answer(gateway, request, content, arrived))
    try:
        await asyncio.wait((answer, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise refusals.client_gone()
        return answer.result()
    finally:
        disconnected.cancel()
        answer.cancel()


async def forward_reading(gateway: Gateway, request: Request, request_id: str | None = None) -> Response | None:
    """Return what the owner of every queue, or the one that has a request, says; None where that is this router.

    A stream of events ends when this router stops or another one owns the queues: who reads it connects again.
    """
    if gateway.owns_all() or _by_router(request):
        return None
    owner = gateway.under_way.owners.get(request_id or "", gateway.peers.only_owner)
    if owner is None or _hops(request) >= _MOST_HOPS:
        return None

    def ended() -> bool:
        return gateway.stopping() or gateway.owns_all()

    try:
        return await gateway.peer_client.ask(
            _whole(request), b"", owner, 0.0, _hops(request) + 1, visitor_of(request).address, ended
        )
    except PeerUnavailable as error:
        log.warning("request %s: %s", request_id_of(request), error)
        return None


async def ask_owner(gateway: Gateway, request: Request, tag: bytes | None) -> Response | None:
    """Return what the other router says that has a tag, for it keeps what the request is about; None without one.

    Raises ServeError 503 where it does not answer.
    """
    owner = gateway.peers.tagged(tag) if tag is not None and not _by_router(request) else None
    if owner is None or _hops(request) >= _MOST_HOPS:
        return None
    try:
        return await gateway.peer_client.ask(
            _whole(request), b"", owner, 0.0, _hops(request) + 1, visitor_of(request).address
        )
    except PeerUnavailable as error:
        log.warning("%s", error)
        raise refusals.router_away() from None


def _whole(request: Request) -> Request:
    """Return the request that has the same answer with its content: of a HEAD the length would be lost on the way."""
    return Request({**request.scope, "method": "GET"}) if request.method == "HEAD" else request


async def until_disconnected(request: Request) -> None:
    """Return when the client has disconnected; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def age_s(request: Request) -> float:
    """Return how long ago (seconds) a forwarded request arrived at its first router; 0 for any other."""
    try:
        age = float(request.headers.get(AGE, "0")) if _by_router(request) else 0.0
    except ValueError:
        return 0.0
    return age if math.isfinite(age) and age > 0 else 0.0


async def _first_answer(gateway: Gateway, request: Request, content: bytes, arrived: float) -> Response | None:
    request_id = request_id_of(request)
    for _ in range(MOST_OWNERS):
        owner, age = gateway.next_owner(), asyncio.get_running_loop().time() - arrived
        if owner is None:
            return None
        if age >= gateway.slo_s:
            raise refusals.expired(gateway.slo_s)
        try:
            with gateway.under_way.forwarded(request_id, owner):
                response = await gateway.peer_client.ask(
                    request, content, owner, age, _hops(request) + 1, visitor_of(request).address
                )
        except PeerUnavailable as error:
            log.warning("request %s: %s; another router is asked", request_id, error)
            gateway.suspect(owner)
        else:
            gateway.metrics.forwarded()
            return response
    return None


def is_forwarded(headers: Mapping[str, str], host: str | None, gateway: Gateway) -> bool:
    """Return whether a router of the service forwarded a request with these headers (names in lower case).

    It is believed by the service's secret, or by its address where there is none.
    """
    if not _said_hops(headers):
        return False
    if gateway.access.has_secret:
        return gateway.access.is_ours(headers)
    return gateway.peers.is_router(host, asyncio.get_running_loop().time())


def _by_router(request: Request) -> bool:
    return visitor_of(request).forwarded


def _hops(request: Request) -> int:
    return _said_hops(request.headers)


def _said_hops(headers: Mapping[str, str]) -> int:
    said = headers.get(HOPS, "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 4 else 0
