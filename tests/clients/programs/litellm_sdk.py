"""LiteLLM's library, with its provider for OpenAI-compatible services."""

from __future__ import annotations

import io

import litellm  # docs
from report import API_KEY, BASE_URL, CHANGE, PROMPT, case, check, check_image, file_of

SERVICE = {"api_base": BASE_URL, "api_key": API_KEY}


def generate() -> None:
    answer = litellm.image_generation(PROMPT, "openai/gpt-image-1", api_base=BASE_URL, api_key=API_KEY)  # docs
    check(answer.data[0].b64_json)


def several() -> None:
    images = litellm.image_generation(PROMPT, "openai/gpt-image-1", n=2, **SERVICE).data
    assert len({image.b64_json for image in images}) == 2


def size() -> None:
    answer = litellm.image_generation(
        PROMPT, "openai/dall-e-3", size="1024x1024", quality="standard", style="vivid", **SERVICE
    )
    assert answer.data


def url() -> str:
    answer = litellm.image_generation(PROMPT, "openai/dall-e-3", response_format="url", **SERVICE)
    check_image(litellm.module_level_client.get(answer.data[0].url).raise_for_status().content)
    return "httpx"


def picture() -> io.BytesIO:
    return file_of(litellm.image_generation(PROMPT, "openai/gpt-image-1", **SERVICE).data[0].b64_json)


def edit() -> None:
    check(litellm.image_edit(picture(), CHANGE, "openai/gpt-image-1", **SERVICE).data[0].b64_json)


def variation() -> None:
    answer = litellm.image_variation(picture(), "openai/dall-e-2", response_format="b64_json", **SERVICE)
    check(answer.data[0].b64_json)


def refusal() -> None:
    try:
        litellm.image_generation(PROMPT, "openai/no-such-model", **SERVICE)
    except litellm.NotFoundError:
        return
    raise AssertionError("a model that is not there was taken")


def models() -> None:
    assert "auto" in litellm.get_valid_models(True, "openai", **SERVICE)


for run in (generate, several, size, url, edit, variation, refusal, models):
    case(run.__name__, run)
