"""What a router says of money: of the GPUs of its workers, at the service's price."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, Objective
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from test_api import PLAN, Instant, LengthScorer, make_manifest


def remote_heavy() -> Profile:
    document = profile_document()
    document["spec"]["tiers"][1]["remote"] = {"url": "https://images.example/v1", "slots": 2}
    del document["spec"]["tiers"][1]["tunable"]
    return Profile(CascadeProfile.read(document))


@pytest.mark.parametrize(("price", "gpus_per_worker", "money"), [(None, 1, None), (0.8, 1, 1.6), (0.8, 2, 3.2)])
async def test_the_gpus_of_workers_that_are_ready_cost_money(
    price: float | None, gpus_per_worker: int, money: float | None
) -> None:
    manifest = make_manifest(remote_heavy())
    pods = manifest.service.spec.worker.model_copy(update={"gpus_per_worker": gpus_per_worker})
    objective = Objective(latency="60s", gpu_price=price)
    spec = manifest.service.spec.model_copy(update={"objective": objective, "worker": pods})
    service = manifest.service.model_copy(update={"spec": spec})
    workers = (WorkerAddress("http://a", ("light",)), WorkerAddress("http://b", ("light",)))
    endpoint = WorkerAddress("http://c", ("heavy",))  # takes no GPU

    async def states() -> AsyncIterator[RunState]:
        yield RunState(PLAN, (*workers, endpoint))
        await asyncio.Event().wait()

    app = create_app(replace(manifest, service=service), states, LengthScorer(), Instant())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        assert app.state.gateway.money_per_hour == money
