"""A real router in a thread, with workers that a test makes quick, slow or gone."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvicorn
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, DiffusionService
from hadis.api.status import PlanChange
from hadis.api.times import rfc3339
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis.protocol.worker import JobResult
from hadis_router.app import create_app
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.keys import KeyRing
from PIL import Image

TIERS = (TierPlan("light", 1, 4), TierPlan("heavy", 1, 4))
KEEPS = Plan("light", "heavy", 0.0, 0.0, TIERS, 1.0, 25.0, 1.0, 2.0, reason="a <b>calm</b> plan", generation=1)
DEFERS = Plan("light", "heavy", 0.0, 1.0, TIERS, 1.0, 21.0, 1.0, 2.0, reason="time to spare", generation=2)
COLOURS = {"light": "orange", "heavy": "teal"}


class Scorer:
    """Counts characters."""

    async def score_off_loop_if_long(self, prompt: str) -> float:
        """Return the length."""
        return float(len(prompt))


class PageRouter:
    """Starts and stops on one port; `delay_s` is how long a batch takes."""

    def __init__(self, profile: Profile) -> None:
        """Choose a port."""
        self.profile, self.plan, self.workers, self.delay_s, self.limit = profile, KEEPS, 2, 0.0, 100
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.keys: KeyRing | None = None
        self.url = f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Serve."""
        objective = {"latency": "8s", "gpuPrice": 0.8}
        spec = {"profile": "two", "objective": objective, "gpus": {"max": 2}, "queue": {"limit": self.limit}}
        service = DiffusionService.read(
            {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
        )
        manifest = Manifest(service, self.profile.resource, Path())
        self._app = create_app(
            manifest, self._states, Scorer(), self, stopping=lambda: self._server.should_exit, keys=self.keys
        )
        config = uvicorn.Config(self._app, port=self.port, log_level="error", timeout_graceful_shutdown=3)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop, as on SIGTERM."""
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def learn(self, worker: str, tier: str, ratio: float) -> None:
        """Have it learn from a batch that took `ratio` times the profile's time."""
        estimates, seconds = self._app.state.gateway.dispatcher.estimates, ratio * self.profile.latency_s(tier, 1)
        self._loop.call_soon_threadsafe(estimates.learn, worker, tier, 1, False, seconds)

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        """Return one picture per job, in the colour of the tier."""
        await asyncio.sleep(self.delay_s)
        confidence = 0.4 if discriminate else None
        return [
            (JobResult(id=job.id, confidence=confidence, service_s=self.delay_s), _picture(tier, job.params.format))
            for job in jobs
        ]

    async def _states(self) -> AsyncIterator[RunState]:
        self._loop = asyncio.get_running_loop()
        while True:
            workers = tuple(WorkerAddress(f"http://w{i}", ("light", "heavy")) for i in range(self.workers))
            changes = (PlanChange(time=rfc3339(time.time()), summary="light + heavy", reason=self.plan.reason),)
            yield RunState(self.plan, workers, 2.5, 3.0, changes)
            await asyncio.sleep(0.1)


def _picture(tier: str, image_format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), COLOURS[tier]).save(file, image_format)
    return file.getvalue()
