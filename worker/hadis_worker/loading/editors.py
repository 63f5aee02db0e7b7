"""A tier's editors: diffusers' pipelines for edits around the modules that its own pipeline has, in memory once.

Whether a model can edit is found out here and by an image at the warm-up, not by its name. What it cannot do it says.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from typing import Any

import diffusers
import torch
from hadis.api.edits import MOST_EDIT_IMAGES
from hadis.api.pipeline import width_height
from hadis.api.tier import Tier
from PIL import Image

from hadis_worker.edit_call import Edit
from hadis_worker.editing import NO_EDITORS, Editor, Editors
from hadis_worker.errors import LoadError
from hadis_worker.inputs import EditInput
from hadis_worker.loading.faults import plain
from hadis_worker.painter import Call
from hadis_worker.pipelines import DiffusersPainter

log = logging.getLogger(__name__)


def load_editors(tier: Tier, painter: DiffusersPainter) -> Editors:
    """Return a tier's editors, each of which has made an image; what cannot is left out."""
    if tier.speed.cache is not None:
        log.info("tier %s takes no images: its step cache was measured with all of its steps", tier.name)
        return NO_EDITORS
    images = _editor(tier, painter, masked=False)
    return Editors(images, _editor(tier, painter, masked=True) if images else None)


def _editor(tier: Tier, painter: DiffusersPainter, *, masked: bool) -> Editor | None:
    """Return what edits with a mask or without; None where nothing does."""
    try:
        editing = painter.editing(functools.partial(_pipeline, masked=masked))
        _try(tier, editing, masked=masked)
    except Exception as error:  # each pipeline has its own for what it cannot do
        log.info("tier %s takes no %s: %s", tier.name, "masks" if masked else "images", plain(error))
        return None
    most_images = 1 if editing.has_strength else _most_images(tier, editing)
    return Editor(editing, most_images, has_strength=editing.has_strength)


def _pipeline(pipeline: Any, *, masked: bool) -> Any:
    """Return the pipeline for edits that has all modules of another one; raise LoadError where there is none.

    diffusers' own `from_pipe` casts modules, or imports every pipeline that there is.
    """
    kind = _kind(type(pipeline), masked)
    # A scheduler keeps where it is, and edits would leave the tier's own elsewhere.
    own = {**pipeline.config, **pipeline.components, "scheduler": copy.deepcopy(pipeline.scheduler)}
    made = kind(**{name: own[name] for name in inspect.signature(kind.__init__).parameters if name in own})
    made.set_progress_bar_config(disable=True)
    return made


def _kind(generating: Any, masked: bool) -> Any:
    name = generating.__name__.removesuffix("Pipeline") + ("InpaintPipeline" if masked else "Img2ImgPipeline")
    kind = getattr(diffusers, name, None)
    if kind is None and not masked and "image" in inspect.signature(generating.__call__).parameters:
        return generating
    if kind is None:
        raise LoadError(f"diffusers {diffusers.__version__} has no {name}")
    return kind


def _most_images(tier: Tier, editing: DiffusersPainter) -> int:
    """Return how many images a pipeline takes for one; to some, two are for two."""
    try:
        _try(tier, editing, images=2)
    except Exception:
        return 1
    return MOST_EDIT_IMAGES


def _try(tier: Tier, editing: DiffusersPainter, *, masked: bool = False, images: int = 1) -> None:
    """Make one image in one step; raise what the model raises, and ValueError where it is none of the tier's size."""
    width, height = width_height(tier.size)
    grey = Image.new("RGB", (width, height), "grey")
    given = EditInput((grey,) * images, Image.new("L", grey.size, 255) if masked else None)
    steps, strength = (tier.steps, 1 / tier.steps) if editing.has_strength else (1, 1.0)
    negative = editing.default_negative_prompt
    negatives = None if negative is None else (negative,)
    call = Call(("a cat",), negatives, (0,), width, height, steps, tier.guidance, edit=Edit((given,), strength))
    with torch.inference_mode():
        made = editing.paint(call).pixels
    if made.shape[:3] != (1, height, width):
        raise ValueError(f"it makes images of another shape, {made.shape}")
