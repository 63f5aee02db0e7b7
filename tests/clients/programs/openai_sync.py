"""OpenAI's own client for Python."""

from __future__ import annotations

import base64
import io

import httpx
import openai
from report import API_KEY, BASE_URL, PROMPT, case, check_image

client = openai.OpenAI(base_url=BASE_URL, api_key=API_KEY)


def generate() -> None:
    check_image(base64.b64decode(client.images.generate(prompt=PROMPT, model="gpt-image-1").data[0].b64_json))


def several() -> None:
    images = client.images.generate(prompt=PROMPT, model="gpt-image-1", n=2).data
    assert len({image.b64_json for image in images}) == 2


def size() -> None:
    answer = client.images.generate(
        prompt=PROMPT, model="dall-e-3", size="1024x1024", quality="standard", style="vivid"
    )
    assert answer.data


def url() -> None:
    answer = client.images.generate(prompt=PROMPT, model="dall-e-3", response_format="url")
    check_image(httpx.get(answer.data[0].url).raise_for_status().content)


def stream() -> None:
    events = client.images.generate(prompt=PROMPT, model="gpt-image-1", stream=True, partial_images=1)
    last = list(events)[-1]
    assert last.type == "image_generation.completed"
    check_image(base64.b64decode(last.b64_json))


def edit() -> None:
    drawn = base64.b64decode(client.images.generate(prompt=PROMPT, model="gpt-image-1").data[0].b64_json)
    picture = io.BytesIO(drawn)
    picture.name = "picture.png"
    answer = client.images.edit(image=picture, prompt="a blue square", model="gpt-image-1")
    check_image(base64.b64decode(answer.data[0].b64_json))


def refusal() -> None:
    try:
        client.images.generate(prompt=PROMPT, model="no-such-model")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("a model that is not there was taken")


def models() -> None:
    assert "auto" in {model.id for model in client.models.list()}
    assert client.models.retrieve("auto").id == "auto"


for run in (generate, several, size, url, stream, edit, refusal, models):
    case(run.__name__, run)
