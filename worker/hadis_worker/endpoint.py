"""An endpoint that speaks OpenAI's images API: one image of it, and whether it answers at all.

What is wrong with a request is its job's fault. What is wrong with the endpoint (it cannot be reached, it is overloaded
beyond the retries, it refuses the key) is `EngineUnavailable`: another worker, or a lighter tier, answers then.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from hadis.api.fields import parse_duration_s
from hadis.api.remote import Remote
from hadis.api.tier import TierSettings
from hadis.protocol.worker import WireJob

from hadis_worker.batches import Fault
from hadis_worker.errors import EndpointRefuses, EngineUnavailable

_ATTEMPTS = 4
_FIRST_WAIT_S = 1.0
"""Before a retry where the endpoint does not say how long; twice as long each time."""
_PROBE_S = 5.0
_MOST_BYTES = 64 * 2**20
_SEEDS = 2**31
"""Endpoints take seeds of 32 bits with a sign, if any; ours are longer."""
_FILTERED = {"content_policy_violation", "content_filter", "contentFilter", "moderation_blocked"}
"""Error codes of OpenAI's image models, and of those who host them."""
_OVERLOADED = (429, 503)
_AWAY = (401, 403, 404, 502, 504)
"""Not the request's fault: the key is refused, the model or the path is not there, a gateway reaches nobody."""
_INVALID = (400, 413, 422)
_REFUSED = (401, 403, 404)
_MOST_REDIRECTS = 3


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """Makes the images of one remote tier; for use on the event loop that `http` is for."""

    def __init__(self, tier: TierSettings, key: str | None, http: httpx.AsyncClient) -> None:
        """`key` is the API key, if there is one."""
        assert tier.remote is not None
        self._tier, self._remote, self._http = tier, tier.remote, http
        self._url = httpx.URL(self._remote.url.rstrip("/") + "/")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    async def image(self, job: WireJob) -> bytes | Fault:
        """Return the encoded image of a job, or why there is none; raise EngineUnavailable.

        Cancelling it closes the connection, by which the endpoint may know that nobody waits any more.
        """
        timeout_s = parse_duration_s(self._remote.timeout)
        if job.negative_prompt and "negative_prompt" not in self._remote.accepts:
            return Fault("invalid", f"tier {self._tier.name} takes no negative prompt")
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._answer(job, asyncio.get_running_loop().time() + timeout_s)
                return await self._image_in(answer) if answer.status == 200 else self._fault(answer)
        except TimeoutError:
            return Fault("failed", f"no image from {self._where} within {self._remote.timeout}")
        except httpx.TransportError as error:
            raise EngineUnavailable(f"{self._where} cannot be reached: {type(error).__name__}") from None
        except (_UnreadableError, httpx.DecodingError) as error:
            return Fault("failed", f"{self._where}: {error}")

    async def why_unavailable(self) -> str | None:
        """Return why the endpoint makes no images now; None where it answers, whatever it says of its models."""
        try:
            async with self._http.stream(
                "GET", self._url.join("models"), headers=self._headers, timeout=_PROBE_S
            ) as answer:
                status = answer.status_code
        except httpx.HTTPError as error:
            return f"{self._where} cannot be reached: {type(error).__name__}"
        if status in (401, 403):
            return f"{self._where} refuses the API key (status {status})"
        return f"{self._where} answers with status {status}" if status >= 500 else None

    @property
    def _where(self) -> str:
        return f"the endpoint of tier {self._tier.name}"

    async def _answer(self, job: WireJob, deadline: float) -> _Answer:
        """Return the first answer that says something else than to come again; raise EngineUnavailable without one."""
        loop, wait_s = asyncio.get_running_loop(), _FIRST_WAIT_S
        body = request_body(self._tier, self._remote, job)
        for attempt in range(1, _ATTEMPTS + 1):
            answer = await self._read("POST", self._url.join("images/generations"), body)
            if answer.status not in _OVERLOADED:
                return answer
            retry_after_s = _retry_after_s(answer.headers)
            pause_s = wait_s if retry_after_s is None else retry_after_s
            if attempt == _ATTEMPTS or loop.time() + pause_s >= deadline:
                break
            await asyncio.sleep(pause_s)
            wait_s *= 2
        raise EngineUnavailable(f"{self._where} is overloaded (status {answer.status}){_reason(answer)}")

    async def _read(self, method: str, url: httpx.URL, document: Any = None) -> _Answer:
        """Return the whole answer to a request, if it is not too large."""
        body = bytearray()
        # The key is for the endpoint alone, not for whoever keeps its images.
        headers = self._headers if _origin(url) == _origin(self._url) else {}
        async with self._http.stream(method, url, json=document, headers=headers) as answer:
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise _UnreadableError(f"answers with more than {_MOST_BYTES >> 20} MiB")
            return _Answer(answer.status_code, answer.headers, bytes(body))

    async def _image_in(self, answer: _Answer) -> bytes:
        """Return the image of a good answer: in it, or at the URL that it names."""
        try:
            first = json.loads(answer.body)["data"][0]
            text, url = first.get("b64_json"), first.get("url")
            if text:
                return base64.b64decode(text, validate=True)
            if url and url.startswith("data:"):
                return base64.b64decode(url.partition(",")[2], validate=True)
            place = self._url.join(url)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, httpx.InvalidURL):
            raise _UnreadableError("its answer holds no image") from None
        return await self._fetched(place)

    async def _fetched(self, place: httpx.URL) -> bytes:
        """Return what is at an image's URL, or where that redirects to."""
        for _ in range(_MOST_REDIRECTS + 1):
            if place.scheme not in ("http", "https"):
                raise _UnreadableError("its answer names an image that is not at an http or https URL")
            image = await self._read("GET", place)
            if image.status == 200:
                return image.body
            target = image.headers.get("location")
            if image.status not in (301, 302, 303, 307, 308) or target is None:
                raise _UnreadableError(f"its image cannot be fetched (status {image.status})")
            try:
                place = place.join(target)
            except httpx.InvalidURL:
                raise _UnreadableError("its image is redirected to what is no URL") from None
        raise _UnreadableError(f"its image is redirected more than {_MOST_REDIRECTS} times")

    def _fault(self, answer: _Answer) -> Fault:
        """Return what an answer without an image means for its job; raise EngineUnavailable where it is not the job."""
        status = answer.status
        if status < 500 and _error(answer).get("code") in _FILTERED:
            return Fault("content_filtered", f"{self._where} filtered the image")
        if status in (401, 403):  # without its words, which may hold a part of the key
            raise EndpointRefuses(f"{self._where} refuses the API key (status {status})")
        text = f"{self._where} answers with status {status}{_reason(answer)}"
        if status in _AWAY:
            raise EndpointRefuses(text) if status in _REFUSED else EngineUnavailable(text)
        return Fault("invalid" if status in _INVALID else "failed", text)


