"""Which router owns which workers' queues: everybody says the same, nobody is left out, and little moves."""

from __future__ import annotations

import random
from collections import Counter

import hypothesis.strategies as st
import pytest
from fake_workers import make_plan
from hadis.protocol.run_state import WorkerAddress
from hadis_router.dispatch.cells import LEAST_WORKERS, RoundRobin, cells_of, part_of
from hypothesis import given, settings

BOTH = ("light", "heavy")


def make_workers(count: int, tiers: tuple[str, ...] = BOTH) -> list[WorkerAddress]:
    return [WorkerAddress(f"http://10.0.{i // 250}.{i % 250}:8100/{tiers[0]}", tiers) for i in range(count)]


def make_routers(count: int) -> list[str]:
    return [f"http://10.1.0.{i}:8080" for i in range(count)]


@settings(max_examples=40)
@given(workers=st.integers(0, 300), routers=st.integers(1, 9), suspects=st.sets(st.integers(0, 8)), order=st.randoms())
def test_every_worker_is_in_one_cell_and_every_router_says_the_same(
    workers: int, routers: int, suspects: set[int], order: random.Random
) -> None:
    all_workers, urls = make_workers(workers), make_routers(routers)
    passed_over = [urls[i] for i in suspects if i < routers]
    cells = cells_of(all_workers, urls, passed_over)
    members = [worker.url for cell in cells for worker in cell.workers]
    assert sorted(members) == sorted(worker.url for worker in all_workers)
    if len(passed_over) < routers:
        assert not {cell.owner for cell in cells} & set(passed_over)
    owned = Counter(cell.owner for cell in cells)
    assert not passed_over or max(owned.values()) - min(owned.values()) <= 1
    assert passed_over or max(owned.values()) == 1
    order.shuffle(all_workers)
    order.shuffle(urls)
    again = cells_of(all_workers, urls, passed_over)
    assert [(c.owner, set(c.workers)) for c in again] == [(c.owner, set(c.workers)) for c in cells]


@pytest.mark.parametrize(
    ("gpus", "slots", "cells"), [(512, 3, 1), (512, 8, 2), (512, 100, 8), (130, 100, 2), (0, 9, 2)]
)
def test_few_slots_of_an_endpoint_do_not_make_one_cell_of_a_large_service(gpus: int, slots: int, cells: int) -> None:
    workers = [*make_workers(gpus, ("light",)), *make_workers(slots, ("heavy",))]
    result = cells_of(workers, make_routers(8), by_endpoint={"heavy"})
    assert len(result) == cells
    assert sorted(w.url for cell in result for w in cell.workers) == sorted(w.url for w in workers)
    by_cell = [sum(worker.tiers == ("heavy",) for worker in cell.workers) for cell in result]
    assert max(by_cell) - min(by_cell) <= 1


@pytest.mark.parametrize(
    ("shared", "light", "heavy", "routers", "cells"),
    [
        (16, 0, 0, 8, 1),
        (2 * LEAST_WORKERS - 1, 0, 0, 8, 1),
        (2 * LEAST_WORKERS, 0, 0, 8, 2),
        (2 * LEAST_WORKERS, 0, 0, 1, 1),
        (512, 0, 0, 8, 8),
        (0, 1, 200, 8, 1),
        (0, 130, 200, 8, 2),
    ],
)
def test_there_are_as_many_cells_as_stay_large(shared: int, light: int, heavy: int, routers: int, cells: int) -> None:
    workers = [*make_workers(shared), *make_workers(light, ("light",)), *make_workers(heavy, ("heavy",))]
    assert len(cells_of(workers, make_routers(routers))) == cells


def test_without_routers_there_is_no_cell() -> None:
    assert cells_of(make_workers(3), []) == ()


def test_a_worker_that_leaves_moves_no_other() -> None:
    workers, routers = make_workers(512), make_routers(8)
    before = {worker.url: cell.owner for cell in cells_of(workers, routers) for worker in cell.workers}
    after = {worker.url: cell.owner for cell in cells_of(workers[1:], routers) for worker in cell.workers}
    moved = [url for url in after if after[url] != before[url]]
    # Of 512, one less makes seven cells of eight: those of the eighth are shared out.
    assert len({cell.owner for cell in cells_of(workers[1:], routers)}) == 7
    assert len(moved) == sum(before[url] not in after.values() for url in after)
    few = make_workers(300)
    before = {worker.url: cell.owner for cell in cells_of(few, routers) for worker in cell.workers}
    after = {worker.url: cell.owner for cell in cells_of(few[1:], routers) for worker in cell.workers}
    assert all(after[url] == before[url] for url in after)


@pytest.mark.parametrize("number", range(8))
def test_while_a_router_is_suspected_only_its_cell_moves(number: int) -> None:
    workers, routers = make_workers(512), make_routers(8)
    cells = cells_of(workers, routers)
    without = cells_of(workers, routers, [cells[number].owner])
    assert [cell.workers for cell in without] == [cell.workers for cell in cells]
    moved = [i for i, (one, other) in enumerate(zip(cells, without, strict=True)) if one.owner != other.owner]
    assert moved == [number]


def test_the_part_of_a_plan_is_for_its_part_of_the_demand() -> None:
    plan = make_plan(counts=(1, 99))
    assert part_of(plan, 1.0) is plan
    part = part_of(plan, 0.25)
    assert [tier.count for tier in part.tiers] == [1, 25]
    assert part.demand_rps == plan.demand_rps / 4
    assert [tier.count for tier in part_of(make_plan(counts=(0, 8)), 0.5).tiers] == [0, 4]


def test_turns_are_as_the_weights_and_evenly_spread() -> None:
    turns = RoundRobin()
    taken = [turns.next({"a": 2, "b": 1, "c": 1}) for _ in range(400)]
    assert Counter(taken) == {"a": 200, "b": 100, "c": 100}
    assert all({"a", "b", "c"} == set(taken[i : i + 4]) for i in range(0, 400, 4))
    assert "c" not in [turns.next({"a": 2, "b": 1}) for _ in range(10)]
