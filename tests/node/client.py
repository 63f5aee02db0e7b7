"""What an application does, in a pod of its own, with OpenAI's official client as it comes.

`first ADDRESS` asks for images in every way. `together ADDRESS N` sends N requests at one time, and `steady ADDRESS
RPS` goes on for ever: they print a line of JSON for each request, with the seconds that it took, those of them that it
was waiting and made in the service, and what became of attempts before the one that was answered.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time
from contextvars import ContextVar
from typing import Any

import openai

_PNG = b"\x89PNG"
_COLOURS, _SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")

_attempts: ContextVar[list[str]] = ContextVar("attempts")
"""What became of each attempt at a request: the client tries again, and tells nobody why."""


async def _sent(_: object) -> None:
    _attempts.get([]).append("no answer")


async def _answered(response: Any) -> None:
    if attempts := _attempts.get([]):
        attempts[-1] = str(response.status_code)


async def first(client: openai.AsyncOpenAI) -> dict[str, Any]:
    """Return what one image, four at once and a stream came to."""
    one = await client.images.with_raw_response.generate(prompt="a red circle left of a blue square", model="auto")
    four = await client.images.generate(prompt="a green triangle", n=4)
    stream = await client.images.generate(prompt="a yellow square", stream=True, partial_images=1)
    events = [event async for event in stream]
    images = [*(one.parse().data or []), *(four.data or []), *events]
    return {
        "headers": {name: value for name, value in one.headers.items() if name.startswith("x-hadis-")},
        "png": [base64.b64decode(image.b64_json or "").startswith(_PNG) for image in images],
        "events": [event.type for event in events],
    }


async def together(client: openai.AsyncOpenAI, count: int) -> None:
    """Send some requests at one time, none of them again."""
    once = client.with_options(max_retries=0)
    await asyncio.gather(*(_request(once, f"a {_COLOURS[number % 4]} circle") for number in range(count)))


async def steady(client: openai.AsyncOpenAI, rps: float) -> None:
    """Send a request every 1/rps seconds, whatever became of those before."""
    start, tasks = time.monotonic(), set()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, start + number / rps - time.monotonic()))
        prompt = f"a {_COLOURS[number % 4]} {_SHAPES[number % 3]} above a {_COLOURS[(number + 1) % 4]} circle"
        tasks.add(task := asyncio.create_task(_request(client, prompt)))
        task.add_done_callback(tasks.discard)


async def _request(client: openai.AsyncOpenAI, prompt: str) -> None:
    began, error, served = time.time(), "", 0.0
    attempts: list[str] = []
    _attempts.set(attempts)
    try:
        answer = await client.images.with_raw_response.generate(prompt=prompt)
        served = sum(float(answer.headers[f"x-hadis-{part}-seconds"]) for part in ("wait", "service"))
    except openai.OpenAIError as failure:
        error = f"{type(failure).__name__}: {failure}"
    failed = attempts if error else attempts[:-1]
    report = {"at": began, "seconds": time.time() - began, "served": served, "failed": failed, "error": error}
    print(json.dumps(report), flush=True)


async def main(what: str, address: str, number: str = "1") -> None:
    """Do one of the three."""
    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [_sent], "response": [_answered]})
    client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", http_client=http)
    if what == "first":
        print(json.dumps(await first(client)))
    elif what == "together":
        await together(client, int(number))
    else:
        await steady(client, float(number))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
