"""Links: images are kept, signed URLs lead to them for a while."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hadis.protocol.worker import MEDIA_TYPES, Format

from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.peers import ANY_ROUTER, router_tag
from hadis_router.http.links import tokens
from hadis_router.http.links.settings import LinkSettings
from hadis_router.http.links.store import ImageStore, MemoryImages, StoredImage

PATH = "/v1/hadis/images/"


class Link(NamedTuple):
    """An image's URL and the Unix time (seconds) of its end."""

    url: str
    expires_at: int


class ImageLinks:
    """What makes and reads links; one per router."""

    def __init__(
        self,
        settings: LinkSettings,
        own_url: str | None,
        store: ImageStore | None = None,
        key: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`store` is this router's memory if left out; `key` signs, and must be one for all routers of a shared store.

        `clock` gives Unix time: links are read by other processes than made them.
        """
        self.settings, self._clock = settings, clock
        self._store = store or MemoryImages(settings.image_bytes, settings.image_count, settings.link_expires_s)
        self._key = key or secrets.token_bytes(32)
        self.counts = self._store.counts
        self.tag = ANY_ROUTER if self._store.shared else router_tag(own_url)

    async def save(self, base_url: str, images: Sequence[bytes], image_format: Format) -> list[Link]:
        """Keep images and return their links below `base_url`; raise ServeError where the store takes none."""
        expires_at = int(self._clock() + self.settings.link_expires_s)
        links = []
        for content in images:
            image_id = tokens.new_id()
            await self._store.put(image_id, StoredImage(content, MEDIA_TYPES[image_format]))
            text = tokens.sign(self._key, tokens.Token(self.tag, image_id, expires_at))
            links.append(Link(f"{base_url}{PATH}{text}.{image_format}", expires_at))
        return links

    def owner(self, name: str) -> bytes | None:
        """Return the tag of the router that keeps an image by its link's name; None where it may be this one."""
        read = tokens.read(_stem(name))
        return None if read is None or read[0].router == self.tag else read[0].router

    async def image(self, name: str) -> tuple[StoredImage, int]:
        """Return the image of a link by its name, and for how many seconds more; raise ServeError 404 in words."""
        read = tokens.read(_stem(name))
        if read is None or not tokens.is_signed(self._key, *read[1:]):
            raise _gone("there is no image at this address; a router that restarts forgets its images")
        token, left_s = read[0], int(read[0].expires_at - self._clock())
        if left_s <= 0:
            lived = f"{self.settings.link_expires_s:g} s"
            raise _gone(f"the link has expired, as all do after {lived}; ask for the image again")
        image = await self._store.get(token.image)
        if image is None:
            raise _gone(self._store.gone)
        return image, left_s


def links_of(settings: LinkSettings, own_url: str | None) -> ImageLinks:
    """Return the links of a router, whose images are where its settings say."""
    if settings.s3_bucket is None:
        return ImageLinks(settings, own_url)
    from hadis_router.http.links.s3 import S3Images, link_key  # its client is large; memory needs none

    return ImageLinks(settings, own_url, S3Images(settings), link_key(settings))


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _gone(message: str) -> ServeError:
    return ServeError(404, "image_gone", message)
