"""Credentials for Prometheus: where they come from, how they are shown, and that they are told nowhere."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_kube import FakeKube
from hadis.api.prometheus import NO_USER, Prometheus
from hadis.kube.client import ApiError
from hadis.planning.snapshot import Problem
from hadis_operator.credential_sources import CredentialSource
from hadis_operator.credentials import make_credentials
from hadis_operator.demand_reader import DemandReader
from hadis_operator.demand_sources import DemandError
from hadis_operator.settings import OperatorSettings
from hadis_operator.views import service_view
from kube_objects import NAMESPACE, service_object
from pydantic import ValidationError
from virtual import virtual

SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
BASIC: dict[str, Any] = {
    "basicAuth": {"username": {"name": "access", "key": "user"}, "password": {"name": "access", "key": "word"}},
}
TOKEN: dict[str, Any] = {"bearerToken": {"name": "access", "key": "token"}}


def kube(**data: str | bytes) -> FakeKube:
    """Return an API server with a Secret `access`."""
    fake = FakeKube()
    raw = {key: value if isinstance(value, bytes) else value.encode() for key, value in data.items()}
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in raw.items()}
    fake.put(f"{SECRETS}/access", {"metadata": {"name": "access"}, "data": encoded})
    return fake


def prometheus(address: str = "https://prometheus:9090", **access: Any) -> Prometheus:
    return Prometheus.read({"address": address, "query": "arrivals", **access})


class Missing(FakeKube):
    """An API server without any Secret, which counts the questions."""

    reads = 0

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        self.reads += 1
        raise ApiError(404, "not found")


async def test_a_user_and_a_password_or_a_token_are_shown() -> None:
    api = kube(user="ann\n", word="pä:ss\n", token="t0ken\n")
    shown = await CredentialSource(api, NAMESPACE, "").get(prometheus(**BASIC))
    pair = base64.b64encode("ann:pä:ss".encode()).decode()
    assert shown.headers == {"authorization": f"Basic {pair}"}
    shown = await CredentialSource(api, NAMESPACE, "").get(prometheus(**TOKEN))
    assert (shown.headers, shown.tls) == ({"authorization": "Bearer t0ken"}, True)
    assert (await CredentialSource(api, NAMESPACE, "").get(prometheus())).headers == {}


async def test_the_charts_secret_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    shown = await CredentialSource(FakeKube(), NAMESPACE, str(tmp_path)).get(None)
    assert shown.headers == {"authorization": "Bearer t0ken"}
    # They are for the chart's address: a service that names another gets nothing of them.
    assert (await CredentialSource(FakeKube(), NAMESPACE, str(tmp_path)).get(prometheus())).headers == {}


@pytest.mark.parametrize(
    ("data", "access", "reason", "said"),
    [
        (None, TOKEN, "SecretMissing", f"there is no Secret access in namespace {NAMESPACE}"),
        ({"other": "x"}, TOKEN, "SecretMissing", "the Secret access has no key token"),
        ({"token": " \n"}, TOKEN, "BadSecret", "the token for Prometheus is empty"),
        ({"token": "s3cret\nX-Evil: 1"}, TOKEN, "BadSecret", "spaces or line breaks"),
        ({"token": b"s3cret\xff"}, TOKEN, "BadSecret", "the token for Prometheus is no text"),
        ({"token": "s3crét"}, TOKEN, "BadSecret", "is no text"),
        ({"user": "a:b", "word": "s3cret"}, BASIC, "BadSecret", "a username without a colon"),
        ({"ca": "s3cret"}, {"tls": {"ca": {"name": "access", "key": "ca"}}}, "BadSecret", "of ca.crt for Prometheus"),
        (
            {"cert": "s3cret", "key": "s3cret"},
            {"tls": {"certificate": {"name": "access", "key": "cert"}, "key": {"name": "access", "key": "key"}}},
            "BadSecret",
            "of tls.crt, tls.key for Prometheus, not all is PEM",
        ),
    ],
)
async def test_what_cannot_be_shown_is_named(
    data: dict[str, Any] | None, access: dict[str, Any], reason: str, said: str
) -> None:
    source = CredentialSource(Missing() if data is None else kube(**data), NAMESPACE, "")
    with pytest.raises(DemandError, match=said) as error:
        await source.get(prometheus(**access))
    assert error.value.reason == reason
    assert "s3cr" not in str(error.value)


@virtual
async def test_secrets_are_read_now_and_then_and_soon_after_they_were_refused() -> None:
    api = kube(token="one")
    source = CredentialSource(api, NAMESPACE, "")
    first = await source.get(prometheus(**TOKEN))
    api.put(f"{SECRETS}/access", {"metadata": {"name": "access"}, "data": {"token": base64.b64encode(b"two").decode()}})
    await asyncio.sleep(60)
    assert await source.get(prometheus(**TOKEN)) is first
    source.doubt()
    await asyncio.sleep(29)
    assert await source.get(prometheus(**TOKEN)) is first
    await asyncio.sleep(1)
    second = await source.get(prometheus(**TOKEN))
    assert second.headers == {"authorization": "Bearer two"}
    await asyncio.sleep(300)
    assert await source.get(prometheus(**TOKEN)) is second  # read again, and the same: connections are kept


@virtual
async def test_a_secret_that_is_missing_is_not_looked_for_at_every_step() -> None:
    api = Missing()
    source = CredentialSource(api, NAMESPACE, "")
    for _ in range(60):
        with pytest.raises(DemandError):
            await source.get(prometheus(**TOKEN))
        await asyncio.sleep(1)
    assert api.reads == 2


async def test_what_a_server_sends_back_of_them_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def echo(request: web.Request) -> web.Response:
        shown = request.headers["authorization"]
        labels = {"said": shown}
        if request.path.startswith("/labels"):
            result = [{"metric": labels, "value": [1.0, "-1"]}]
            return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})
        if request.path.startswith("/refused"):
            return web.Response(status=401, text=shown)
        return web.json_response({"status": "error", "error": f"you said {shown}"})

    app = web.Application()
    app.router.add_get("/{tail:.*}", echo)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        for access in (TOKEN, BASIC):
            for path, reason in (("", "QueryFailed"), ("/labels", "NegativeSample"), ("/refused", "Unauthorized")):
                api = kube(user="ann", word="s3cret", token="s3cret")
                reader = DemandReader(f"{NAMESPACE}/images", OperatorSettings(), api, http, lambda: 1.0)
                spec = {"prometheus": {"address": f"http://127.0.0.1:{server.port}{path}", **access}}
                service = service_view(service_object(metrics=spec)).spec
                assert not isinstance(service, Problem)
                problem = await reader.read(service, [], None)
                assert isinstance(problem, Problem)
                assert problem.reason == reason
                pair = base64.b64encode(b"ann:s3cret").decode()
                assert "s3cret" not in problem.message and pair not in problem.message
                assert ("***" in problem.message) == (reason != "Unauthorized")
    assert "s3cret" not in caplog.text


def test_they_are_in_no_repr() -> None:
    assert "s3cret" not in repr(make_credentials({"username": b"ann", "password": b"s3cret"}))


@pytest.mark.parametrize("address", ["http://ann:s3cret@prometheus:9090", "https://s3cret@prometheus/api"])
def test_an_address_with_a_password_is_refused_in_words_that_do_not_repeat_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = service_view(service_object(metrics={"prometheus": {"address": address}})).spec
    assert isinstance(spec, Problem)
    assert NO_USER in spec.message and "s3cret" not in spec.message
    monkeypatch.setenv("HADIS_OPERATOR_PROMETHEUS_ADDRESS", address)
    with pytest.raises(ValidationError, match="write no user and no password") as error:
        OperatorSettings()
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (BASIC | TOKEN, "write basicAuth or bearerToken, not both"),
        ({"tls": {"key": {"name": "access", "key": "key"}}}, "certificate and key belong together"),
        ({"bearerToken": {"name": "../../other/secrets/access", "key": "token"}}, "bearerToken.name"),
        ({"bearerToken": {"name": "..", "key": "token"}}, "bearerToken.name"),
    ],
)
def test_access_that_does_not_go_together_is_refused(access: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        prometheus(**access)


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """An authority, a server's certificate and a client's, both by it."""
    folder = tmp_path_factory.mktemp("pem")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca = (str(folder / "ca.crt"), str(folder / "ca.key"))
    openssl("req", "-x509", *curve, "-subj", "/CN=authority", "-out", ca[0], "-keyout", ca[1])
    for name in ("prometheus.example", "client"):
        out = ("-out", str(folder / f"{name}.crt"), "-keyout", str(folder / f"{name}.key"))
        extra = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-CA", ca[0], "-CAkey", ca[1])
        openssl("req", "-x509", *curve, *extra, *out)
    yield {path.name: path for path in folder.iterdir()}


async def test_a_server_of_an_own_authority_that_wants_a_certificate(pem: dict[str, Path]) -> None:
    async def answer(request: web.Request) -> web.Response:
        result = [{"metric": {}, "value": [1.7e9, "1.7e9"]}]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})

    app = web.Application()
    app.router.add_get("/api/v1/query", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem["ca.crt"]))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pem["prometheus.example.crt"], pem["prometheus.example.key"])
    names = {"ca": "ca.crt", "certificate": "client.crt", "key": "client.key"}
    tls: dict[str, Any] = {part: {"name": "access", "key": key} for part, key in names.items()}
    data = {name.replace(".", "_"): pem[name].read_bytes() for name in names.values()}
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    async with aiohttp.ClientSession() as http:
        cases: list[tuple[dict[str, Any], str]] = [
            (tls | {"serverName": "prometheus.example"}, ""),
            (tls, "Unreachable"),  # its certificate is of another name
            ({"ca": tls["ca"], "serverName": "prometheus.example"}, "Unreachable"),  # it wants a certificate
            ({"serverName": "prometheus.example"}, "Unreachable"),  # nobody believes it
        ]
        for access, reason in cases:
            reader = DemandReader(f"{NAMESPACE}/images", OperatorSettings(), kube(**data), http, lambda: 1.0)
            address = f"https://127.0.0.1:{server.port}"
            spec = service_view(service_object(metrics={"prometheus": {"address": address, "tls": access}})).spec
            assert not isinstance(spec, Problem)
            reading = await reader.read(spec, [], None)
            assert (reading.reason if isinstance(reading, Problem) else "") == reason, reading
            assert "SSLContext" not in str(reading)
    await server.close()
