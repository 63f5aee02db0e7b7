"""What a tier's settings are in the words of its pipeline: which argument guides, and whether a negative prompt acts.

diffusers' pipelines differ in that: `guidance_scale` is classifier-free guidance in most, an input of the model in
FLUX and nothing in a model that was distilled without it; classifier-free guidance is `true_cfg_scale` where the first
is taken; some read a guider. So it is asked of the pipeline, its models' configs and its signature, not of its name.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hadis.api.tier import TierSettings

from hadis_worker.errors import LoadError

GUIDER = "guider"
"""In place of an argument: the guidance is the scale of the pipeline's guider."""
_FIELDS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "distilled_guidance_scale": "guidance",
    "true_cfg_scale": "trueGuidance",
    "negative_prompt": "negativePrompt",
    "max_sequence_length": "maxSequenceLength",
    "width": "size",
    "height": "size",
}
_OURS = frozenset(_FIELDS) | {
    "prompt",
    "generator",
    "output_type",
    "return_dict",
    "num_images_per_prompt",
    "callback_on_step_end",
    "callback_on_step_end_tensor_inputs",
    "callback",
    "callback_steps",
}
_MUCH = 100.0
"""A guidance at which any pipeline that can guide does."""


@dataclass(frozen=True)
class CallSettings:
    """How a tier's pipeline is called."""

    accepts: frozenset[str]
    """Names of the arguments that the pipeline has."""
    guidance: str | None
    """Argument that the guidance is given as, or GUIDER; None where the pipeline has none that acts."""
    fixed: Mapping[str, Any]
    """Arguments that are the same in every call."""
    is_guided: bool
    """Whether a step computes an image without the prompt too, as classifier-free guidance does."""
    takes_negative_prompts: bool
    """Whether a negative prompt acts, at the tier's guidance."""
    negative_prompt: str | None
    """Of requests that have none; None: none is given."""


@dataclass(frozen=True)
class Acting:
    """What acts in calls of a tier at some guidance."""

    takes_negative_prompts: bool
    default_negative_prompt: str | None
    """What a job that has none is made with; None: without one."""
    refusal: str | None = None
    """Why that guidance would do nothing."""


def acting_at(guidance: float, tier: TierSettings, pipeline: Any) -> Acting:
    """Return what acts in a pipeline where a request sets the guidance itself."""
    changed = tier.model_copy(update={"guidance": guidance, "negative_prompt": None})
    try:
        settings = call_settings(changed, pipeline)
    except LoadError as error:
        # What else the tier could say is not the request's to write.
        return Acting(False, None, str(error).removeprefix(f"tier {tier.name}: ").partition(", or write")[0])
    takes = settings.takes_negative_prompts
    own = tier.negative_prompt if takes else None
    return Acting(takes, settings.negative_prompt if own is None else own)


def call_settings(tier: TierSettings, pipeline: Any) -> CallSettings:
    """Return how a pipeline is called for a tier; raise LoadError for a setting that does nothing there."""
    check_call(tier, pipeline)
    parameters = _parameters(type(pipeline))
    words = _Words(tier.name, type(pipeline).__name__)
    argument = _guidance_argument(pipeline, parameters)
    if argument is None and (tier.guidance or 0) > 1:
        raise words.error("guidance", f"does nothing in this {words.pipeline}; leave it out{_instead(parameters)}")
    fixed = _fixed(tier, argument, words)
    guided = _is_guided(tier, pipeline, parameters, argument)
    takes = "negative_prompt" in parameters and guided
    if tier.negative_prompt is not None and not takes:
        raise words.error("negativePrompt", f"does nothing in this {words.pipeline}{_without_guidance(parameters)}")
    negative = tier.negative_prompt
    if negative is None and takes and "true_cfg_scale" in parameters:
        # These guide only where there is a negative prompt, and then run the model twice per step. So each request
        # is given one: all are guided, and none takes longer than was measured.
        negative = ""
    return CallSettings(frozenset(parameters), argument, fixed, guided, takes, negative)


@dataclass(frozen=True)
class _Words:
    """Who an error speaks of."""

    tier: str
    pipeline: str

    def error(self, field: str, what: str) -> LoadError:
        return LoadError(f"tier {self.tier}: {field}: {what}")


