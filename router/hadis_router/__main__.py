"""`python -m hadis_router`: serve until SIGTERM, then finish what is under way and exit 0."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable

import uvicorn
from hadis.api.manifest import Manifest, ManifestError, read_manifest
from hadis.planning.profile import Profile
from hadis.protocol import keep_alive
from hadis.protocol.address import http_url
from hadis.protocol.run_state import RunState
from hadis.protocol.tracing import is_on, make_provider
from pydantic import ValidationError

from hadis_router.app import create_app
from hadis_router.difficulty.scorer import DifficultyScorer
from hadis_router.http.guarded_protocol import guarded
from hadis_router.http.keys import KeyRing
from hadis_router.plan_from_file import follow_file
from hadis_router.settings import RouterSettings


def main() -> int:
    """Run the router; return the exit code (1: it could not listen; 2: settings or manifest are wrong)."""
    logging.basicConfig(level=logging.INFO, format="router %(levelname)s %(message)s")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # else a line for every form that is refused
    try:
        settings = RouterSettings()
        logging.getLogger("hadis_router").setLevel(settings.log_level.upper())
        manifest = read_manifest(settings.manifest)
        keys = _keys(settings, manifest)
        scorer = DifficultyScorer(manifest.profile.spec.difficulty)
        traces = make_provider("hadis-router") if is_on(os.environ) else None
    except ValidationError as error:
        for item in error.errors():
            variable = "".join(f"HADIS_ROUTER_{str(part).upper()}: " for part in item["loc"][:1])
            print(f"router: {variable}{item['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    except (ManifestError, ValueError) as error:
        print(f"router: {error}", file=sys.stderr)
        return 2
    app = create_app(
        manifest,
        _source(settings, manifest),
        scorer,
        max_body_bytes=settings.max_body_bytes,
        max_image_body_bytes=settings.max_image_body_bytes,
        max_image_bytes_held=settings.max_image_bytes_held,
        with_page=settings.page,
        own_url=http_url(settings.address, settings.port) if settings.address else None,
        links=settings,
        jobs=settings,
        stopping=lambda: server.should_exit,
        keys=keys,
        prompt_file=settings.prompt_sample_file,
        secret=settings.secret.get_secret_value() if settings.secret else None,
        traces=traces,
    )
    config = uvicorn.Config(
        app,
        http=guarded(settings.max_connections),
        ws="none",
        timeout_keep_alive=keep_alive.SERVER_S,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # who may say for whom a request is, `http.access` decides
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    server = uvicorn.Server(config)
    gc.collect()
    gc.freeze()  # the tagger's model and the code stay: to look through them takes 60 ms, while everybody waits
    server.run()
    return 0 if server.started else 1


def _keys(settings: RouterSettings, manifest: Manifest) -> KeyRing | None:
    """Return the clients' API keys, None where everybody may come in; raise ValueError where they cannot be read."""
    keys = manifest.service.spec.access.keys
    if settings.keys is None and keys is None:
        return None
    path = settings.keys or (settings.manifest.parent / keys.file if keys and keys.file else None)
    if path is None:
        raise ValueError("access.keys: a Secret is for Kubernetes; name a file here, or set HADIS_ROUTER_KEYS")
    return KeyRing(path)


def _source(settings: RouterSettings, manifest: Manifest) -> Callable[[], AsyncIterator[RunState]]:
    """Return where plans and workers come from."""
    if settings.kubernetes is not None:
        from hadis_router.plan_from_kubernetes import follow_cluster  # its client is large; one machine needs none

        namespace, name = settings.kubernetes.split("/")
        profile = Profile(manifest.profile)
        return lambda: follow_cluster(namespace, name, list(profile.tiers), profile.slots)
    path = settings.state_file
    assert path is not None
    return lambda: follow_file(path)


if __name__ == "__main__":
    sys.exit(main())
