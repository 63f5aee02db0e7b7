"""LiteLLM's library, with its provider for OpenAI-compatible services."""

from __future__ import annotations

import base64
import io

import litellm
from report import API_KEY, BASE_URL, PROMPT, case, check_image

SERVICE = {"api_base": BASE_URL, "api_key": API_KEY}


def generate() -> None:
    answer = litellm.image_generation(prompt=PROMPT, model="openai/gpt-image-1", **SERVICE)
    check_image(base64.b64decode(answer.data[0].b64_json))


def size() -> None:
    answer = litellm.image_generation(
        prompt=PROMPT, model="openai/dall-e-3", size="1024x1024", quality="standard", style="vivid", **SERVICE
    )
    assert answer.data


def edit() -> None:
    drawn = litellm.image_generation(prompt=PROMPT, model="openai/gpt-image-1", **SERVICE).data[0].b64_json
    picture = io.BytesIO(base64.b64decode(drawn))
    picture.name = "picture.png"
    answer = litellm.image_edit(image=picture, prompt="a blue square", model="openai/gpt-image-1", **SERVICE)
    check_image(base64.b64decode(answer.data[0].b64_json))


def refusal() -> None:
    try:
        litellm.image_generation(prompt=PROMPT, model="openai/no-such-model", **SERVICE)
    except litellm.NotFoundError:
        return
    raise AssertionError("a model that is not there was taken")


for run in (generate, size, edit, refusal):
    case(run.__name__, run)