def _guidance_argument(pipeline: Any, parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """Return what guidance acts through."""
    if "guidance_scale" in parameters and _guidance_scale_acts(pipeline):
        return "guidance_scale"
    # FLUX leaves true guidance off, and so must a guidance that a distilled model has no input for.
    if "true_cfg_scale" in parameters and (
        "guidance_scale" not in parameters or _default(parameters, "true_cfg_scale") > 1
    ):
        return "true_cfg_scale"
    if "distilled_guidance_scale" in parameters:
        if _config(pipeline).get("guidance_embeds"):
            return "distilled_guidance_scale"
        return GUIDER if getattr(pipeline, "guider", None) is not None else None
    return None


def _guidance_scale_acts(pipeline: Any) -> bool:
    config = _config(pipeline)
    if config.get("guidance_embeds") or config.get("time_cond_proj_dim"):
        return True
    guides = _guides(pipeline, _MUCH)
    return "guidance_embeds" not in config if guides is None else guides


def _guides(pipeline: Any, guidance: float | None) -> bool | None:
    """Return whether a pipeline does classifier-free guidance at a scale; None where it does not say."""
    if not hasattr(type(pipeline), "do_classifier_free_guidance"):
        return None
    # Each call sets this before it reads the property.
    pipeline._guidance_scale = guidance
    return bool(pipeline.do_classifier_free_guidance)


def _is_guided(
    tier: TierSettings, pipeline: Any, parameters: Mapping[str, inspect.Parameter], argument: str | None
) -> bool:
    if "true_cfg_scale" in parameters:
        return _true_guidance(tier, parameters, argument) > 1
    if "distilled_guidance_scale" in parameters:
        guider = getattr(pipeline, "guider", None)
        return guider is not None and (guider.guidance_scale if tier.guidance is None else tier.guidance) > 1
    guidance = _default(parameters, "guidance_scale") if tier.guidance is None else tier.guidance
    guides = _guides(pipeline, guidance)
    return guidance > 1 if guides is None else guides


def _true_guidance(tier: TierSettings, parameters: Mapping[str, inspect.Parameter], argument: str | None) -> float:
    if tier.true_guidance is not None:
        return tier.true_guidance
    if argument == "true_cfg_scale" and tier.guidance is not None:
        return tier.guidance
    return _default(parameters, "true_cfg_scale")


def check_call(tier: TierSettings, pipeline: Any) -> None:
    """Raise LoadError for an argument that a pipeline, or its class, does not have."""
    kind = pipeline if isinstance(pipeline, type) else type(pipeline)
    parameters = _parameters(kind)
    words = _Words(tier.name, kind.__name__)
    if tier.true_guidance is not None and "true_cfg_scale" not in parameters:
        raise words.error("trueGuidance", f"{words.pipeline} has no true_cfg_scale; write guidance")
    if tier.max_sequence_length is not None and "max_sequence_length" not in parameters:
        raise words.error("maxSequenceLength", f"{words.pipeline} has no max_sequence_length; leave it out")
    for name in tier.call:
        if name in _OURS:
            instead = f"write the tier's {_FIELDS[name]}" if name in _FIELDS else "HADIS sets it"
            raise words.error(f"call.{name}", instead)
        if name not in parameters:
            near = difflib.get_close_matches(name, sorted(parameters.keys() - _OURS), n=1)
            raise words.error(f"call.{name}", f"no argument of {words.pipeline}{f'; is it {near[0]}?' if near else ''}")


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    every = inspect.signature(kind.__call__).parameters
    return {name: p for name, p in every.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name != "self"}


def _fixed(tier: TierSettings, argument: str | None, words: _Words) -> dict[str, Any]:
    fixed: dict[str, Any] = {}
    if tier.true_guidance is not None:
        if argument == "true_cfg_scale" and tier.guidance is not None:
            raise words.error("trueGuidance", f"is what guidance means in this {words.pipeline}; write one of them")
        fixed["true_cfg_scale"] = tier.true_guidance
    if tier.max_sequence_length is not None:
        fixed["max_sequence_length"] = tier.max_sequence_length
    return fixed | tier.call


def _default(parameters: Mapping[str, inspect.Parameter], name: str) -> float:
    """Return the default of a scale; 0 where there is none."""
    value = parameters[name].default if name in parameters else 0.0
    return float(value) if isinstance(value, int | float) else 0.0


def _config(pipeline: Any) -> Mapping[str, Any]:
    """Return the config of what denoises."""
    model = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
    return getattr(model, "config", None) or {}


def _instead(parameters: Mapping[str, inspect.Parameter]) -> str:
    if "true_cfg_scale" in parameters:
        return ", or write trueGuidance"
    others = [name for name in parameters if name.endswith("guidance_scale") and name not in _OURS]
    return f", or write {' or '.join(f'call.{name}' for name in others)}" if others else ""


def _without_guidance(parameters: Mapping[str, inspect.Parameter]) -> str:
    if "negative_prompt" not in parameters:
        return "; leave it out"
    return f" at this guidance; write {'trueGuidance' if 'true_cfg_scale' in parameters else 'guidance'} over 1"
