"""Images behind links in an S3-compatible store: every router reads them, and they outlive their router.

Objects are `hadis/ID` in one bucket. Nothing here deletes them: a lifecycle rule of the bucket does.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import S3Store

from hadis_router.dispatch import refusals
from hadis_router.http.links.settings import LinkSettings
from hadis_router.http.links.store import StoredImage
from hadis_router.http.store_metrics import StoreCounts

if TYPE_CHECKING:
    from obstore.store import S3Config

log = logging.getLogger(__name__)

_TIMEOUT = timedelta(seconds=10)


class S3Images:
    """Images in a bucket."""

    shared = True
    gone = "the store has deleted it before the link expired, as its lifecycle rule says; ask for it again"

    def __init__(self, settings: LinkSettings) -> None:
        """`settings` must name a bucket and its keys."""
        assert settings.s3_bucket is not None and settings.s3_access_key_id is not None
        assert settings.s3_secret_access_key is not None
        self.counts = StoreCounts()
        config: S3Config = {
            "region": settings.s3_region,
            "access_key_id": settings.s3_access_key_id,
            "secret_access_key": settings.s3_secret_access_key.get_secret_value(),
        }
        if settings.s3_endpoint is not None:
            config["endpoint"] = settings.s3_endpoint
        self._store = S3Store(
            settings.s3_bucket,
            config=config,
            client_options={"allow_http": True, "timeout": _TIMEOUT, "connect_timeout": _TIMEOUT},
            retry_config={"max_retries": 2, "retry_timeout": _TIMEOUT},
        )

    async def put(self, image_id: bytes, image: StoredImage) -> None:
        """Keep an image; raise ServeError 503 where the store does not take it."""
        try:
            await self._store.put_async(_name(image_id), image.content, attributes={"Content-Type": image.media_type})
        except (BaseError, OSError) as error:
            log.warning("the image store took no image: %s", _first_line(error))
            raise refusals.store_away() from None
        self.counts.stored += 1
        self.counts.stored_bytes += len(image.content)

    async def get(self, image_id: bytes) -> StoredImage | None:
        """Return an image, if there is one; raise ServeError 503 where the store does not answer."""
        try:
            stored = await self._store.get_async(_name(image_id))
            content = bytes(await stored.bytes_async())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            log.warning("the image store gave no image: %s", _first_line(error))
            raise refusals.store_away() from None
        return StoredImage(content, stored.attributes.get("Content-Type", "application/octet-stream"))


def link_key(settings: LinkSettings) -> bytes:
    """Return the key that signs links, the same at every router that has the store's secret."""
    assert settings.s3_secret_access_key is not None
    return sha256(b"hadis links " + settings.s3_secret_access_key.get_secret_value().encode()).digest()


def _name(image_id: bytes) -> str:
    return f"hadis/{image_id.hex()}"


def _first_line(error: Exception) -> str:
    """Return what happened; below it stands the library's own state."""
    return str(error).partition("\n")[0]
