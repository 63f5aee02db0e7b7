"""LangChain's DallEAPIWrapper, whose answer is a URL."""

from __future__ import annotations

import openai
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper  # docs
from langchain_community.utilities.requests import Requests
from report import API_KEY, BASE_URL, PROMPT, case, check_image

wrapper = DallEAPIWrapper(base_url=BASE_URL, api_key=API_KEY)  # docs
SERVICE = {"base_url": BASE_URL, "api_key": API_KEY}


def fetch(url: str) -> None:
    with Requests().get(url) as answer:
        answer.raise_for_status()
        check_image(answer.content)


def generate() -> None:
    assert wrapper.run(PROMPT).startswith("http")


def several() -> None:
    urls = DallEAPIWrapper(n=2, **SERVICE).run(PROMPT).splitlines()
    assert len(set(urls)) == 2


def size() -> None:
    assert DallEAPIWrapper(model="dall-e-3", size="1792x1024", quality="hd", **SERVICE).run(PROMPT)


def url() -> str:
    fetch(wrapper.run(PROMPT))
    return "requests"


def refusal() -> None:
    try:
        DallEAPIWrapper(model="no-such-model", **SERVICE).run(PROMPT)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("a model that is not there was taken")


for run in (generate, several, size, url, refusal):
    case(run.__name__, run)
