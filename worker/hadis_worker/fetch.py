"""`python -m hadis_worker fetch`: fetch a worker's models from the hub, and end; the worker then starts offline.

It runs in an init container. What several pods on one volume fetch is fetched once: the hub's client locks each file
there, and who comes second finds it whole. Its progress is served on the worker's port, which nobody else needs yet.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hadis.api.tier import Tier
from hadis.protocol.fetch import FETCH, FetchProgress

from hadis_worker.errors import LoadError
from hadis_worker.settings import Models, WorkerSettings

log = logging.getLogger("hadis_worker")
_INCOMPLETE = ".incomplete"


def fetch(settings: WorkerSettings, models: Models) -> int:
    """Fetch the models of every tier; return 0, or 1 after one line (the last on stderr) that says what failed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for client in ("httpx", "httpx2"):  # a line for each request
        logging.getLogger(client).setLevel(logging.WARNING)
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = [Path(HF_HUB_CACHE, f"models--{name.replace('/', '--')}") for name in sorted(_repositories(models))]
    with _serving(settings.host, settings.port, caches):
        # Late: it imports torch, and the progress is asked for before.
        from hadis_worker.loading.tiers import fetch_tier

        try:
            for tier in models.tiers:
                if tier.remote is None:
                    fetch_tier(tier, models.folder)
                    log.info("tier %s is there: %s", tier.name, progress(caches).model_dump_json())
        except LoadError as error:
            print(f"hadis_worker: {error}{_words_of_hub(error)}", file=sys.stderr)
            return 1
    return 0


def progress(caches: list[Path]) -> FetchProgress:
    """Return what is in the hub's cache folders of some repositories."""
    sizes: list[tuple[bool, int]] = []
    for cache in caches:
        for path in cache.glob("blobs/*"):
            with contextlib.suppress(OSError):  # moved to its place meanwhile
                sizes.append((path.suffix != _INCOMPLETE, path.stat().st_size))
    return FetchProgress(files=sum(whole for whole, _ in sizes), bytes=sum(size for _, size in sizes))


def _repositories(models: Models) -> set[str]:
    return {name for tier in models.tiers for name in _models_of(tier) if not (models.folder / name).is_dir()}


def _models_of(tier: Tier) -> Iterator[str]:
    yield tier.model
    yield from (part.model for part in tier.components.values())
    yield from (lora.model for lora in tier.loras)
    yield tier.safety


def _words_of_hub(error: BaseException) -> str:
    """Return what the hub itself answered, if it was the hub."""
    from huggingface_hub.errors import HfHubHTTPError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            said = " ".join((cause.server_message or "").split())
            return f"; the hub says {cause.response.status_code}{f': {said}' if said else ''}"
        cause = cause.__cause__ or cause.__context__
    return ""


@contextlib.contextmanager
def _serving(host: str, port: int, caches: list[Path]) -> Iterator[None]:
    """Answer GET /fetch with the progress; where the port cannot be had, fetch all the same."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            known = self.path == f"/{FETCH}"
            body = progress(caches).model_dump_json().encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: it is asked every few seconds."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        log.warning("the progress is not told: cannot listen on %s:%d: %s", host, port, error)
        yield
        return
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
