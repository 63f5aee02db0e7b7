"""The prompts that a running service keeps (`promptSample`), as a file that a run reads: a prompt a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from hadis.cli.client import error_message, headers_of
from pydantic import BaseModel, Field, ValidationError

from hadis_profiler.offline.spec import SpecError

_TIMEOUT_S = 60.0
FILE = "prompts.txt"


class _Kept(BaseModel):
    """What a router answers; see `hadis_router.http.prompt_sample`."""

    seen: int = Field(ge=0)
    prompts: tuple[str, ...]


def kept_prompts(
    folder: Path,
    url: str,
    key: str | None,
    say: Callable[[str], None],
    transport: httpx.BaseTransport | None = None,
) -> Path:
    """Return the file of prompts in a folder, fetched from a router where it is not there yet; raise SpecError.

    `transport` is HTTP where left out. Only the user may read the file.
    """
    path = folder / FILE
    if path.exists():
        say(f"{path}: going on with the prompts that were fetched; remove the file for others")
        return path
    kept = _fetch(url, key, transport)
    if not kept.prompts:
        raise SpecError(f"{url} keeps no prompts yet; come again when requests have come")
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.touch(0o600)
    draft.write_text("".join(" ".join(prompt.split()) + "\n" for prompt in kept.prompts), "utf-8")
    draft.replace(path)
    say(f"{path}: {len(kept.prompts):,} of the {kept.seen:,} prompts that came")
    return path


def _fetch(url: str, key: str | None, transport: httpx.BaseTransport | None) -> _Kept:
    try:
        with httpx.Client(transport=transport, timeout=_TIMEOUT_S) as http:
            answer = http.get(f"{url}/v1/hadis/prompts", headers=headers_of(key))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SpecError(f"no router answers at {url} ({error}); give its address as --url") from None
    if answer.status_code in (401, 403):
        raise SpecError(f"{error_message(answer)}; give such a key as --key, or set HADIS_API_KEY")
    if answer.status_code != 200:
        raise SpecError(f"{url}: {error_message(answer)}")
    try:
        return _Kept.model_validate_json(answer.content)
    except ValidationError:
        raise SpecError(f"{url} answers something else than kept prompts; give a router's address as --url") from None
