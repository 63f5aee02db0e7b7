"""LiteLLM's proxy in between: it is started here, and asked by OpenAI's client."""

from __future__ import annotations

import base64
import contextlib
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
import yaml
from report import API_KEY, BASE_URL, PROMPT, case, check_image

_START_S = 180
_MODELS = ("gpt-image-1", "dall-e-3")
_MASTER_KEY = f"sk-{secrets.token_hex(32)}"
"""The proxy does not start without one."""


@contextlib.contextmanager
def proxy() -> Iterator[str]:
    """Run the proxy for as long as it is needed; yields its base URL."""
    service = {"api_base": BASE_URL, "api_key": API_KEY}
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **service}} for name in _MODELS]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump({"model_list": models}), "utf-8")
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
    check_image(base64.b64decode(answer.data[0].b64_json))


def size(client: openai.OpenAI) -> None:
    assert client.images.generate(prompt=PROMPT, model="dall-e-3", size="1024x1024", quality="hd").data


with proxy() as url, openai.OpenAI(base_url=url, api_key=_MASTER_KEY) as client:
    for run in (generate, size):
        case(run.__name__, lambda run=run: run(client))
