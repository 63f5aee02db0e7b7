"""A stand-in for an engine that speaks OpenAI's images API: right, slow, overloaded, broken, or not there, as told."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

Behaviour = Callable[["StandIn", dict[str, Any]], Awaitable[Response]]


def picture(size: str = "32x32", color: tuple[int, int, int] = (200, 30, 30), form: str = "PNG") -> bytes:
    """Return an encoded image of one colour."""
    width, height = map(int, size.split("x"))
    body = io.BytesIO()
    Image.new("RGB", (width, height), color).save(body, form)
    return body.getvalue()


def with_image(body: bytes) -> Response:
    """Return a good answer with an image."""
    return JSONResponse({"created": 1, "data": [{"b64_json": base64.b64encode(body).decode()}]})


def refusal(status: int, code: str | None = None, message: str = "no", **headers: str) -> Behaviour:
    """Return what answers with an error in OpenAI's form."""

    async def answer(stand_in: StandIn, body: dict[str, Any]) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return JSONResponse({"error": {"message": message, "code": code, "type": "t"}}, status, named)

    return answer


def raw(content: bytes, status: int = 200) -> Behaviour:
    """Return what answers with any bytes."""

    async def answer(stand_in: StandIn, body: dict[str, Any]) -> Response:
        return Response(content, status)

    return answer


def document(**data: Any) -> Behaviour:
    """Return what answers with one item of data."""

    async def answer(stand_in: StandIn, body: dict[str, Any]) -> Response:
        return JSONResponse({"data": [data]})

    return answer


async def right(stand_in: StandIn, body: dict[str, Any]) -> Response:
    """Answer with an image of the size that was asked for, coloured by its seed, after `seconds`."""
    await asyncio.sleep(stand_in.seconds)
    return with_image(picture(body["size"], (body.get("seed", 0) % 256, 30, 30)))


async def hang(stand_in: StandIn, body: dict[str, Any]) -> Response:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


@dataclass
class StandIn:
    """What it does: `coming` first, one behaviour per request, and then `then`."""

    coming: deque[Behaviour] = field(default_factory=deque)
    then: Behaviour = right
    seconds: float = 0.0
    models_status: int = 200
    moved_to: str = "http://engine/files/image.webp"
    """Where the last of several redirects leads."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and authorization of each request."""
    running: int = 0
    most_at_once: int = 0
    hung_up: int = 0
    """Requests whose caller went away."""

    @property
    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/v1/images/generations", self._generate, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/files/image.webp", self._file),
                Route("/files/moved/{count:int}", self._moved),
            ]
        )

    async def _generate(self, request: Request) -> Response:
        self._note(request)
        body = await request.json()
        self.bodies.append(body)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await (self.coming.popleft() if self.coming else self.then)(self, body)
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        finally:
            self.running -= 1

    async def _models(self, request: Request) -> Response:
        self._note(request)
        return JSONResponse({"data": []}, self.models_status)

    async def _file(self, request: Request) -> Response:
        self._note(request)
        return Response(picture(form="WEBP"))

    async def _moved(self, request: Request) -> Response:
        self._note(request)
        count = request.path_params["count"]
        return RedirectResponse(self.moved_to if count < 2 else f"/files/moved/{count - 1}")

    def _note(self, request: Request) -> None:
        self.keys.append((request.url.path, request.headers.get("authorization")))
