"""`python -m hadis_worker`: load, serve until SIGTERM, finish the batch that runs, exit 0."""

from __future__ import annotations

import logging
import os
import sys

import uvicorn

from hadis_worker.settings import Settings, SettingsError, read_models


def main() -> int:
    """Run the worker; return the exit code (1: models cannot be loaded, 2: settings are wrong)."""
    logging.basicConfig(level=logging.INFO, format="worker %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings.read()
        models = read_models(settings)
    except SettingsError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.thread_count))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

    # After the settings: torch takes seconds to import, and a wrong setting should not.
    import torch

    from hadis_worker.app import create_app
    from hadis_worker.engine import Engine
    from hadis_worker.gpu import Gpu, pick_device
    from hadis_worker.metrics import Metrics
    from hadis_worker.service import Worker

    torch.set_num_threads(settings.thread_count)
    try:
        device = pick_device(settings.device)
    except ValueError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    gpu = Gpu(device)
    metrics = Metrics(gpu)
    worker = Worker(lambda: Engine.load(models, device), gpu, metrics, settings.thread_count)
    failed = []

    def give_up() -> None:
        failed.append(True)
        server.should_exit = True

    app = create_app(worker, metrics, settings.drain_timeout_s, give_up)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_timeout_s) + 1,
    )
    server = uvicorn.Server(config)
    server.run()
    return 1 if failed or not server.started else 0


if __name__ == "__main__":
    sys.exit(main())
