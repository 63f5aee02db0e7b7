"""Semantic Kernel's OpenAITextToImage."""

from __future__ import annotations

import asyncio
import warnings

import aiohttp
from openai import AsyncOpenAI  # docs
from report import API_KEY, BASE_URL, CHANGE, PROMPT, case, check, check_image, file_of
from semantic_kernel.connectors.ai.open_ai import OpenAITextToImage  # docs
from semantic_kernel.exceptions import ServiceResponseException

client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY)  # docs
service = OpenAITextToImage(ai_model_id="gpt-image-1", async_client=client)  # docs
dall_e = OpenAITextToImage(ai_model_id="dall-e-3", async_client=client)


async def generate() -> None:
    check((await service.generate_images(PROMPT))[0])


async def several() -> None:
    images = await service.generate_images(PROMPT, service.get_prompt_execution_settings_class()(n=2))
    assert len(set(images)) == 2


async def size() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert await dall_e.generate_image(PROMPT, 1024, 1024)


async def url() -> str:
    [address] = await dall_e.generate_images(PROMPT)
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        answer.raise_for_status()
        check_image(await answer.read())
    return "aiohttp"


async def edit() -> None:
    [drawn] = await service.generate_images(PROMPT)
    [edited] = await service.edit_image(CHANGE, image_files=[file_of(drawn)])
    check(edited)


async def refusal() -> None:
    missing = OpenAITextToImage(ai_model_id="no-such-model", async_client=client)
    try:
        await missing.generate_images(PROMPT)
    except ServiceResponseException as error:
        assert "404" in str(error), error
    else:
        raise AssertionError("a model that is not there was taken")


with asyncio.Runner() as runner:  # a client's connections are of one event loop
    for run in (generate, several, size, url, edit, refusal):
        case(run.__name__, lambda run=run: runner.run(run()))
