"""A real Prometheus as a process, and targets for it, for tests of queries, alerts and scrape configurations."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from binaries import binary
from control_plane import free_port, wait_for
from prometheus_client.parser import text_string_to_metric_families


class Exposition:
    """A target whose counters rise from scrape to scrape."""

    def __init__(self, text: str) -> None:
        self.families = [family for family in text_string_to_metric_families(text) if family.name.startswith("hadis_")]
        self.scrapes = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.text().encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def text(self) -> str:
        self.scrapes += 1
        lines = []
        for family in self.families:
            rise = 1000 * self.scrapes if family.type in ("counter", "histogram") else 0
            for sample in family.samples:
                labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
                lines.append(f"{sample.name}{{{labels}}} {sample.value + rise}\n")
        return "".join(lines)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Yield the address of a Prometheus that has started with a configuration, and keeps its data in a folder."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        str(binary("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    read_log = (folder / "prometheus.log").read_text
    try:
        wait_for(lambda: "Server is ready" in read_log() or process.poll() is not None, 20, "Prometheus")
        assert process.poll() is None, read_log()[-2000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def query(address: str, expression: str) -> list[dict[str, Any]]:
    """Return the series of an instant query."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result
