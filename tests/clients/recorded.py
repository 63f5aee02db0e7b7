"""What applications send that are not run here: their default requests, from their public sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

_PROMPT = "a red circle"


@dataclass(frozen=True)
class Recorded:
    """One application's default request, and which field of the answer's image it reads."""

    application: str
    when: str
    body: dict[str, Any] = field(hash=False)
    reads: Literal["b64_json", "url"] = "b64_json"


RECORDED = (
    Recorded(
        "Open WebUI",
        "no model set",
        {"model": "dall-e-2", "prompt": _PROMPT, "n": 1, "response_format": "b64_json"},
    ),
    Recorded(
        "Open WebUI",
        "its default size",
        {"model": "auto", "prompt": _PROMPT, "n": 1, "size": "512x512", "response_format": "b64_json"},
    ),
    Recorded("Open WebUI", "gpt-image-1", {"model": "gpt-image-1", "prompt": _PROMPT, "n": 1, "size": "auto"}),
    Recorded(
        "LibreChat",
        "image tools",
        {
            "model": "gpt-image-1",
            "prompt": _PROMPT,
            "n": 1,
            "background": "auto",
            "output_format": "png",
            "quality": "auto",
            "size": "auto",
        },
    ),
    Recorded(
        "LibreChat",
        "DALL-E",
        {
            "model": "dall-e-3",
            "prompt": _PROMPT,
            "n": 1,
            "size": "1024x1024",
            "quality": "standard",
            "style": "vivid",
        },
        reads="url",
    ),
    Recorded("LobeChat", "gpt-image-1", {"model": "gpt-image-1", "prompt": _PROMPT, "n": 1, "size": "auto"}),
    Recorded(
        "n8n",
        "DALL-E",
        {
            "model": "dall-e-3",
            "prompt": _PROMPT,
            "n": 1,
            "size": "1024x1024",
            "quality": "standard",
            "style": "vivid",
            "response_format": "b64_json",
        },
    ),
    Recorded(
        "Home Assistant",
        "DALL-E",
        {
            "model": "dall-e-3",
            "prompt": _PROMPT,
            "n": 1,
            "size": "1024x1024",
            "quality": "standard",
            "style": "vivid",
            "response_format": "url",
        },
        reads="url",
    ),
)
