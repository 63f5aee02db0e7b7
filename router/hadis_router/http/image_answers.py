"""The images API's answers as they are written: body and headers, in OpenAI's form and with what HADIS adds."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hadis.protocol.address import worker_name

from hadis_router.dispatch.answer import LIGHT_PATHS, Answer, ServingPath
from hadis_router.http.images import GenerateRequest
from hadis_router.http.links.service import Link


def answer_body(request: GenerateRequest, answers: Sequence[Answer], links: Sequence[Link] = ()) -> bytes:
    """Return the answer's JSON, put together by hand: base64 needs no escaping, and images are large.

    With `links`, one for each answer, they stand in the images' place.
    """
    first = answers[0]
    size = f'"size":"{first.size}",' if first.size else ""
    head = (
        f'{{"created":{int(time.time())},"background":"opaque","output_format":"{request.output_format}",'
        f'"quality":"{made_quality(request.quality, first.path)}",{size}"data":['
    ).encode()
    explained = b""
    if request.explain:
        explained = b',"hadis":' + json.dumps([explain(request, answer) for answer in answers]).encode()
    return b"".join((head, *_data(answers, links), b"]", explained, b"}"))


def _data(answers: Sequence[Answer], links: Sequence[Link]) -> Iterator[bytes]:
    """Yield the images, or their links, in pieces, to be joined once: to copy an image takes longer than all else."""
    for i, answer in enumerate(answers):
        if i:
            yield b","
        if links:
            yield json.dumps(links[i]._asdict()).encode()
        else:
            yield from (b'{"b64_json":"', base64.b64encode(answer.image), b'"}')


def made_quality(quality: str, path: ServingPath) -> str:
    """Return the quality of an image in the words that OpenAI's newest answers have.

    It is what the request asks for, unless it left that open or the tier of another quality made the image.
    """
    made = "low" if path in LIGHT_PATHS else "high"
    named = {"auto": made, "standard": "medium", "hd": "high"}.get(quality, quality)
    return named if named == "medium" or (named == "low") == (made == "low") else made


def explain(request: GenerateRequest, answer: Answer) -> dict[str, Any]:
    """Return what an image went through, as JSON data; `keep_light` adds the light image of one that was deferred."""
    document: dict[str, Any] = {
        "path": answer.path,
        "repeat": answer.repeat,
        "seed": answer.seed,
        "size": answer.size,
        "ignored": request.ignored,
        "truncated_tokens": answer.truncated_tokens,
        "difficulty": answer.difficulty,
        "confidence": answer.confidence,
        "heavy_confidence": answer.heavy_confidence,
        "attempts": [
            {"tier": a.tier, "worker": worker_name(a.worker), "wait_s": a.wait_s, "service_s": a.service_s}
            for a in answer.attempts
        ],
        "retries": answer.retries,
        "latency_s": answer.latency_s,
        "plan_generation": answer.plan_generation,
        "thresholds": {"difficulty": answer.thresholds[0], "confidence": answer.thresholds[1]},
    }
    if request.keep_light and answer.light_image is not None and answer.path == "deferred":
        document["light_b64_json"] = base64.b64encode(answer.light_image).decode()
    return document


def request_headers(request: GenerateRequest, seed: int) -> dict[str, str]:
    """Return what is known before there is an image: the seed of the first one, and what of the request is ignored."""
    return {"x-hadis-seed": str(seed), **ignored_headers(request)}


def ignored_headers(request: GenerateRequest) -> dict[str, str]:
    """Return what of a request is ignored, if anything is."""
    return {"x-hadis-ignored": ",".join(request.ignored)} if request.ignored else {}


def answer_headers(answer: Answer) -> dict[str, str]:
    """Return what an image went through, as headers; of a request's images, the first one's are sent."""
    headers = {
        "x-hadis-path": answer.path,
        "x-hadis-tiers": ",".join(a.tier for a in answer.attempts),
        "x-hadis-wait-seconds": f"{answer.wait_s:.4f}",
        "x-hadis-service-seconds": f"{answer.service_s:.4f}",
        "x-hadis-plan-generation": str(answer.plan_generation),
    }
    for name, value in (
        ("size", answer.size),
        ("truncated-tokens", answer.truncated_tokens),
        ("repeat", answer.repeat),
    ):
        if value is not None:
            headers[f"x-hadis-{name}"] = str(value)
    scores = {
        "difficulty": answer.difficulty,
        "confidence": answer.confidence,
        "heavy-confidence": answer.heavy_confidence,
    }
    headers |= {f"x-hadis-{name}": f"{value:z.4f}" for name, value in scores.items() if value is not None}
    return headers
