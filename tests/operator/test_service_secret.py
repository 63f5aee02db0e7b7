"""The Secret of a service: made once, kept, put back; and who gets it."""

from __future__ import annotations

import asyncio
import base64

from fake_kube import FakeKube
from hadis.kube.client import ApiError, Object
from hadis_operator.children.common import Owner, service_secret
from hadis_operator.service_secret import ServiceSecret
from kube_objects import NAMESPACE
from virtual import virtual

DOCUMENT = service_secret(Owner("images", NAMESPACE, "u"))
PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets/{DOCUMENT['metadata']['name']}"


class Secrets(FakeKube):
    """Knows what is not there."""

    async def get(self, path: str, **query: str) -> Object:
        if path not in self.objects:
            raise ApiError(404, "not found")
        return self.objects[path]


def held(kube: FakeKube) -> str:
    return base64.b64decode(kube.objects[PATH]["data"]["token"]).decode()


@virtual
async def test_it_is_made_once_and_read_by_the_next_operator() -> None:
    kube = Secrets()
    first, second = ServiceSecret(kube, NAMESPACE), ServiceSecret(kube, NAMESPACE)
    for secret in (first, first, second):
        await secret.ensure(DOCUMENT)
    assert len(kube.of("create")) == 1
    assert first.value == second.value == held(kube)
    assert len(held(kube)) >= 32


@virtual
async def test_one_that_was_deleted_comes_back_as_it_was() -> None:
    kube = Secrets()
    secret = ServiceSecret(kube, NAMESPACE)
    await secret.ensure(DOCUMENT)
    before = held(kube)
    del kube.objects[PATH]
    await asyncio.sleep(181)
    await secret.ensure(DOCUMENT)
    assert held(kube) == before
