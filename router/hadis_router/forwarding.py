"""Forwarding: a router that does not own the queue for a request hands it on to the one that does.

    client -> this router -> owner -> worker

Where the owner does not answer, or stops, the next one gets the request; at last this router serves it itself.
"""

from __future__ import annotations

import asyncio
import logging

from fastapi import Request, Response

from hadis_router import refusals
from hadis_router.gateway import Gateway
from hadis_router.peer_client import PeerUnavailable, is_forwarded

log = logging.getLogger(__name__)

MOST_OWNERS = 3
"""How many routers a request is tried at before it is served here."""


async def hand_on(gateway: Gateway, request: Request, content: bytes, arrived: float) -> Response | None:
    """Return the answer of the router that owns the queue for a request; None where this one is to serve it.

    `content` is the body, which was read, `arrived` loop time. Raises ServeError 499 for a client that went away.
    """
    if is_forwarded(request) or gateway.peers.alone:
        return None
    disconnected = asyncio.ensure_future(until_disconnected(request))
    answer = asyncio.ensure_future(_forward(gateway, request, content, arrived))
    try:
        await asyncio.wait((answer, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise refusals.client_gone()
        return answer.result()
    finally:
        disconnected.cancel()
        answer.cancel()


async def hand_on_follower(gateway: Gateway, request: Request, owner: str | None) -> Response | None:
    """Return the events that another router sends; None without an owner, or where it does not answer."""
    if owner is None or is_forwarded(request):
        return None
    try:
        return await gateway.peer_client.forward(request, b"", owner, 0.0)
    except PeerUnavailable as error:
        log.warning("%s", error)
        return None


async def until_disconnected(request: Request) -> None:
    """Return when the client has disconnected; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _forward(gateway: Gateway, request: Request, content: bytes, arrived: float) -> Response | None:
    request_id = request.headers.get("x-request-id")
    for _ in range(MOST_OWNERS):
        owner = gateway.next_owner()
        if owner is None:
            return None
        age_s = asyncio.get_running_loop().time() - arrived
        try:
            with gateway.whereabouts_shown(request_id, owner):
                response = await gateway.peer_client.forward(request, content, owner, age_s)
        except PeerUnavailable as error:
            log.warning("%s; another router is asked", error)
            gateway.suspect(owner)
        else:
            gateway.metrics.forwarded()
            return response
    return None
