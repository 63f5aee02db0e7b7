"""What operator, router and profiler need of the Kubernetes API: requests, and lists that follow a watch.

The official client brings configuration, credentials and connections; objects are plain dictionaries.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kubernetes.aio import client, config

log = logging.getLogger(__name__)
Object = dict[str, Any]
_REQUEST = aiohttp.ClientTimeout(total=20)
_WATCH_S = 300
_WATCH = aiohttp.ClientTimeout(total=_WATCH_S + 20)
_CLOSING_S = 0.1
"""TLS connections say goodbye to each other after close() has returned."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0


class ApiError(Exception):
    """A request that failed; `status` is the HTTP status (0: there was no answer), the message the API server's own."""

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.status = status


async def connect() -> client.ApiClient:
    """Return a client for the cluster that this process runs in, or the one that KUBECONFIG names."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    return client.ApiClient()


class Kube:
    """Requests to the API server. Paths are those of the API, for example /api/v1/namespaces/x/pods.

    Requests raise ApiError.
    """

    def __init__(self, api: client.ApiClient, first_wait_s: float = _FIRST_WAIT_S) -> None:
        """Use a connected client; `first_wait_s` is the longest wait before a list is read again the first time."""
        self._api = api
        self._first_wait_s = first_wait_s

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()
        await asyncio.sleep(_CLOSING_S)

    async def get(self, path: str, **query: str) -> Object:
        """Return an object or a list."""
        return await self._call("GET", path, query)

    async def list_items(self, path: str, **query: str) -> list[Object]:
        """Return the objects of a collection."""
        items: list[Object] = (await self.get(path, **query))["items"]
        return items

    async def apply(self, path: str, document: Object, manager: str) -> Object:
        """Apply our fields by server-side apply, taking over those of others; return the object."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", path, query, document, "application/apply-patch+yaml")

    async def merge(self, path: str, document: Object) -> Object:
        """Merge a patch into an object; return the object."""
        return await self._call("PATCH", path, {}, document, "application/merge-patch+json")

    async def update(self, path: str, document: Object) -> Object:
        """Replace an object if it still has the document's resourceVersion (else the status is 409); return it."""
        return await self._call("PUT", path, {}, document)

    async def create(self, path: str, document: Object) -> Object:
        """Create an object in a collection; return it."""
        return await self._call("POST", path, {}, document)

    async def delete(self, path: str) -> None:
        """Delete an object, its children in the background; one that is gone already is no error."""
        try:
            await self._call("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def follow(self, path: str, **query: str) -> AsyncIterator[dict[str, Object]]:
        """Yield all objects of a list by "namespace/name", at first and after each change, for ever.

        A watch that ends is begun again from a new list, so that what was deleted meanwhile is not kept. Nothing is
        raised: what fails is logged and retried with growing waits.
        """
        wait = self._first_wait_s
        while True:
            try:
                listed = await self.get(path, **query)
                objects = {key(item): item for item in listed["items"]}
                yield objects
                wait = self._first_wait_s
                async for event, item in self._watch(path, query, listed["metadata"]["resourceVersion"]):
                    if event == "DELETED":
                        objects.pop(key(item), None)
                    else:
                        objects[key(item)] = item
                    yield objects
            except ApiError as error:
                log.warning("list or watch of %s: %s", path, error)
            except Exception as error:  # the connection broke in one of many ways
                log.warning("watch of %s broke off: %s %s", path, type(error).__name__, error)
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(_LONGEST_WAIT_S, 2 * wait)

    async def _watch(self, path: str, query: dict[str, str], version: str) -> AsyncIterator[tuple[str, Object]]:
        query = query | {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(_WATCH_S)}
        answer = await self._send("GET", path, query, limits=_WATCH)
        rest = b""
        try:
            if answer.status != 200:
                raise ApiError(answer.status, _message(await answer.read()))
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return  # usually "too old": the next list is new
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
        finally:
            answer.close()
            await asyncio.sleep(0)

    async def _call(
        self, method: str, path: str, query: dict[str, str], body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        try:
            answer = await self._send(method, path, query, body, kind)
            content = await answer.read()
        except config.ConfigException as error:
            raise ApiError(0, f"there are no credentials for the API server: {error}") from None
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise ApiError(0, f"the API server does not answer: {type(error).__name__} {error}") from None
        if not 200 <= answer.status < 300:
            raise ApiError(answer.status, _message(content))
        try:
            document: Object = json.loads(content)
        except ValueError:
            raise ApiError(answer.status, f"the API server's answer is no JSON: {_message(content)}") from None
        return document

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Object | None = None,
        kind: str = "application/json",
        limits: aiohttp.ClientTimeout = _REQUEST,
    ) -> aiohttp.ClientResponse:
        """Return the answer as soon as its head is there, whatever its status; `body` is sent as JSON of a kind."""
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if body is not None else {})
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response


def key(item: Object) -> str:
    """Return "namespace/name" of an object."""
    return f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:300].decode(errors="replace")
