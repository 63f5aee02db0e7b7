"""Every event of the workers' pods, also across the death of the API server: the watch goes on where it broke off."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

from control_plane import TOKEN, ControlPlane

_WATCH_S = 120
_AGAIN_S = 0.2
OnEvent = Callable[[str, dict[str, Any]], None]


class PodEvents:
    """Hands each event of worker pods on, in a thread: ADDED, MODIFIED or DELETED, and the pod."""

    def __init__(self, plane: ControlPlane, on_event: OnEvent, namespace: str = "") -> None:
        """Follow a namespace, or all."""
        self._address, self._port, self._on_event = plane.address, plane.ports["api"], on_event
        where = f"namespaces/{namespace}/" if namespace else ""
        self._path = f"/api/v1/{where}pods?labelSelector=hadis.dev%2Fcomponent%3Dworker"
        self._known: dict[str, dict[str, Any]] = {}
        self._connection: http.client.HTTPSConnection | None = None
        self._closed = threading.Event()
        self.listed = threading.Event()
        """Set once all that was there at first was handed on."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow no more."""
        self._closed.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(2)
        self._thread.join(10)

    def _run(self) -> None:
        version = ""
        while not self._closed.is_set():
            try:
                version = version or self._list()
                for event, item in self._watch(version):
                    version = item["metadata"]["resourceVersion"]
                    self._take(event, item)
            except _TooOldError:
                version = ""
            except (OSError, http.client.HTTPException, ValueError):
                self._closed.wait(_AGAIN_S)

    def _list(self) -> str:
        with self._get(self._path) as answer:
            listing = json.loads(answer.read())
        uids = {item["metadata"]["uid"] for item in listing["items"]}
        for uid in self._known.keys() - uids:
            self._take("DELETED", self._known[uid])
        for item in listing["items"]:
            self._take("MODIFIED" if item["metadata"]["uid"] in self._known else "ADDED", item)
        self.listed.set()
        return str(listing["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> Iterator[tuple[str, dict[str, Any]]]:
        path = f"{self._path}&watch=1&resourceVersion={version}&timeoutSeconds={_WATCH_S}&allowWatchBookmarks=true"
        with self._get(path) as answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _TooOldError
                yield event["type"], event["object"]

    def _take(self, event: str, item: dict[str, Any]) -> None:
        if event == "BOOKMARK":
            return
        if event == "DELETED":
            self._known.pop(item["metadata"]["uid"], None)
        else:
            self._known[item["metadata"]["uid"]] = item
        self._on_event(event, item)

    @contextlib.contextmanager
    def _get(self, path: str) -> Iterator[http.client.HTTPResponse]:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=_WATCH_S + 20, context=context)
        self._connection = connection
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            with connection.getresponse() as answer:
                if answer.status == 410:
                    raise _TooOldError
                if answer.status != 200:
                    raise http.client.HTTPException(f"{answer.status} {path}")
                yield answer


class _TooOldError(Exception):
    """The API server no longer has the events since then."""


def gpus_of(pod: dict[str, Any], resource: str = "nvidia.com/gpu") -> int:
    """Return the GPUs that a pod holds."""
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    limits = [container.get("resources", {}).get("limits", {}) for container in pod["spec"]["containers"]]
    return sum(int(limit.get(resource, 0)) for limit in limits)
