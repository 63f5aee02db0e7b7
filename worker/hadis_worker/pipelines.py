"""One diffusers pipeline as a function from prompts and seeds to pixels; `loading` makes the pipelines."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hadis.api.tier import TierSettings

from hadis_worker.arguments import GUIDER, Acting, acting_at, call_settings
from hadis_worker.edit_call import edit_arguments
from hadis_worker.errors import BatchCancelled
from hadis_worker.loading.faults import plain
from hadis_worker.loading.modules import weight_bytes
from hadis_worker.painter import Call, ImageChecker, Painted
from hadis_worker.previews.previewer import Previewer
from hadis_worker.previews.watch import LatentsWatch
from hadis_worker.speed.caching import check_guidance
from hadis_worker.steps import Steps
from hadis_worker.tokens import text_limits, truncated_tokens

_MOST_GUIDANCES = 128
"""That requests set, of which it is remembered what acts there."""


class DiffusersPainter:
    """Any diffusers pipeline, called as a tier says."""

    def __init__(
        self, pipeline: Any, tier: TierSettings, checker: ImageChecker | None = None, hooked: Any = None
    ) -> None:
        """Wrap a pipeline that is on its device; raise LoadError for a setting of the tier that it cannot honour.

        A `checker` looks at the images in place of the pipeline's own. `hooked` is the pipeline that `speed` was done
        to, where it is another one with the same modules.
        """
        self._pipeline, self._tier, self._hooked = pipeline, tier, hooked
        self._checker = checker
        self._has_painted = False
        self._settings = call_settings(tier, pipeline)
        self._guiders = _guiders(pipeline) if self._settings.guidance == GUIDER else ()
        self.takes_negative_prompts = self._settings.takes_negative_prompts
        self.default_negative_prompt = self._settings.negative_prompt
        self._text_limits = text_limits(pipeline, tier.max_sequence_length)
        self.prompt_tokens = max((limit.tokens for limit in self._text_limits), default=None)
        self._acting = functools.lru_cache(_MOST_GUIDANCES)(functools.partial(acting_at, tier=tier, pipeline=pipeline))
        check_guidance(tier, self._settings.is_guided)
        cache = tier.speed.cache
        self._one_at_a_time = cache is not None and cache.depends_on_company
        self._keeps_state = cache is not None or tier.speed.offload != "none"
        self.previewer = Previewer(pipeline if checker is None else None)

    def editing(self, make: Callable[[Any], Any]) -> DiffusersPainter:
        """Return one of edits, by what `make` makes of this one's pipeline; raise LoadError and what that raises."""
        painter = DiffusersPainter(make(self._pipeline), self._tier, self._checker, self._pipeline)
        painter._one_at_a_time |= not painter.has_strength
        painter.previewer = self.previewer.of(painter._pipeline)
        return painter

    def acting(self, guidance: float) -> Acting:
        """Return what acts where a request sets the guidance."""
        return self._acting(guidance)

    @property
    def weight_bytes(self) -> dict[str, int]:
        """The bytes of each component's weights in memory."""
        parts = self._pipeline.components.items()
        return {name: weight_bytes(part) for name, part in parts if isinstance(part, torch.nn.Module)}

    @property
    def has_strength(self) -> bool:
        """Whether it begins with an image; one of edits that does not looks at images beside the prompt."""
        return "strength" in self._settings.accepts

    def paint(self, call: Call) -> Painted:
        """Return one image per prompt; each starts from noise of its own CPU generator, so its place does not matter.

        What its company does to it is found out by `company`. Kernels of another batch size add up in another order,
        so that an image may differ by one level of 255 in a few values from the same seed in another batch.
        """
        if self._has_painted or not self._tier.call:
            return self._in_order(call)
        try:
            painted = self._in_order(call)
        except (BatchCancelled, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._blamed(call, error) from error
        self._has_painted = True
        return painted

    def _blamed(self, call: Call, error: Exception) -> Exception:
        """Return what the tier's `call` has to do with an error: a value without which there is none."""
        for name, value in self._tier.call.items():
            other = copy.copy(self)
            fixed = {key: kept for key, kept in self._settings.fixed.items() if key != name}
            other._settings = replace(self._settings, fixed=fixed)
            try:
                other._in_order(call)
            except Exception:  # then it is another value, or none of them
                continue
            return ValueError(f"call.{name}: {value!r} cannot be used: {plain(error)}")
        return error

    def _in_order(self, call: Call) -> Painted:
        """Return the images of as many calls of the pipeline as it takes."""
        count = len(call.prompts)
        if not self._one_at_a_time or count == 1:
            return self._paint(call)
        return _joined([self._paint(call.part(slice(i, i + 1)), i, count) for i in range(count)])

    def _paint(self, call: Call, before: int = 0, of: int = 1) -> Painted:
        """Return the images of one call of the pipeline, `before` which so many `of` all calls were made."""
        arguments: dict[str, Any] = {
            "prompt": list(call.prompts),
            "num_inference_steps": call.steps,
            "width": call.width,
            "height": call.height,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in call.seeds],
            "output_type": "np",
        }
        if call.negative_prompts is not None:
            arguments["negative_prompt"] = list(call.negative_prompts)
        arguments |= edit_arguments(call.edit, call.steps, self._settings.accepts)
        watch = LatentsWatch()
        if call.counter is not None:
            show = functools.partial(self.previewer.show, watch, call)
            arguments |= _step_callback(call, call.counter, show, self._settings.accepts, before, of)
        given = {name: value for name, value in arguments.items() if name in self._settings.accepts}
        try:
            with self.previewer.watching(call, watch):
                output = self._pipeline(**given, **self._settings.fixed, **self._guide(call.guidance))
        except BaseException:
            if self._keeps_state:
                # A pipeline does so when it ends; one that did not would leave its steps to the next call.
                (self._hooked or self._pipeline).maybe_free_model_hooks()
            raise
        if self._keeps_state and self._hooked is not None:
            self._hooked.maybe_free_model_hooks()
        images = getattr(output, "images", None)
        if images is None:
            raise TypeError(f"{type(self._pipeline).__name__} returns no images, but {type(output).__name__}")
        pixels = np.asarray(images, np.float32)
        # DeepFloyd's pipelines have a name of their own for it.
        filtered = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
        if self._checker is not None:
            filtered = self._checker.filtered(pixels)
        self.previewer.learn(watch, pixels)
        return Painted(pixels, filtered, truncated_tokens(call.prompts, self._text_limits))

    def _guide(self, guidance: float | None) -> dict[str, float]:
        """Return the argument that guides; a guider, which tiers share, is set in place of one."""
        name = self._settings.guidance
        for guider, own in self._guiders:
            guider.guidance_scale = own if guidance is None else guidance
        return {name: guidance} if name not in (None, GUIDER) and guidance is not None else {}


