"""The first batch of a worker waits for no import: in a process of its own, for others may have imported all of it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, sys
import httpx
from PIL import Image
from hadis.api.tier import BatchLatency, Tier
from hadis.protocol.worker import JobResult
from hadis_worker.app import create_app
from hadis_worker.service import WorkerService


class Engine:
    device, abilities, out_of_memory_total, broken, unavailable = "cpu", {}, 0, None, None

    def check(self, batch):
        return Tier(name="t", model="m", steps=2, size="8x8", latency=(BatchLatency(batch=1, seconds=1),))

    def generate(self, batch, steps):
        return [(JobResult(id=job.id, service_s=1.0), Image.new("RGB", (8, 8))) for job in batch.jobs]

    async def watch(self):
        pass


async def main():
    worker = WorkerService(("t",), Engine, 1, print)
    app = create_app(worker)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker")
    async with app.router.lifespan_context(app):
        for _ in range(1000):
            if (await http.get("/readyz")).is_success:
                break
            await asyncio.sleep(0.01)
        before = set(sys.modules)
        answer = await http.post("/generate", json={"tier": "t", "jobs": [{"id": "0", "prompt": "p", "seed": 0}]})
        print(answer.status_code, *sorted(set(sys.modules) - before))


asyncio.run(main())
"""


def test_the_first_batch_imports_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.stdout == "200\n", done.stderr
