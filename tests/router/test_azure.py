"""Azure's addresses, keys and clients."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from hadis.planning.profile import Profile
from hadis_router.http.keys import KeyRing
from test_api import Instant, make_app
from test_edits import PNG

VERSION = "2024-10-21"


@asynccontextmanager
async def azure(
    profile: Profile, api_key: str = "none", keys: KeyRing | None = None, azure_deployment: str | None = None
) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    app = make_app(profile, Instant(), keys=keys, modelAliases={"dall-e-3": "heavy", "gpt-image-1": "auto"})
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http,
        openai.AsyncAzureOpenAI(
            azure_endpoint="http://router",
            azure_deployment=azure_deployment,
            api_version=VERSION,
            api_key=api_key,
            http_client=cast(Any, http),
            max_retries=0,
        ) as client,
    ):
        yield client


async def tiers_of(client: openai.AsyncAzureOpenAI, **fields: Any) -> str | None:
    answer = await client.images.with_raw_response.generate(prompt="a", **fields)
    return cast("str | None", answer.headers.get("x-hadis-tiers"))


async def test_its_client_names_the_model_in_the_address(profile: Profile) -> None:
    async with azure(profile) as client:
        assert await tiers_of(client, model="dall-e-3") == "heavy"
        assert await tiers_of(client, model="gpt-image-1", size="1024x1024", quality="auto") == "light"
        with pytest.raises(openai.NotFoundError, match="there is no model 'mine'"):
            await tiers_of(client, model="mine")


async def test_a_deployment_is_the_model_of_a_body_without_one(profile: Profile) -> None:
    async with azure(profile, azure_deployment="dall-e-3") as client:
        assert await tiers_of(client) == "heavy"
        assert await tiers_of(client, model="gpt-image-1") == "light"
        edited = await client.images.with_raw_response.edit(prompt="a", image=("a.png", PNG, "image/png"))
        assert edited.headers["x-hadis-tiers"] == "heavy"


async def test_its_header_has_the_key(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"sha256:{hashlib.sha256(b'shop-key').hexdigest()} name=shop\n")
    async with azure(profile, "shop-key", KeyRing(path)) as client:
        assert await tiers_of(client, model="dall-e-3") == "heavy"
    async with azure(profile, "other", KeyRing(path)) as client:
        with pytest.raises(openai.AuthenticationError):
            await tiers_of(client, model="dall-e-3")
