"""OpenAI's images API: the request as it is read, and the answer as it is written."""

from __future__ import annotations

import base64
import json
import time
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from hadis.api.fields import Fields
from pydantic import AfterValidator, ConfigDict, Field

from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.job import ImageParams, Preference
from hadis_router.http.links.service import Link

MOST_CHARACTERS = 32_000
"""OpenAI's limit for its newest image models."""
_SEEDS = 2**63


def _is_text(prompt: str) -> str:
    for character in prompt:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t":
            raise ValueError(f"holds U+{ord(character):04X}, a control character")
    if not prompt.strip():
        raise ValueError("is empty; say what to draw")
    return prompt


class GenerateRequest(Fields):
    """Body of `POST /v1/images/generations`.

    Beyond OpenAI's fields: negative_prompt, seed, num_inference_steps, guidance_scale, explain and keep_light.
    """

    model_config = ConfigDict(alias_generator=None)

    prompt: Annotated[str, AfterValidator(_is_text)] = Field(max_length=MOST_CHARACTERS)
    model: str = Field("auto", max_length=63, description="auto lets the plan decide; a tier's name forces that tier.")
    n: int = Field(1, ge=1, le=10, strict=True)
    size: str = Field("auto", max_length=16, description="auto, or WIDTHxHEIGHT in pixels.")
    response_format: Literal["b64_json", "url"] = Field(
        "b64_json", description="url: an http URL, which lives until `expires_at`."
    )
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(90, ge=0, le=100, strict=True, description="Quality of jpeg and webp.")
    quality: Literal["auto", "standard", "medium", "low", "high", "hd"] = Field(
        "auto",
        description="low asks for the light tier, high and hd for the heavy one; else the plan decides.",
    )
    user: str | None = Field(None, max_length=512, description="Whose share the request is of, without an API key.")
    negative_prompt: str | None = Field(None, max_length=MOST_CHARACTERS)
    seed: int | None = Field(None, ge=0, lt=_SEEDS, strict=True, description="Image i has the seed `seed + i`.")
    num_inference_steps: int | None = Field(None, ge=1, le=1000, strict=True)
    guidance_scale: float | None = Field(None, ge=0, le=100)
    stream: bool = Field(False, strict=True, description="Send images as server-sent events, as soon as each is made.")
    partial_images: int = Field(
        0,
        ge=0,
        le=3,
        strict=True,
        description="With stream, above 0: send the light image too while the heavy tier makes another.",
    )
    explain: bool = Field(False, description="Say in the body, under `hadis`, what each image went through.")
    keep_light: bool = Field(False, description="With explain: the light image too, where the heavy tier made another.")

    @property
    def preference(self) -> Preference | None:
        """The tier of the plan that `quality` asks for."""
        return "light" if self.quality == "low" else "heavy" if self.quality in ("high", "hd") else None


Request = TypeVar("Request", bound=GenerateRequest)


def read_request(body: bytes) -> GenerateRequest:
    """Return the request in a body; raise ServeError 400 that names the field."""
    return read_as(body, GenerateRequest)


def read_as(body: bytes, kind: type[Request]) -> Request:
    """Return the request in a body, of a kind; raise ServeError 400 that names the field."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServeError(400, "invalid_json", f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ServeError(400, "invalid_json", 'the body must be a JSON object such as {"prompt": "a red circle"}')
    try:
        # null means the default, as in OpenAI's API.
        return kind.read({key: value for key, value in document.items() if value is not None})
    except ValueError as error:
        first = str(error).splitlines()[0]
        name = first.split(":")[0] if ":" in first else ""
        raise ServeError(400, "invalid_value", first.encode(errors="replace").decode(), param=name) from None


def image_params(request: GenerateRequest, size: str | None, seed: int, i: int) -> ImageParams:
    """Return what image `i` of a request should be; `size` None: the tier's first."""
    return ImageParams(
        prompt=request.prompt,
        seed=(seed + i) % _SEEDS,
        negative_prompt=request.negative_prompt,
        size=size,
        steps=request.num_inference_steps,
        guidance=request.guidance_scale,
        format=request.output_format,
        compression=request.output_compression,
    )


def answer_body(request: GenerateRequest, answers: Sequence[Answer], links: Sequence[Link] = ()) -> bytes:
    """Return the answer's JSON, put together by hand: base64 needs no escaping, and images are large.

    With `links`, one for each answer, they stand in the images' place.
    """
    if links:
        images = b",".join(json.dumps(link._asdict()).encode() for link in links)
    else:
        images = b",".join(b'{"b64_json":"' + base64.b64encode(answer.image) + b'"}' for answer in answers)
    head = f'{{"created":{int(time.time())},"output_format":"{request.output_format}","data":['.encode()
    explained = b""
    if request.explain:
        explained = b',"hadis":' + json.dumps([explain(answer, request.keep_light) for answer in answers]).encode()
    return b"".join((head, images, b"]", explained, b"}"))


def explain(answer: Answer, keep_light: bool = False) -> dict[str, Any]:
    """Return what an image went through, as JSON data; `keep_light` adds the light image of one that was deferred."""
    document: dict[str, Any] = {
        "path": answer.path,
        "size": answer.size,
        "truncated_tokens": answer.truncated_tokens,
        "difficulty": answer.difficulty,
        "confidence": answer.confidence,
        "attempts": [
            {"tier": a.tier, "worker": a.worker, "wait_s": a.wait_s, "service_s": a.service_s} for a in answer.attempts
        ],
        "retries": answer.retries,
        "latency_s": answer.latency_s,
        "plan_generation": answer.plan_generation,
        "thresholds": {"difficulty": answer.thresholds[0], "confidence": answer.thresholds[1]},
    }
    if keep_light and answer.light_image is not None and answer.path == "deferred":
        document["light_b64_json"] = base64.b64encode(answer.light_image).decode()
    return document


def answer_headers(answer: Answer) -> dict[str, str]:
    """Return what an image went through, as headers; of a request's images, the first one's are sent."""
    headers = {
        "x-hadis-path": answer.path,
        "x-hadis-tiers": ",".join(a.tier for a in answer.attempts),
        "x-hadis-wait-seconds": f"{answer.wait_s:.4f}",
        "x-hadis-service-seconds": f"{answer.service_s:.4f}",
        "x-hadis-plan-generation": str(answer.plan_generation),
    }
    for name, told in (("size", answer.size), ("truncated-tokens", answer.truncated_tokens)):
        if told is not None:
            headers[f"x-hadis-{name}"] = str(told)
    for name, value in (("difficulty", answer.difficulty), ("confidence", answer.confidence)):
        if value is not None:
            headers[f"x-hadis-{name}"] = f"{value:.4f}"
    return headers
