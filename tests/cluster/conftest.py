"""One control plane for all tests of this folder; each test has a namespace and an operator of its own."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from control_plane import CHART, ControlPlane, Operator, free_port, running, wait_for
from looking import BudgetWatch

_numbers = itertools.count()


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A control plane with two nodes of eight GPUs and the CRDs."""
    with running() as found:
        for i in range(2):
            found.add_gpu_node(f"gpu-{i}", 8)
        for path in sorted((CHART.parents[1] / "crds").iterdir()):
            found.kubectl("apply", "-f", str(path))
        wait_for(lambda: found.kubectl("get", "dsvc", check=False).returncode == 0, 20, "the CRDs")
        yield found


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace that goes with the test."""
    name = f"t{next(_numbers)}"
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def budget(plane: ControlPlane, namespace: str) -> Iterator[BudgetWatch]:
    """Watches the GPUs that the namespace's workers hold."""
    found = BudgetWatch(plane, namespace)
    yield found
    found.close()


class Demand:
    """A server that answers Prometheus' queries with a counter that rises at a rate that the test sets."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.rps, self.answer, self.age_s = 0.0, "", 0.0
        self._total, self._at = 0.0, 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._handler())
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


@pytest.fixture
def demand() -> Iterator[Demand]:
    """A stand-in for Prometheus, for tests of what the operator makes of its answers."""
    found = Demand()
    yield found
    found.close()


StartOperator = Callable[..., Operator]


@pytest.fixture
def start_operator(plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[StartOperator]:
    """Install the chart for this namespace and return what starts the operator under its ServiceAccount."""
    plane.helm("install", "hadis", str(CHART), "-n", namespace, "--set", f"watchNamespaces={{{namespace}}}",
               "--set", "crds.enabled=false")  # fmt: skip
    started: list[Operator] = []

    def start(**env: str) -> Operator:
        config = plane.account_config(namespace, "hadis")
        operator = Operator(config, tmp_path / "operator.log", f"--namespace={namespace}", **env)
        operator.start()
        started.append(operator)
        return operator

    yield start
    for operator in started:
        operator.stop()
    log = tmp_path / "operator.log"
    if log.exists():
        print(log.read_text()[-8000:])
    plane.helm("uninstall", "hadis", "-n", namespace)
