"""Turns: clients that wait are served by weight, each one's jobs by deadline."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.turns import QueueEntry, Turns
from hypothesis import example, given
from hypothesis import strategies as st

_WEIGHTS = st.dictionaries(st.sampled_from("abcde"), st.floats(0.1, 10), min_size=2)


def entry_of(client: str, number: int, deadline: float) -> QueueEntry:
    return QueueEntry(deadline, number, cast(Job, SimpleNamespace(client=client)), True, False, 0.1)


def serve_next(turns: Turns) -> QueueEntry:
    entry = next(iter(turns))
    turns.serve(entry.job.client)
    turns.remove(entry)
    return entry


@given(weights=_WEIGHTS, deadlines=st.lists(st.floats(0, 100), min_size=40, max_size=40))
def test_while_all_wait_each_is_served_by_its_weight_and_in_order(
    weights: dict[str, float], deadlines: list[float]
) -> None:
    turns = Turns(weights.__getitem__)
    for client in weights:
        for number, deadline in enumerate(deadlines):
            turns.put(entry_of(client, number, deadline))
    served: Counter[str] = Counter()
    while max(served.values(), default=0) < len(deadlines):
        foreseen = next(iter(turns))
        entry = serve_next(turns)
        assert entry is foreseen
        assert entry.deadline == sorted(deadlines)[served[entry.job.client]]
        served[entry.job.client] += 1
        passes = {client: served[client] / weight for client, weight in weights.items()}
        # Start-time fair queueing's bound: a job of each (Goyal, Vin and Cheng 1996, theorem 1).
        assert max(passes[a] - passes[b] - 1 / weights[a] - 1 / weights[b] for a in weights for b in weights) <= 1e-9


@given(
    weights=_WEIGHTS,
    waiting=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100)), max_size=30),
    served=st.integers(0, 10),
    deadline=st.floats(0, 100),
)
@example(weights={"a": 0.6875, "b": 0.6875}, waiting=[(n // 3, 0.0) for n in range(6)], served=2, deadline=0.0)
def test_how_many_are_ahead_is_where_one_more_would_stand(
    weights: dict[str, float], waiting: list[tuple[int, float]], served: int, deadline: float
) -> None:
    turns, clients = Turns(weights.__getitem__), sorted(weights)
    for number, (client, due) in enumerate(waiting):
        turns.put(entry_of(clients[client % len(clients)], number, due))
    for _ in range(min(served, turns.jobs)):
        serve_next(turns)
    ahead, entry = turns.ahead_of(clients[0], deadline), entry_of(clients[0], len(waiting), deadline)
    turns.put(entry)
    place = list(turns).index(entry)
    # Among equal turns it takes those of the others to be before it.
    assert place <= ahead < place + len(clients)


def test_who_leaves_and_comes_again_gains_nothing_and_is_not_remembered_for_ever() -> None:
    turns = Turns(lambda client: 1.0)
    turns.put(entry_of("quiet", 0, 9.0))
    served = []
    for number in range(1, 4):
        turns.put(entry_of("hasty", number, number))
        served.append(serve_next(turns).job.client)
    assert served == ["hasty", "quiet", "hasty"]
    for number in range(10_000):
        turns.put(entry_of(f"once {number}", number, 0.0))
        serve_next(turns)
    assert len(turns._left) <= 4096
