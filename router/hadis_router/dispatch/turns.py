"""Whose turn it is in a queue that several clients wait in: start-time fair queueing, each client's jobs by deadline.

Each client has a *pass*, the virtual time at which its next job starts. The least pass is served first and rises by 1
through the client's weight; one who comes anew starts at the pass of the job that was served last (Goyal, Vin and
Cheng, "Start-time Fair Queueing", SIGCOMM 1996). Passes rise with what is served and not with what comes, since jobs
leave the heavy queue unserved. Among equal passes the earliest deadline is first.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from hadis_router.dispatch.job import Job

_MOST_REMEMBERED = 4096
"""Passes of clients that do not wait, so that nobody gains by coming and going."""
_LOOKED_AT = 32
"""Of many clients only about so many are looked at to estimate what is ahead of a job."""
_ROUNDING = 1e-9


class QueueEntry(NamedTuple):
    """A job's place: entries sort by deadline (loop time) and, among equals, by their number, which is unique."""

    deadline: float
    number: int
    job: Job
    needy: bool
    """Whether it was needy when it came."""
    bound: bool
    """Whether it had no image when it came, and could not have one of a lighter tier."""
    work_s: float
    """GPU seconds that its first image takes; 0 where it has one."""


class _Turn(NamedTuple):
    """A client's turn: its pass, and the deadline, number and place in its line of the job that it is for."""

    start: float
    deadline: float
    number: int
    client: str
    place: int


_deadline, _start = attrgetter("deadline"), attrgetter("start")


class Turns:
    """Entries by client, and the order in which they should be served."""

    def __init__(self, weight: Callable[[str], float]) -> None:
        """`weight` by client, over 0."""
        self._weight = weight
        self._lines: dict[str, list[QueueEntry]] = {}
        self._turns: list[_Turn] = []
        """Of each client that waits, in order."""
        self._passes: dict[str, float] = {}
        self._left: dict[str, float] = {}
        """Passes of those that do not wait, but are ahead of `_now`."""
        self._now = 0.0
        """Virtual time."""
        self.jobs = 0
        """How many wait."""

    def __len__(self) -> int:
        """Return how many clients wait."""
        return len(self._lines)

    def others_than(self, client: str) -> bool:
        """Return whether any other client waits."""
        return len(self._lines) > (client in self._lines)

    def put(self, entry: QueueEntry) -> None:
        """Add an entry to its client's line."""
        client = entry.job.client
        if client not in self._lines:
            self._lines[client] = []
            self._passes[client] = max(self._now, self._left.pop(client, 0.0))
        self._unplace(client)
        insort(self._lines[client], entry)
        self.jobs += 1
        self._place(client)

    def remove(self, entry: QueueEntry) -> None:
        """Take out an entry that is here."""
        client = entry.job.client
        line = self._lines[client]
        self._unplace(client)
        del line[bisect_left(line, entry)]
        self.jobs -= 1
        if line:
            self._place(client)
            return
        del self._lines[client]
        start = self._passes.pop(client)
        if start > self._now:
            self._left[client] = start
            if len(self._left) > _MOST_REMEMBERED:
                del self._left[next(iter(self._left))]

    def serve(self, client: str) -> None:
        """Note that an entry of a client that waits is served now: its turn comes later."""
        self._unplace(client)
        self._now = max(self._now, self._passes[client])
        self._passes[client] += 1 / self._weight(client)
        self._place(client)

    def __iter__(self) -> Iterator[QueueEntry]:
        """Go through all entries in the order in which they should be served; nothing may change meanwhile."""
        further: list[_Turn] = []
        first = 0
        while further or first < len(self._turns):
            if first < len(self._turns) and (not further or self._turns[first] < further[0]):
                turn = self._turns[first]
                first += 1
            else:
                turn = heapq.heappop(further)
            line, place = self._lines[turn.client], turn.place + 1
            yield line[turn.place]
            if place < len(line):
                start, entry = turn.start + 1 / self._weight(turn.client), line[place]
                heapq.heappush(further, _Turn(start, entry.deadline, entry.number, turn.client, place))

    def ahead_of(self, client: str, deadline: float) -> int:
        """Return about how many entries would be served before one more of a client, with a deadline."""
        own = bisect_right(self._lines.get(client, []), deadline, key=_deadline)
        start = self._passes.get(client, max(self._now, self._left.get(client, 0.0))) + own / self._weight(client)
        start += _ROUNDING * (1 + start)  # passes that are equal are sums of other steps
        earlier = bisect_right(self._turns, start, key=_start)
        step = max(1, earlier // _LOOKED_AT)
        others = (turn for turn in self._turns[:earlier:step] if turn.client != client)
        return own + step * sum(self._before(turn, start) for turn in others)

    def _before(self, turn: _Turn, start: float) -> int:
        """Return how many entries of a client start up to a virtual time."""
        count = int((start - turn.start) * self._weight(turn.client)) + 1
        return min(count, len(self._lines[turn.client]))

    def _turn(self, client: str) -> _Turn:
        entry = self._lines[client][0]
        return _Turn(self._passes[client], entry.deadline, entry.number, client, 0)

    def _place(self, client: str) -> None:
        insort(self._turns, self._turn(client))

    def _unplace(self, client: str) -> None:
        if self._lines[client]:
            del self._turns[bisect_left(self._turns, self._turn(client))]