def _guiders(pipeline: Any) -> tuple[tuple[Any, float], ...]:
    """Return the guiders of a pipeline with their own scales; HunyuanImage has one for prompts with words to paint."""
    guiders = (getattr(pipeline, name, None) for name in ("guider", "ocr_guider"))
    return tuple((guider, guider.guidance_scale) for guider in guiders if guider is not None)


def _joined(parts: Sequence[Painted]) -> Painted:
    """Return the images of several calls as those of one."""
    filtered, cut = [part.filtered for part in parts], [part.truncated_tokens for part in parts]
    return Painted(
        np.concatenate([part.pixels for part in parts]),
        None if None in filtered else [one for part in filtered for one in part or ()],
        None if None in cut else [one for part in cut for one in part or ()],
    )


def _step_callback(
    call: Call,
    counter: Steps,
    show: Callable[[int, int], None],
    accepts: Collection[str],
    before: int,
    of: int,
) -> dict[str, Callable[..., Any]]:
    """Return the argument by which a pipeline tells each step, in the one of `of` calls with `before` calls before it.

    `show` gets the steps that are done and all of this call. Some (PixArt) have only the argument of older diffusers.
    """

    def note(step: int, steps: int) -> None:
        done = min(step + 1, steps)
        counter.count(of * len(call.prompts), before * steps + done, of * steps)
        show(done, steps)

    def count(pipeline: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Some schedulers (Heun, PNDM) take more timesteps than the steps that they were told.
        note(step, getattr(pipeline, "num_timesteps", None) or call.steps)
        return tensors

    def count_as_before(step: int, *_: Any) -> None:
        note(step, call.steps)

    return {"callback_on_step_end": count} if "callback_on_step_end" in accepts else {"callback": count_as_before}
