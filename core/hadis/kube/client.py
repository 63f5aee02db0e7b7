"""The little that router and operator need of the Kubernetes API: requests, and lists that follow a watch.

It sits on kubernetes_asyncio for configuration, credentials and connections; objects are plain dictionaries.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.rest import ApiException

log = logging.getLogger(__name__)
Object = dict[str, Any]
_REQUEST_S = 20.0
_WATCH_S = 300
_CLOSING_S = 0.1
"""TLS connections say goodbye to each other after close() has returned."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0


class ApiError(Exception):
    """The API server said no; `status` is its HTTP status, the message its own."""

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
    """Requests to the API server. Paths are those of the API, for example /api/v1/namespaces/x/pods."""

    def __init__(self, api: client.ApiClient) -> None:
        """Use a connected client."""
        self._api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()
        await asyncio.sleep(_CLOSING_S)

    async def get(self, path: str, **query: str) -> Object:
        """Return an object or a list."""
        return await self._call("GET", path, query)

    async def apply(self, path: str, document: Object, manager: str) -> Object:
        """Apply our fields by server-side apply, taking over those of others."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", path, query, document, "application/apply-patch+yaml")

    async def merge(self, path: str, document: Object) -> Object:
        """Merge a patch into an object."""
        return await self._call("PATCH", path, {}, document, "application/merge-patch+json")

    async def create(self, path: str, document: Object) -> Object:
        """Create an object in a collection."""
        return await self._call("POST", path, {}, document)

    async def delete(self, path: str) -> None:
        """Delete an object; what is gone already is gone."""
        try:
            await self._call("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def _call(
        self, method: str, path: str, query: dict[str, str], body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if body is not None else {})
        try:
            answer = await self._api.call_api(
                path, method, query_params=list(query.items()), header_params=headers, body=body,
                auth_settings=["BearerToken"], _preload_content=False, _request_timeout=_REQUEST_S,
            )  # fmt: skip
            content = await answer.read()
            code = answer.status
        except ApiException as error:
            body_text = error.body or ""
            code, content = error.status or 0, body_text if isinstance(body_text, bytes) else body_text.encode()
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise ApiError(0, f"the API server does not answer: {type(error).__name__} {error}") from None
        if not 200 <= code < 300:
            raise ApiError(code, _message(content))
        found: Object = json.loads(content)
        return found

    async def follow(self, path: str, **query: str) -> AsyncIterator[dict[str, Object]]:
        """Yield all objects of a list by "namespace/name", at first and after each change, for ever.

        A watch that breaks is begun again from a new list, so that what vanished meanwhile is not kept.
        """
        wait = _FIRST_WAIT_S
        while True:
            try:
                listed = await self.get(path, **query)
                objects = {key(item): item for item in listed["items"]}
                yield objects
                wait = _FIRST_WAIT_S
                async for event, item in self._watch(path, query, listed["metadata"]["resourceVersion"]):
                    if event == "DELETED":
                        objects.pop(key(item), None)
                    else:
                        objects[key(item)] = item
                    yield objects
            except ApiError as error:
                log.warning("list of %s: %s", path, error)
            except Exception as error:  # the connection broke in one of many ways
                log.warning("watch of %s broke off: %s %s", path, type(error).__name__, error)
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(_LONGEST_WAIT_S, 2 * wait)

    async def _watch(self, path: str, query: dict[str, str], version: str) -> AsyncIterator[tuple[str, Object]]:
        asked = query | {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(_WATCH_S)}
        answer = await self._api.call_api(
            path, "GET", query_params=list(asked.items()), header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"], _preload_content=False, _request_timeout=_WATCH_S + _REQUEST_S,
        )  # fmt: skip
        rest = b""
        try:
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return  # usually "too old": list anew
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
        finally:
            answer.close()
            await asyncio.sleep(0)


def key(item: Object) -> str:
    """Return "namespace/name" of an object."""
    return f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:300].decode(errors="replace")
