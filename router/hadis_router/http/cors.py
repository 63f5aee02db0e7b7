"""What browsers ask before a page of another origin may call the API (CORS), answered for the origins of the spec."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

_METHODS = ("GET", "HEAD", "POST", "DELETE")


def install(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of these origins call the API and read every header of its answers; cookies play no part."""
    app.add_middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=_METHODS, allow_headers=["*"], expose_headers=["*"]
    )
