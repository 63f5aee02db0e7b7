"""LangChain's DallEAPIWrapper, whose answer is a URL."""

from __future__ import annotations

import httpx
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper
from report import API_KEY, BASE_URL, PROMPT, case, check_image


def generate() -> None:
    url = DallEAPIWrapper(base_url=BASE_URL, api_key=API_KEY).run(PROMPT)
    check_image(httpx.get(url).raise_for_status().content)


def size() -> None:
    wrapper = DallEAPIWrapper(base_url=BASE_URL, api_key=API_KEY, model="dall-e-3", size="1792x1024", quality="hd")
    check_image(httpx.get(wrapper.run(PROMPT)).raise_for_status().content)


for run in (generate, size):
    case(run.__name__, run)
