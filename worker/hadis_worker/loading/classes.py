"""Which pipeline class a tier is, and whether it makes images of text alone; asked before anything large is fetched."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from hadis.api.tier import Tier

from hadis_worker.errors import LoadError

_MOVES = {"num_frames": "videos", "video_length": "videos", "audio_length_in_s": "sound", "audio_end_in_s": "sound"}
_OF_IMAGES = ("Img2Img", "Inpaint", "Control", "Upscale", "Pix2Pix", "Depth2Img", "Edit", "Fill")
"""In the names of pipelines that begin with an image."""
_VERSION = diffusers.__version__


def pipeline_class(tier: Tier, index: Mapping[str, Any]) -> Any:
    """Return the class of a tier's pipeline; raise LoadError for one that is not there, or is of no use here."""
    name = tier.pipeline or index.get("_class_name")
    if not isinstance(name, str):
        raise LoadError("its pipeline has code of its own, which is not run; name a class of diffusers as pipeline")
    pipeline = getattr(diffusers, name, None)
    if not (isinstance(pipeline, type) and issubclass(pipeline, diffusers.DiffusionPipeline)):
        where = "" if tier.pipeline else " that its model_index.json names"
        near = difflib.get_close_matches(name, [n for n in dir(diffusers) if n.endswith("Pipeline")], n=1)
        advice = f"; is it {near[0]}?" if near and tier.pipeline else "; a later diffusers may have it"
        raise LoadError(f"diffusers {_VERSION} has no pipeline {name}{where}{advice}")
    _check_use(pipeline)
    return pipeline


def _check_use(pipeline: Any) -> None:
    parameters = inspect.signature(pipeline.__call__).parameters
    for name, what in _MOVES.items():
        if name in parameters:
            raise LoadError(f"{pipeline.__name__} makes {what}, no images")
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and name not in ("self", "prompt")
    ]
    if needed or "prompt" not in parameters:
        what = f"needs {' and '.join(needed)} of another pipeline or of the caller" if needed else "takes no prompt"
        raise LoadError(f"{pipeline.__name__} {what}; a tier makes images of text alone")
    if _needs_image(pipeline):
        raise LoadError(f"{pipeline.__name__} needs an image; a tier makes images of text alone")


def _needs_image(pipeline: Any) -> bool:
    # diffusers' own lists of these import every pipeline there is. One that is missed here fails in the warm-up.
    parameters = inspect.signature(pipeline.__call__).parameters
    return "image" in parameters and any(word in pipeline.__name__ for word in _OF_IMAGES)
