"""Commands that talk to a router show it an API key."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import router_status
from hadis.cli import load, make_app
from hadis.cli.client import headers_of
from typer.testing import CliRunner
from virtual import virtual

SHOWN = {"authorization": "Bearer shop-key"}


def door(request: httpx.Request) -> httpx.Response:
    """Answer as a router with keys does."""
    if request.headers.get("authorization") != SHOWN["authorization"]:
        return httpx.Response(401, json={"error": {"message": "send an API key"}})
    numbers = dict.fromkeys(("difficulty", "confidence", "seed", "size", "plan_generation"))
    record: dict[str, Any] = {"path": "light", "attempts": [], "latency_s": 1.0, **numbers}
    status = json.loads(router_status().json_text())
    return httpx.Response(200, json=status | {"data": [{"b64_json": ""}], "hadis": [record]})


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer every request of a command."""
    client = httpx.Client(transport=httpx.MockTransport(door))
    monkeypatch.setattr(httpx, "get", client.get)
    monkeypatch.setattr(httpx, "post", client.post)


@pytest.mark.usefixtures("router")
@pytest.mark.parametrize(
    ("words", "environment", "admitted"),
    [
        (["--key", "shop-key"], {}, True),
        ([], {"HADIS_API_KEY": "shop-key"}, True),
        (["--key", "shop-key"], {"HADIS_API_KEY": "another"}, True),
        (["--key", "another"], {}, False),
        ([], {}, False),
    ],
)
def test_status_shows_the_key(words: list[str], environment: dict[str, str], admitted: bool) -> None:
    result = CliRunner(env=environment).invoke(make_app(), ["status", "--json", *words])
    assert (result.exit_code == 0) is admitted
    if not admitted:
        assert "send an API key; give it as --key, or set HADIS_API_KEY" in result.stderr.replace("\n", " ")


@pytest.mark.usefixtures("router")
@pytest.mark.parametrize(("key", "code"), [("shop-key", 0), ("another", 2)])
def test_generate_shows_the_key(key: str, code: int, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    result = CliRunner().invoke(make_app(), ["generate", "a red circle", "-o", str(out), "--key", key])
    assert result.exit_code == code, result.stderr
    assert out.exists() is (code == 0)


@virtual
async def test_load_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    client = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **kept: client(transport=httpx.MockTransport(door), **kept))
    run = load.LoadRun(5, 5, 2, 4)
    await load._drive(run, "http://router", headers_of("shop-key"), None, random.Random(0))
    assert {sample.status for sample in run.samples} == {200}
    assert run.plan == "none"


def test_a_key_that_no_header_holds_is_refused_with_a_line() -> None:
    result = CliRunner().invoke(make_app(), ["status", "--key", "sch\u00f6n"])
    assert result.exit_code != 0
    assert "--key: has characters" in result.stderr
    assert "sch" not in result.stderr
