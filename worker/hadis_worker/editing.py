"""Edits: images made from other images, by pipelines that share every module with the tier's own.

    image-to-image  begins with the input's noised latents, and makes only a share (`strength`) of the steps
    inpainting      likewise, where a mask says
    references      (FLUX.2, Kontext) look at the inputs beside the prompt; they make every step and have no strength

What a mask keeps is the input's own pixels, whichever of them made the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hadis.api.edits import Edits
from hadis.protocol.worker import GenerateBatch, TierAbility, WireEdit, WireJob

from hadis_worker.arguments import Acting
from hadis_worker.batches import Fault
from hadis_worker.calls import acting_of
from hadis_worker.edit_call import Edit
from hadis_worker.inputs import EditInput, InputError, read_input
from hadis_worker.painter import Call, Painted, Painter, Pixels

_STRENGTH, _STRENGTH_MASKED = 0.8, 1.0
"""Of edits that name none: what is masked is made wholly anew."""


class Editor:
    """Makes edits of one kind."""

    def __init__(self, painter: Painter, most_images: int = 1, *, has_strength: bool = True) -> None:
        """`most_images` is how many an edit may be made from."""
        self._painter, self.most_images, self.has_strength = painter, most_images, has_strength
        self.takes_negative_prompts = painter.takes_negative_prompts
        self.default_negative_prompt = painter.default_negative_prompt
        self.prompt_tokens = painter.prompt_tokens

    def acting(self, guidance: float) -> Acting:
        """Return what acts where a request sets the guidance."""
        return acting_of(self._painter, guidance)

    def paint(self, call: Call) -> Painted:
        """Return one image per prompt; raise whatever the model raises."""
        assert call.edit is not None
        painted = self._painter.paint(call)
        return replace(painted, pixels=_kept(painted.pixels, call.edit.inputs))


@dataclass(frozen=True)
class Editors:
    """What makes a tier's edits, by whether a mask says what is made anew; None: nothing does."""

    plain: Editor | None = None
    masked: Editor | None = None

    def editor(self, masked: bool) -> Editor | None:
        """Return what makes an edit; one with a mask also where only the other kind is there, for the rest is kept."""
        return (self.masked or self.plain) if masked else self.plain

    @property
    def ability(self) -> Edits:
        """What a profile says of them."""
        images = max((editor.most_images for editor in (self.plain, self.masked) if editor), default=0)
        strength = self.plain is None or self.plain.has_strength
        return Edits(images=images, masks=self.masked is not None, strength=strength)


NO_EDITORS = Editors()


def ability_of(painter: Painter, editors: Editors) -> TierAbility:
    """Return what a tier with this painter and these editors can do."""
    return TierAbility(
        negative_prompts=painter.takes_negative_prompts, edits=editors.ability, prompt_tokens=painter.prompt_tokens
    )


@dataclass(frozen=True)
class Work:
    """Jobs of a batch that one painter makes, and what they are made from, by id."""

    painter: Painter
    jobs: tuple[WireJob, ...]
    inputs: Mapping[str, EditInput]

    def call(self, call: Call, jobs: Sequence[WireJob]) -> Call:
        """Return the call for some of the jobs with what they are made from."""
        if not self.inputs:
            return call
        inputs = tuple(self.inputs[job.id] for job in jobs)
        strength = jobs[0].edit.strength if jobs[0].edit else None
        default = _STRENGTH if inputs[0].mask is None else _STRENGTH_MASKED
        return replace(call, edit=Edit(inputs, strength or default))


def works_of(
    batch: GenerateBatch, painter: Painter, editors: Editors, width: int, height: int
) -> tuple[list[Work], dict[str, Fault]]:
    """Return who makes which jobs of a batch of a size (pixels), and the faults of those that nobody can, by id.

    An image that is partly transparent is its own mask, so that not all edits of a batch are of one kind.
    """
    edits = [(job, job.edit) for job in batch.jobs if job.edit is not None]
    if not edits:
        return [Work(painter, batch.jobs, {})], {}
    read: dict[tuple[int, ...], EditInput | Fault] = {}
    for _, edit in edits:
        if edit.inputs not in read:  # images of one request share theirs
            read[edit.inputs] = _read(edit, batch, editors, width, height)
    outcomes = {job.id: read[edit.inputs] for job, edit in edits}
    inputs = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, EditInput)}
    faults = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Fault)}
    works = []
    for masked in (False, True):
        jobs = tuple(job for job in batch.jobs if job.id in inputs and (inputs[job.id].mask is not None) == masked)
        if jobs and (editor := editors.editor(masked)) is not None:
            works.append(Work(editor, jobs, inputs))
    return works, faults


def _read(edit: WireEdit, batch: GenerateBatch, editors: Editors, width: int, height: int) -> EditInput | Fault:
    """Return what an edit is made from, or why its tier cannot make it."""
    masked = edit.mask is not None
    try:
        if editors.plain is None or (masked and editors.masked is None):
            raise InputError(f"{'mask' if masked else 'image'}: tier {batch.tier} takes none")
        _check_count(edit, editors.editor(masked), batch.tier)
        read = read_input(edit, batch.inputs, width, height)
        _check_count(edit, editors.editor(read.mask is not None), batch.tier)
    except InputError as error:
        return Fault("invalid", str(error))
    return read


def _check_count(edit: WireEdit, editor: Editor | None, tier: str) -> None:
    if editor is not None and len(edit.images) > editor.most_images:
        raise InputError(f"image: tier {tier} takes no more than {editor.most_images} at a time")


def _kept(pixels: Pixels, inputs: Sequence[EditInput]) -> Pixels:
    """Return images with the input's pixels where a mask keeps them."""
    if all(one.mask is None for one in inputs):
        return pixels
    kept = pixels.copy()
    for image, one in zip(kept, inputs, strict=True):
        if one.mask is not None:
            stays = np.asarray(one.mask) == 0
            image[stays] = (np.asarray(one.images[0], np.float32) / np.float32(255))[stays]
    return kept
