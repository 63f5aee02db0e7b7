"""`python -m hadis_worker`: read the settings, serve until SIGTERM or SIGINT, finish what runs, exit 0.

Exit codes: 0 after a drain, 1 when the models cannot be loaded or a batch outlived the drain, 2 for bad settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from hadis.protocol.tracing import is_on

from hadis_worker.fetch import fetch
from hadis_worker.libraries import import_libraries
from hadis_worker.preload import preload
from hadis_worker.settings import Models, SettingsError, WorkerSettings, read_models

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from hadis_worker.batches import BatchEngine

log = logging.getLogger("hadis_worker")


def main() -> int:
    """Run a worker and return the exit code.

    With the word `fetch` only fetch its models, with `preload` import before being told which worker to be.
    """
    if sys.argv[1:] == ["preload"] and not preload(sys.stdin):
        return 0
    try:
        settings = WorkerSettings.read()
        models = read_models(settings)
        if sys.argv[1:] == ["fetch"]:
            return fetch(settings, models)
        traced = _is_traced()
        listener = _listen(settings.host, settings.port)
    except SettingsError as error:
        print(f"hadis_worker: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setLevel(settings.log_level.upper())  # of the libraries' lines some hold keys
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each probe of an endpoint
    return asyncio.run(_serve(settings, models, listener, traced=traced))


def _is_traced() -> bool:
    try:
        return is_on(os.environ)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _listen(host: str, port: int) -> socket.socket:
    """Take the address before anything slow; raise SettingsError where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"cannot listen on {host}:{port} (HADIS_WORKER_HOST, HADIS_WORKER_PORT): {reason}"
        ) from None


def keep_compiled(folder: Path) -> None:
    """Have torch keep in a folder what it compiles; where nobody may write there, it is compiled anew at each start."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("what torch compiles is not kept: %s", error)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)  # torch has no other way to say it


def _load_remote(models: Models) -> BatchEngine:
    from hadis_worker.remote_engine import RemoteEngine

    return RemoteEngine.load(models)


def server_config(app: FastAPI) -> uvicorn.Config:
    """Return how a worker's application is served."""
    import uvicorn
    from hadis.protocol import keep_alive

    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http="h11",  # the fast parser, where it is installed, bounds neither headers nor trailers
        timeout_keep_alive=keep_alive.SERVER_S,
        timeout_graceful_shutdown=10,
    )


async def _serve(settings: WorkerSettings, models: Models, listener: socket.socket, *, traced: bool) -> int:
    # Late, so that bad settings are reported at once.
    import uvicorn
    from hadis.protocol.tracing import make_provider

    from hadis_worker.app import create_app
    from hadis_worker.gpu import pick_device
    from hadis_worker.service import WorkerService

    class Server(uvicorn.Server):
        """Answers while it drains; uvicorn's own would close the door first and end with the signal's code."""

        drained: asyncio.Task[None] | None = None
        code = 0

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.drained is not None:
                self.force_exit = self.should_exit = True
                return
            self.drained = loop.create_task(self._drain())
            loop.call_soon_threadsafe(lambda: None)  # wakes the loop: a signal handler runs outside of it

        async def _drain(self) -> None:
            log.info("draining: what runs may take %s more", settings.drain_timeout)
            if not await worker.drain(settings.drain_timeout_s):
                log.error("the batch did not end in %s: left unfinished", settings.drain_timeout)
                self.code, self.force_exit = 1, True
            self.should_exit = True

        def fail(self) -> None:
            self.code, self.should_exit = 1, True

    def load() -> BatchEngine:
        if models.remote and models.discriminator is None:
            return _load_remote(models)  # without torch
        if settings.compile_cache is not None and any(tier.speed.compile != "off" for tier in models.tiers):
            keep_compiled(settings.compile_cache)
        import_libraries()
        import torch

        from hadis_worker.engine import Engine

        torch.set_num_threads(settings.thread_count)  # those of the thread that this runs in
        if models.remote:
            return _load_remote(models)
        return Engine.load(models, pick_device(settings.device))

    loop = asyncio.get_running_loop()
    traces = make_provider("hadis-worker") if traced else None
    worker = WorkerService(tuple(t.name for t in models.tiers), load, settings.thread_count, lambda: server.fail())
    app = create_app(worker, settings.secret.get_secret_value() if settings.secret else None, traces)
    server = Server(server_config(app))
    log.info("listening on %s:%d", *listener.getsockname()[:2])
    await server.serve([listener])
    return server.code


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that still loads or computes would keep the process for as long as that takes.
    os._exit(code)
