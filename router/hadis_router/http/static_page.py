"""The page at `/`: static files. A strict Content-Security-Policy keeps it from loading anything from another host."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FOLDER = Path(__file__).parent / "files"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        return answer


def install(app: FastAPI) -> None:
    """Serve the page at `/` and its files under `/page/`."""

    async def index() -> Response:
        return FileResponse(_FOLDER / "index.html", headers=_HEADERS)

    app.add_api_route("/", index, methods=["GET", "HEAD"], include_in_schema=False, response_class=Response)
    app.mount("/page", _Files(directory=_FOLDER), name="page")
