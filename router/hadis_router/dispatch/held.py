"""Clients of whom it is known for a moment that their next request will be refused: it need not be read to say so.

What a request asks for is known only once its body is read. But the cheapest one is known, and where a client could not
even have that one, nothing in a body changes it. The knowledge is old by a fraction of a second at most, in which no
GPU idles for it: there is far more work waiting than can be made in that time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.fair_share import MOST_CLIENTS

OVER_SHARE_S = 0.25
TOO_LATE_S = 0.05
"""What waits gets less all the time, and others' work with it: this is known for a shorter time."""


class Held(NamedTuple):
    """A refusal that would be given again until a time."""

    error: ServeError
    until: float
    work_s: float
    """GPU seconds of the request that was looked at and refused."""
    most_s: float = -1.0
    """GPU seconds of waiting work over which the client is refused."""


class HeldClients:
    """The refusals that would be given again, by client; times are loop times in seconds."""

    def __init__(self) -> None:
        """Start with nobody held."""
        self._held: OrderedDict[str, Held] = OrderedDict()

    def hold(self, client: str, held: Held) -> None:
        """Refuse a client in the same way."""
        self._held[client] = held
        self._held.move_to_end(client)
        if len(self._held) > MOST_CLIENTS:
            self._held.popitem(last=False)

    def refusal(self, client: str, waiting_s: float, now: float) -> Held | None:
        """Return the refusal of any request of a client that has so much work waiting, if that is sure."""
        held = self._held.get(client)
        if held is None:
            return None
        if now >= held.until:
            del self._held[client]
            return None
        return held if waiting_s > held.most_s else None
