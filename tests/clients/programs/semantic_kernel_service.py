"""Semantic Kernel's OpenAITextToImage."""

from __future__ import annotations

import asyncio
import base64
import warnings

import httpx
from openai import AsyncOpenAI
from report import API_KEY, BASE_URL, PROMPT, case, check_image
from semantic_kernel.connectors.ai.open_ai import OpenAITextToImage


def service(model: str) -> OpenAITextToImage:
    """Return the service, by the model that it names."""
    return OpenAITextToImage(ai_model_id=model, async_client=AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY))


def check(answer: str) -> None:
    """Raise for an answer that is neither the address of an image nor one in base64."""
    is_url = answer.startswith("http")
    check_image(httpx.get(answer).raise_for_status().content if is_url else base64.b64decode(answer))


def generate() -> None:
    check(asyncio.run(service("gpt-image-1").generate_images(PROMPT))[0])


def size() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        check(asyncio.run(service("dall-e-3").generate_image(PROMPT, 1024, 1024)))


for run in (generate, size):
    case(run.__name__, run)
