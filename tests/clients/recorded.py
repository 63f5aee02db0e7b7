"""What applications send that are not run here: their default requests, from their public sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

_PROMPT = "a red circle"


@dataclass(frozen=True)
class Recorded:
    """A default request, and which field of the answer's image its application reads."""

    when: str
    body: dict[str, Any] = field(hash=False)
    reads: Literal["b64_json", "url"] = "b64_json"
    file: str | None = None
    """Of an edit, which is a form: by what name it sends its image."""


@dataclass(frozen=True)
class Application:
    """An application, and where its users write the service's URL and key."""

    name: str
    settings: str
    requests: tuple[Recorded, ...]


def _body(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": _PROMPT, **fields}


_VIVID = {"n": 1, "size": "1024x1024", "quality": "standard", "style": "vivid"}
APPLICATIONS = (
    Application(
        "Open WebUI",
        "IMAGES_OPENAI_API_BASE_URL=BASE_URL IMAGES_OPENAI_API_KEY=API_KEY\n"
        "IMAGES_EDIT_OPENAI_API_BASE_URL=BASE_URL IMAGES_EDIT_OPENAI_API_KEY=API_KEY",
        (
            Recorded("no model set", _body("dall-e-2", n=1, response_format="b64_json")),
            Recorded("its default size", _body("auto", n=1, size="512x512", response_format="b64_json")),
            Recorded("gpt-image-1", _body("gpt-image-1", n=1, size="auto")),
            Recorded("edit", _body("gpt-image-1"), file="image"),
            Recorded("edit of several images", _body("dall-e-2", n="1", response_format="b64_json"), file="image[]"),
        ),
    ),
    Application(
        "LibreChat",
        "IMAGE_GEN_OAI_BASEURL=BASE_URL IMAGE_GEN_OAI_API_KEY=API_KEY\n"
        "DALLE_REVERSE_PROXY=BASE_URL DALLE_API_KEY=API_KEY",
        (
            Recorded(
                "image tools",
                _body("gpt-image-1", n=1, background="auto", output_format="png", quality="auto", size="auto"),
            ),
            Recorded("image tools, edit", _body("gpt-image-1", quality="auto", size="auto"), file="image[]"),
            Recorded("DALL-E", _body("dall-e-3", **_VIVID), reads="url"),
        ),
    ),
    Application(
        "LobeChat",
        "OPENAI_PROXY_URL=BASE_URL\nOPENAI_API_KEY=API_KEY",
        (
            Recorded("gpt-image-1", _body("gpt-image-1", n=1, size="auto")),
            Recorded("dall-e-3", _body("dall-e-3", n=1, response_format="b64_json", size="1024x1024")),
            Recorded("edit", _body("gpt-image-1", n="1", input_fidelity="high"), file="image"),
        ),
    ),
    Application(
        "n8n",
        "Credentials, OpenAI, Base URL: BASE_URL\nCredentials, OpenAI, API Key: API_KEY",
        (
            Recorded("GPT Image", _body("gpt-image-1-mini")),
            Recorded("DALL-E", _body("dall-e-3", **_VIVID, response_format="b64_json")),
            Recorded("edit", _body("gpt-image-1", n="1", size="1024x1024", quality="auto"), file="image[]"),
            Recorded(
                "edit, DALL-E",
                _body("dall-e-2", n="1", size="1024x1024", response_format="url"),
                reads="url",
                file="image",
            ),
        ),
    ),
    Application(
        "Home Assistant",
        "OPENAI_BASE_URL=BASE_URL  # in Home Assistant's environment\nOpenAI Conversation, API key: API_KEY",
        (Recorded("DALL-E", _body("dall-e-3", **_VIVID, response_format="url"), reads="url"),),
    ),
)
