"""What the commands that talk to a running router share: its address, the API key, and errors in words."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer

from hadis.cli import fail
from hadis.protocol.router_status import RouterStatus

DEFAULT_URL = "http://127.0.0.1:8080"
Url = Annotated[str, typer.Option("--url", envvar="HADIS_URL", help="Address of the router.")]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="HADIS_API_KEY", show_default=False, help="API key, where the service wants one."),
]


def headers_of(key: str | None) -> dict[str, str]:
    """Return the headers that show an API key; exit with one line for one that no header can hold."""
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise fail("--key: has characters that no HTTP header can hold; give the key alone")
    return {"authorization": f"Bearer {key}"}


def fetch_status(url: str, key: str | None = None) -> RouterStatus:
    """Return what the router says of itself; exit with one line where there is none, or none for this key."""
    try:
        return RouterStatus.read(fetch_status_json(url, key))
    except ValueError as error:
        raise fail(f"{url}: {error}; give the address of a router of this version as --url") from None


def fetch_status_json(url: str, key: str | None = None) -> str:
    """Return the router's status document as it is; exit with one line where there is none, or none for this key."""
    headers = headers_of(key)
    try:
        answer = httpx.get(f"{url}/v1/hadis/status", timeout=10, headers=headers)
        if answer.status_code == 401:
            raise fail(f"{error_message(answer)}; give it as --key, or set HADIS_API_KEY")
        answer.raise_for_status()
        answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise fail(
            f"no router answers at {url} ({error}); start one with `hadis up`, or give its address as --url"
        ) from None
    return answer.text


def error_message(answer: httpx.Response) -> str:
    """Return what an error answer says."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}: {answer.text[:200]}"
