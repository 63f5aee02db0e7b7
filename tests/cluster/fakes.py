"""Fakes: a Prometheus whose counter rises as a test asks, a worker that is busy or not, a line that can be cut."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from control_plane import free_port


class _Server(ThreadingHTTPServer):
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class Demand:
    """A server that answers Prometheus' queries with a counter that rises at a rate that the test sets."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.rps, self.answer, self.age_s = 0.0, "", 0.0
        self._total, self._at = 0.0, 0.0
        self._server = _Server(("127.0.0.1", free_port()), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                now = time.time()
                outer._total += outer.rps * min(10.0, now - (outer._at or now))
                outer._at = now
                if self.path == "/exposition":
                    self.send_response(200)
                    self.send_header("content-type", "text/plain; version=0.0.4")
                    self.end_headers()
                    self.wfile.write(f"hadis_router_arrivals_total {outer._total}\n".encode())
                    return
                query = parse_qs(urlparse(self.path).query)["query"][0]
                value = now - outer.age_s if query.startswith("timestamp(") else outer._total
                result = [{"metric": {"pod": "r"}, "value": [now, str(value)]}]
                body = outer.answer or json.dumps(
                    {"status": "success", "data": {"resultType": "vector", "result": result}}
                )
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextlib.contextmanager
def worker_at(address: str, *, busy: bool) -> Iterator[None]:
    """Answer as a worker does at an address of this machine's loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"tiers": ["light"], "ready": True, "busy": busy}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server((address, 8100), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class RouterMetrics:
    """Answers as a router's /metrics at an address of this machine's loopback; a test sets how long it is idle."""

    def __init__(self, address: str) -> None:
        """Answer from now on."""
        self.idle_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                text = f"hadis_router_arrivals_total 1.0\nhadis_router_idle_seconds {outer.idle_s}\n"
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server((address, 8080), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


class Line:
    """Passes connections on to a port of this machine; can be cut."""

    def __init__(self, port: int) -> None:
        """Listen on a free port."""
        self._to, self._open = port, set[socket.socket]()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Break every connection; return how many there were. New ones may be made."""
        broken = list(self._open)
        for end in broken:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(broken) // 2

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for one, other in ((near, far), (far, near)):
                self._open.add(one)
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)
        one.close()
