"""Every server of ours keeps connections for longer than its clients, and our clients of others not for long."""

from __future__ import annotations

import ast
from pathlib import Path

from hadis.protocol import keep_alive

ROOT = Path(__file__).parents[1]
UVICORN_S = NODE_S = 5
"""For which other people's servers keep connections where nobody says otherwise."""
SAYS = {
    "uvicorn.Config": "timeout_keep_alive",
    "aiohttp.ClientSession": "connector",
    "aiohttp.TCPConnector": "keepalive_timeout",
    "httpx.AsyncClient": "limits",
    "httpx.Limits": "keepalive_expiry",
}
"""By what is called, the argument that says for how long."""


def calls() -> dict[str, dict[str, str]]:
    """Return the arguments, as they are written, of each call of servers and clients in what runs all the time."""
    found = {}
    for path in (path for part in ("router", "worker", "operator") for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in SAYS:
                found[f"{path.stem}:{node.lineno} {name}"] = {k.arg or "": ast.unparse(k.value) for k in node.keywords}
    return found


def test_every_server_and_every_client_says_how_long_it_keeps_connections() -> None:
    for call, arguments in calls().items():
        name = call.split()[1]
        assert SAYS[name] in arguments, call
        if name in ("aiohttp.TCPConnector", "httpx.Limits"):
            assert arguments[SAYS[name]].startswith("keep_alive.CLIENT_"), call
        if name == "uvicorn.Config":
            assert arguments[SAYS[name]] == "keep_alive.SERVER_S", call
    assert {call.split()[1] for call in calls()} == SAYS.keys()


def test_servers_keep_connections_for_longer_than_clients() -> None:
    assert keep_alive.SERVER_S > keep_alive.CLIENT_S
    assert min(UVICORN_S, NODE_S) > keep_alive.CLIENT_ELSEWHERE_S
