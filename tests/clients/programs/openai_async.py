"""OpenAI's own client for Python, asynchronous."""

from __future__ import annotations

import asyncio
import io

import httpx
import openai
from openai import AsyncOpenAI  # docs
from report import API_KEY, BASE_URL, CHANGE, PROMPT, case, check, check_image, file_of

client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY)  # docs


async def generate() -> None:
    check((await client.images.generate(prompt=PROMPT, model="gpt-image-1")).data[0].b64_json)


async def several() -> None:
    images = (await client.images.generate(prompt=PROMPT, model="gpt-image-1", n=2)).data
    assert len({image.b64_json for image in images}) == 2


async def size() -> None:
    assert (await client.images.generate(prompt=PROMPT, size="1536x1024")).data


async def url() -> str:
    answer = await client.images.generate(prompt=PROMPT, model="dall-e-2", response_format="url")
    async with httpx.AsyncClient() as http:
        check_image((await http.get(answer.data[0].url)).raise_for_status().content)
    return "httpx"


async def stream() -> None:
    events = await client.images.generate(prompt=PROMPT, model="gpt-image-1", stream=True)
    assert [event.type async for event in events][-1] == "image_generation.completed"


async def picture() -> io.BytesIO:
    return file_of((await client.images.generate(prompt=PROMPT, model="gpt-image-1")).data[0].b64_json)


async def edit() -> None:
    events = await client.images.edit(image=await picture(), prompt=CHANGE, model="gpt-image-1", stream=True)
    last = [event async for event in events][-1]
    assert last.type == "image_edit.completed"
    check(last.b64_json)


async def variation() -> None:
    answer = await client.images.create_variation(image=await picture(), response_format="b64_json")
    check(answer.data[0].b64_json)


async def refusal() -> None:
    try:
        await client.images.generate(prompt=PROMPT, model="no-such-model")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("a model that is not there was taken")


async def models() -> None:
    assert "auto" in {model.id async for model in client.models.list()}
    assert (await client.models.retrieve("chatgpt-image-latest")).id == "chatgpt-image-latest"


with asyncio.Runner() as runner:  # a client's connections are of one event loop
    for run in (generate, several, size, url, stream, edit, variation, refusal, models):
        case(run.__name__, lambda run=run: runner.run(run()))
