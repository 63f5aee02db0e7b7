"""The Secret by which the parts of one service know each other: made once, kept, and put back where it was deleted.

It is the one child that is not applied from a document: what it holds stands nowhere else.
"""

from __future__ import annotations

import asyncio

from hadis.kube.client import ApiError, Kube
from hadis.protocol.secret import make_secret

from hadis_operator.child_writer import check_owner
from hadis_operator.children.common import SECRET_KEY, Manifest
from hadis_operator.read_views import secret_view

_LOOK_EVERY_S = 180.0


class ServiceSecret:
    """What one service's Secret holds."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        """Know nothing yet."""
        self._kube, self._path = kube, f"/api/v1/namespaces/{namespace}/secrets"
        self.value: str | None = None
        self._seen_at = 0.0

    def due(self) -> bool:
        """Return whether the Secret is to be looked at: it was not yet, or not for a while."""
        return self.value is None or asyncio.get_running_loop().time() - self._seen_at >= _LOOK_EVERY_S

    async def ensure(self, document: Manifest) -> None:
        """Make the Secret of a document, which says everything but what it holds, unless it is there.

        Raises NameTaken for another's of that name, ApiError.
        """
        try:
            secret = secret_view(await self._kube.get(f"{self._path}/{document['metadata']['name']}"))
        except ApiError as error:
            if error.status != 404:
                raise
            value = None
        else:
            check_owner(secret.owner, document)
            value = secret.token
        if value is None:
            value = self.value or make_secret()
            await self._kube.create(self._path, document | {"stringData": {SECRET_KEY: value}})
        self.value, self._seen_at = value, asyncio.get_running_loop().time()
