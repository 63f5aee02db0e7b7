"""The router's source on one machine: the run folder's file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.run_state import RunState, WorkerAddress, write_state
from hadis_router.plan_from_file import follow_file

PLAN = Plan("light", "heavy", 0.25, 0.5, (TierPlan("light", 1, 4), TierPlan("heavy", 3, 2)), 3.5, 22.5, 0.5, 3.5)


async def test_the_file_is_followed_and_a_broken_one_keeps_the_last_state(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first = RunState(None, (WorkerAddress("http://a", ("light",)),))
    second = RunState(PLAN, (), 1.5, 2.0)
    write_state(path, first)
    source = follow_file(path)
    async with asyncio.timeout(20):
        assert await anext(source) == first
        path.write_text("{broken")
        await asyncio.sleep(0.1)
        write_state(path, second)
        assert await anext(source) == second
    await source.aclose()  # type: ignore[attr-defined]  # it is a generator
