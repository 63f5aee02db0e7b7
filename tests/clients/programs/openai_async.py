"""OpenAI's own client for Python, asynchronous."""

from __future__ import annotations

import asyncio
import base64

import httpx
import openai
from report import API_KEY, BASE_URL, PROMPT, case, check_image


async def generate() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY) as client:
        answer = await client.images.generate(prompt=PROMPT, model="gpt-image-1")
        check_image(base64.b64decode(answer.data[0].b64_json))


async def size() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY) as client:
        assert (await client.images.generate(prompt=PROMPT, size="1536x1024")).data


async def url() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY) as client, httpx.AsyncClient() as http:
        answer = await client.images.generate(prompt=PROMPT, model="dall-e-2", response_format="url")
        check_image((await http.get(answer.data[0].url)).raise_for_status().content)


async def stream() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY) as client:
        events = await client.images.generate(prompt=PROMPT, model="gpt-image-1", stream=True)
        assert [event.type async for event in events][-1] == "image_generation.completed"


for run in (generate, size, url, stream):
    case(run.__name__, lambda run=run: asyncio.run(run()))
