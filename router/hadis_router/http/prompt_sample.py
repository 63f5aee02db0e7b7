"""Prompts that a service has its routers keep, and nothing else of who sent them: a bounded, even sample.

Every prompt since the first is among those kept with the same chance (Vitter's algorithm R, ACM Transactions on
Mathematical Software 11, 1985). Without `promptSample` in the service none is, and a file of before is removed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from pathlib import Path

from hadis.api.watch import PromptSampleSpec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger(__name__)

LONGEST = 10_000
"""Characters; longer prompts are not kept, and a profile would not take them."""
_EVERY_S = 30.0


class KeptPrompts(BaseModel):
    """What is kept, as it is told and saved."""

    model_config = ConfigDict(frozen=True)

    seen: int = Field(ge=0, description="Prompts that the sample is of.")
    prompts: tuple[str, ...] = Field(description="The sample, in no order.")


class PromptSample:
    """The prompts that one router keeps: in memory, and in a file where there is one."""

    def __init__(
        self, spec: PromptSampleSpec | None, path: Path | None = None, chance: random.Random | None = None
    ) -> None:
        """Go on with what the file holds; `spec` None: keep nothing."""
        self.spec, self._path, self._chance = spec, path, chance or random.Random()
        self._seen, self._prompts = 0, list[str]()
        self._saved = 0
        if path is not None and spec is None:
            _remove(path)
        elif path is not None and spec is not None:
            kept = _read(path)
            self._seen, self._prompts = kept.seen, list(kept.prompts)[: spec.keep]
            self._saved = self._seen

    def take(self, prompt: str) -> None:
        """Count a prompt, and keep it if its turn comes."""
        if self.spec is None or not prompt.strip() or len(prompt) > LONGEST:
            return
        self._seen += 1
        if len(self._prompts) < self.spec.keep:
            self._prompts.append(prompt)
        elif (at := self._chance.randrange(self._seen)) < len(self._prompts):
            self._prompts[at] = prompt

    def kept(self) -> KeptPrompts:
        """Return what is kept."""
        return KeptPrompts(seen=self._seen, prompts=tuple(self._prompts))

    async def keep(self) -> None:
        """Save what is kept now and then, for ever, where there is a file."""
        while self.spec is not None and self._path is not None:
            await asyncio.sleep(_EVERY_S)
            await asyncio.to_thread(self.save)

    def save(self) -> None:
        """Save what is kept, where there is a file and anything is new; what goes wrong is logged."""
        if self.spec is None or self._path is None or self._saved == self._seen:
            return
        kept = self.kept()
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.touch(0o600)
            draft.write_text(kept.model_dump_json(), "utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("the kept prompts cannot be saved to %s: %s", self._path, error.strerror)
        else:
            self._saved = kept.seen


def _read(path: Path) -> KeptPrompts:
    """Return what a file holds; nothing where there is none, or another thing."""
    try:
        return KeptPrompts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValidationError, ValueError) as error:
        log.warning("%s holds no kept prompts (%s): beginning anew", path, type(error).__name__)
    return KeptPrompts(seen=0, prompts=())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s has prompts that are to be kept no longer, and cannot be removed: %s", path, error.strerror)
