"""How fast refusals are told: who comes again at once, over and over, hears the next one later.

A refusal costs a fraction of a millisecond, but a few hundred connections that try again at once, without regard to
Retry-After, ask for thousands per second. So a client's refusals beyond a rate wait (the generic cell rate algorithm,
ITU-T I.371: a bucket that leaks, kept as the one time at which it is empty), and with them its connections.
"""

from __future__ import annotations

from collections import OrderedDict

RATE_PER_S, BURST = 50.0, 50
"""Of one client, so many refusals per second are told at once, and so many more after a pause."""
LONGEST_S = 2.0
"""No refusal waits for longer: a connection that is held is memory, and a client should not take us for dead."""
_MOST_CLIENTS = 4096


class RefusalPace:
    """When each client may hear its next refusal; times are loop times in seconds."""

    def __init__(self) -> None:
        """Start with nobody refused."""
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def delay_s(self, client: str, now: float) -> float:
        """Count a refusal of a client; return for how long it should wait before it is told."""
        full_s = BURST / RATE_PER_S
        empty_at = max(self._empty_at.pop(client, now), now) + 1 / RATE_PER_S
        self._empty_at[client] = min(empty_at, now + full_s + LONGEST_S)
        if len(self._empty_at) > _MOST_CLIENTS:
            self._empty_at.popitem(last=False)
        return min(LONGEST_S, max(0.0, empty_at - now - full_s))
