"""LiteLLM's proxy in between: it is started here, and asked by OpenAI's client."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
from report import API_KEY, BASE_URL, CHANGE, PROMPT, case, check, check_image, file_of

CONFIG = """
model_list:  # docs
- model_name: "*"  # docs
  litellm_params: {model: openai/*, api_base: BASE_URL, api_key: API_KEY}  # docs
"""
_START_S = 540
_MASTER_KEY = f"sk-{secrets.token_hex(32)}"
"""The proxy does not start without one."""


@contextlib.contextmanager
def proxy() -> Iterator[str]:
    """Run the proxy for as long as it is needed; yields its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(CONFIG.replace("BASE_URL", BASE_URL).replace("API_KEY", API_KEY), "utf-8")
        command = [str(Path(sys.executable).with_name("litellm")), "--config", str(config), "--port", str(port)]
        environment = os.environ | {"LITELLM_MASTER_KEY": _MASTER_KEY, "LITELLM_MODE": "PRODUCTION"}
        with subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=sys.stderr, env=environment) as process:
            try:
                _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).is_success:
                return
        time.sleep(0.3)
    raise TimeoutError(f"LiteLLM's proxy did not start within {_START_S} s")


def generate(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt=PROMPT, model="gpt-image-1", background="auto", moderation="auto")
    check(answer.data[0].b64_json)


def several(client: openai.OpenAI) -> None:
    images = client.images.generate(prompt=PROMPT, model="gpt-image-1", n=2).data
    assert len({image.b64_json for image in images}) == 2


def size(client: openai.OpenAI) -> None:
    assert client.images.generate(prompt=PROMPT, model="dall-e-3", size="1024x1024", quality="hd").data


def url(client: openai.OpenAI) -> str:
    answer = client.images.generate(prompt=PROMPT, model="dall-e-3", response_format="url")
    check_image(httpx.get(answer.data[0].url).raise_for_status().content)
    return "httpx"


def picture(client: openai.OpenAI) -> io.BytesIO:
    return file_of(client.images.generate(prompt=PROMPT, model="gpt-image-1").data[0].b64_json)


def edit(client: openai.OpenAI) -> None:
    check(client.images.edit(image=picture(client), prompt=CHANGE, model="gpt-image-1").data[0].b64_json)


def refusal(client: openai.OpenAI) -> None:
    try:
        client.images.generate(prompt=PROMPT, model="no-such-model")
    except openai.NotFoundError:
        return
    raise AssertionError("a model that is not there was taken")


def models(client: openai.OpenAI) -> None:
    assert client.models.list().data


with proxy() as url_of_proxy, openai.OpenAI(base_url=url_of_proxy, api_key=_MASTER_KEY) as client:
    for run in (generate, several, size, url, edit, refusal, models):
        case(run.__name__, lambda run=run: run(client))
