"""`python -m hadis_router`: serve until SIGTERM, then finish what is under way and exit 0."""

from __future__ import annotations

import logging
import sys

import uvicorn
from hadis.manifest import ManifestError, read_manifest
from pydantic import ValidationError

from hadis_router.app import create_app
from hadis_router.difficulty import DifficultyScorer
from hadis_router.settings import Settings
from hadis_router.sources import follow_file


def main() -> int:
    """Run the router; return the exit code (2: settings or manifest are wrong)."""
    logging.basicConfig(level=logging.INFO, format="router %(levelname)s %(message)s")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    try:
        settings = Settings()
        manifest = read_manifest(settings.manifest)
        scorer = DifficultyScorer(manifest.profile.spec.difficulty)
    except ValidationError as error:
        for item in error.errors():
            print(f"router: HADIS_ROUTER_{str(item['loc'][0]).upper()}: {item['msg']}", file=sys.stderr)
        return 2
    except (ManifestError, ValueError) as error:
        print(f"router: {error}", file=sys.stderr)
        return 2
    app = create_app(manifest, lambda: follow_file(settings.state_file), scorer, max_body_bytes=settings.max_body_bytes)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
