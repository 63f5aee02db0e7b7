"""Traces are on by the standard variables alone, and reach a collector; one that is away costs nothing."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hadis.api.manifest import read_manifest
from hadis.api.tracing import Tracing, trace_variables
from hadis.cli.up import Machine
from hadis.protocol.tracing import end_traces, is_on, make_provider
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SCENES = Path(__file__).parents[2] / "examples/scenes.yaml"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (trace_variables(Tracing(endpoint="http://collector:4318"), {}), True),
        (trace_variables(None, {}), False),
    ],
)
def test_an_endpoint_turns_traces_on(environment: dict[str, str], on: bool) -> None:
    assert is_on(environment) is on


def test_what_cannot_be_sent_is_said() -> None:
    with pytest.raises(ValueError, match="not by grpc"):
        is_on(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_that_the_library_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValueError, match=r"pip install 'hadis\[tracing\]'"):
        is_on(ENDPOINT)


class Collector(HTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[tuple[str, bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_collector_gets_the_spans_with_where_they_are_from(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}", sample_ratio=1)
    for name, value in trace_variables(tracing, {"hadis.service": "images"}).items():
        monkeypatch.setenv(name, value)
    provider = make_provider("hadis-router")
    provider.get_tracer("t").start_span("admission").end()
    await end_traces(provider)
    [(path, body)] = collector.bodies
    assert path == "/v1/traces"
    (of_process,) = ExportTraceServiceRequest.FromString(body).resource_spans
    said = {item.key: item.value.string_value for item in of_process.resource.attributes}
    assert (said["service.name"], said["hadis.service"]) == ("hadis-router", "images")
    assert [span.name for scope in of_process.scope_spans for span in scope.spans] == ["admission"]


async def test_where_the_collector_is_away_spans_are_dropped_and_the_process_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    provider = make_provider("hadis-router")
    tracer = provider.get_tracer("t")
    for _ in range(1000):
        tracer.start_span("admission").end()
    async with asyncio.timeout(20):
        await end_traces(provider)


def test_sampling_and_where_spans_are_from_are_variables() -> None:
    variables = trace_variables(Tracing(endpoint="http://c:4318", sample_ratio=0.1), {"a": "b", "c": "d"})
    assert variables["OTEL_TRACES_SAMPLER_ARG"] == "0.1"
    assert variables["OTEL_RESOURCE_ATTRIBUTES"] == "a=b,c=d"


def test_on_one_machine_the_manifest_turns_them_on_and_the_environment_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    read = read_manifest(SCENES)
    traced = read.service.spec.model_copy(update={"tracing": Tracing(endpoint="http://c:4318")})
    manifest = replace(read, service=read.service.model_copy(update={"spec": traced}))
    for started, on in ((read, False), (manifest, True)):
        machine = Machine(started, SCENES, tmp_path, "127.0.0.1", 1, (None,), print)
        for environment in (machine._router(tmp_path).environment, machine.places()[0].environment):
            assert ("OTEL_EXPORTER_OTLP_ENDPOINT" in environment) is on
            assert "OTEL_TRACES_SAMPLER_ARG" not in environment
