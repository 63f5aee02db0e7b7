"""A server that speaks as much of the hub's API as its client asks for, over folders; it counts what it gives."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


class FakeHub:
    """Repositories by name, each a folder; a context manager."""

    def __init__(
        self,
        repositories: dict[str, Path],
        gated: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """`gated` are repositories that only the token `good` may read. `tls` makes it an https server."""
        self.repositories, self.gated = repositories, gated
        self.given: Counter[str] = Counter()
        """How often each file was sent, by repository and name."""
        self.wait_s = 0.0
        """How long each file takes."""
        self._server = ThreadingHTTPServer((host, 0), self._handler())
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://{host}:{self.port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        """Answer one request."""
        parts = unquote(urlsplit(request.path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        if api:
            parts = parts[2:]
        name = "/".join(parts[:2])
        if name not in self.repositories:
            return _refuse(request, 404, "RepoNotFound", "Repository not found")
        if name in self.gated and request.headers.get("authorization") != "Bearer good":
            text = f"Access to model {name} is restricted. You must be authenticated to access it."
            return _refuse(request, 401, "GatedRepo", text)
        if api:
            return self._describe(request, name, parts[2:])
        _, revision, *path = parts[2:]
        if revision not in ("main", "v1", COMMIT):
            return _refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self._file(request, name, "/".join(path), body=body)

    def _describe(self, request: BaseHTTPRequestHandler, name: str, parts: list[str]) -> None:
        folder = self.repositories[name]
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if parts[1:2] and parts[1] not in ("main", "v1", COMMIT):
            return _refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {parts[1]}")
        if parts[:1] == ["tree"]:
            document: Any = [
                {"type": "file", "path": str(p.relative_to(folder)), "size": p.stat().st_size, "oid": _tag(p)}
                for p in files
            ]
        else:
            document = {
                "id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0,
                "siblings": [{"rfilename": str(path.relative_to(folder))} for path in files],
            }  # fmt: skip
        return _send(request, json.dumps(document).encode(), {"content-type": "application/json"})

    def _file(self, request: BaseHTTPRequestHandler, name: str, file: str, *, body: bool) -> None:
        path = self.repositories[name] / file
        if not path.is_file():
            return _refuse(request, 404, "EntryNotFound", "Entry not found")
        headers = {"etag": f'"{_tag(path)}"', "x-repo-commit": COMMIT, "accept-ranges": "bytes"}
        if body:
            self.given[f"{name}/{file}"] += 1
            time.sleep(self.wait_s)
        return _send(request, path.read_bytes(), headers, body=body)


def _tag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _refuse(request: BaseHTTPRequestHandler, status: int, code: str, text: str) -> None:
    headers = {"x-error-code": code, "x-error-message": text}
    _send(request, json.dumps({"error": text}).encode(), headers, status, body=request.command != "HEAD")


def _send(
    request: BaseHTTPRequestHandler, content: bytes, headers: dict[str, str], status: int = 200, *, body: bool = True
) -> None:
    request.send_response(status)
    for name, value in (headers | {"content-length": str(len(content))}).items():
        request.send_header(name, value)
    request.end_headers()
    if body:
        request.wfile.write(content)
