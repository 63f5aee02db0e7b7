"""What the commands that talk to a running router share: its address, and errors in words."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer

from hadis.cli import fail

DEFAULT_URL = "http://127.0.0.1:8080"
Url = Annotated[str, typer.Option("--url", envvar="HADIS_URL", help="Address of the router.")]


def fetch_status(url: str) -> dict[str, Any]:
    """Return the router's status document; exit with one line where there is no router."""
    try:
        answer = httpx.get(f"{url}/v1/hadis/status", timeout=10)
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise fail(
            f"no router answers at {url} ({error}); start one with `hadis up`, or give its address as --url"
        ) from None
    return status


def error_message(answer: httpx.Response) -> str:
    """Return what an error answer says."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}: {answer.text[:200]}"
