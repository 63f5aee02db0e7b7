"""The worker's HTTP surface: generate, status, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request, Response
from hadis.wire import CONTENT_TYPE, GenerateBatch, WorkerStatus
from starlette.responses import JSONResponse

from hadis_worker.engine import BatchError, UnknownTierError
from hadis_worker.metrics import Metrics
from hadis_worker.pipelines import LoadError
from hadis_worker.service import BusyError, NotReadyError, Worker

log = logging.getLogger(__name__)
_MOST_BODY_BYTES = 64_000_000


def create_app(worker: Worker, metrics: Metrics, drain_s: float, give_up: Callable[[], None]) -> FastAPI:
    """Return the application; `give_up` is called where the models cannot be loaded."""

    async def load() -> None:
        try:
            await worker.start()
        except LoadError as error:
            log.error("%s", error)
            give_up()
        except Exception:
            log.exception("the models cannot be loaded")
            give_up()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        yield
        loading.cancel()
        await worker.drain(drain_s)

    app = FastAPI(title="HADIS worker", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/generate")
    async def generate(request: Request) -> Response:
        """Make a batch; 409 at once while another one runs."""
        body = await request.body()
        if len(body) > _MOST_BODY_BYTES:
            return _error(413, f"the body is larger than {_MOST_BODY_BYTES} bytes")
        try:
            batch = GenerateBatch.model_validate_json(body)
            return Response(await worker.generate(batch), media_type=CONTENT_TYPE)
        except BusyError as error:
            return _error(409, str(error))
        except NotReadyError as error:
            return _error(503, str(error))
        except UnknownTierError as error:
            return _error(404, str(error))
        except ValueError as error:  # pydantic's and BatchError
            words = str(error) if isinstance(error, BatchError) else " ".join(str(error).split())[:300]
            return _error(400, words)

    @app.get("/status")
    async def status() -> WorkerStatus:
        """Say which tiers are resident, whether a batch runs, and what the GPU uses."""
        return worker.status()

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """Say that the process lives; 503 where only a new one can help."""
        return _error(503, worker.broken) if worker.broken else JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Say whether batches are taken."""
        return JSONResponse({"status": "ok"}) if worker.ready else _error(503, "loading or stopping")

    @app.get("/metrics")
    async def exposition() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
