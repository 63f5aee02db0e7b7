"""OpenAI's own client for Python."""

from __future__ import annotations

import io

import httpx
import openai
from openai import OpenAI  # docs
from report import API_KEY, BASE_URL, CHANGE, PROMPT, case, check, check_image, file_of

client = OpenAI(base_url=BASE_URL, api_key=API_KEY)  # docs


def generate() -> None:
    check(client.images.generate(prompt=PROMPT, model="gpt-image-1").data[0].b64_json)


def several() -> None:
    images = client.images.generate(prompt=PROMPT, model="gpt-image-1", n=2).data
    assert len({image.b64_json for image in images}) == 2


def size() -> None:
    answer = client.images.generate(
        prompt=PROMPT, model="dall-e-3", size="1024x1024", quality="standard", style="vivid"
    )
    assert answer.data


def url() -> str:
    answer = client.images.generate(prompt=PROMPT, model="dall-e-3", response_format="url")
    check_image(httpx.get(answer.data[0].url).raise_for_status().content)
    return "httpx"


def stream() -> None:
    events = client.images.generate(prompt=PROMPT, model="gpt-image-1", stream=True, partial_images=1)
    last = list(events)[-1]
    assert last.type == "image_generation.completed"
    check(last.b64_json)


def picture() -> io.BytesIO:
    return file_of(client.images.generate(prompt=PROMPT, model="gpt-image-1").data[0].b64_json)


def edit() -> None:
    check(client.images.edit(image=picture(), prompt=CHANGE, model="gpt-image-1").data[0].b64_json)


def variation() -> None:
    check(client.images.create_variation(image=picture(), response_format="b64_json").data[0].b64_json)


def refusal() -> None:
    try:
        client.images.generate(prompt=PROMPT, model="no-such-model")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("a model that is not there was taken")


def models() -> None:
    assert "auto" in {model.id for model in client.models.list()}
    for name in ("auto", "gpt-image-1.5", "gpt-image-1-mini-2025-10-06"):
        assert client.models.retrieve(name).id == name


for run in (generate, several, size, url, stream, edit, variation, refusal, models):
    case(run.__name__, run)