class _UnreadableError(Exception):
    """An answer that holds no image that can be used; the message says why."""


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def request_body(tier: TierSettings, remote: Remote, job: WireJob) -> dict[str, Any]:
    """Return what an endpoint is asked for a job, the tier's settings standing in for what it leaves open."""
    extras: dict[str, Any] = {
        "seed": job.seed % _SEEDS,
        "negative_prompt": tier.negative_prompt if job.negative_prompt is None else job.negative_prompt,
        "num_inference_steps": job.steps or tier.steps,
        "guidance_scale": tier.guidance if job.guidance is None else job.guidance,
        "response_format": "b64_json",
    }
    body = {"model": remote.model or tier.model, "prompt": job.prompt, "n": 1, "size": job.size or tier.size}
    return body | {name: extras[name] for name in remote.accepts if extras[name] is not None} | tier.call


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After says (RFC 9110, section 10.2.3), as a number or a date; None without one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _error(answer: _Answer) -> Mapping[str, Any]:
    """Return the error that an answer holds; empty where it is in no form of OpenAI's API."""
    try:
        document = json.loads(answer.body)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _reason(answer: _Answer) -> str:
    """Return an error's message as the end of a sentence; empty where there is none."""
    message = " ".join(str(_error(answer).get("message") or "").split())[:200]
    return f": {message}" if message else ""
