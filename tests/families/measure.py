"""What a family's tiny model does when it is loaded, warmed up and asked for images as a worker would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from hadis.api.edits import Edits
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, WireEdit, WireJob
from hadis_worker.company import OTHER
from hadis_worker.engine import Engine
from hadis_worker.errors import BatchCancelled, LoadError
from hadis_worker.loading.editors import load_editors
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_painter, load_pipeline
from hadis_worker.painter import Call
from hadis_worker.steps import Steps
from numpy.typing import NDArray
from tiny_models import TinyModels

from families.catalogue import Family

Image = NDArray[np.int16]
_MOST_STEPS = 4
"""Of the images that are compared; those of the warm-up have the tier's own."""
_SIDES = (1, 2, 4, 8, 16, 32, 64)
_MORE_GUIDANCE = 3.0


@dataclass(frozen=True)
class Findings:
    """What a tier of a family does."""

    one_at_a_time: bool
    """Whether the warm-up found that images depend on their company."""
    company: int
    """Most levels of 255 by which an image differs in a batch of three from the same alone."""
    guidance: str | None
    """The fields of a tier that act as guidance; None: none does."""
    guidance_acts: bool
    """Whether each of the fields changed the image or was refused."""
    negatives: str | None
    """What negative prompts need to act: "" is nothing, None is that they never do."""
    negatives_act: bool
    """Whether they changed the image where they are taken, and are refused where they are not."""
    stops: bool
    """Whether a batch stops at a step, and the next one is as if nothing had been."""
    sides: int | None
    """What an image's sides must be multiples of; None: no other size was made."""
    sizes_refused: bool
    """Whether a size that is not made is refused when it is loaded."""
    edits: Edits
    """What it makes from images."""
    edits_company: int
    """Most levels of 255 by which an edit, with a mask where it takes one, differs in a batch from the same alone."""


class Bench:
    """One tier on an engine."""

    def __init__(self, tier: Tier, folder: Path) -> None:
        """Load a tier; raise LoadError."""
        self.tier, self._folder = tier, folder
        self.painter = load_painter(tier, folder, "cpu")
        self.editors = load_editors(tier, self.painter)
        self.engine = Engine([tier], {tier.name: self.painter}, editors={tier.name: self.editors})
        self.steps = min(tier.steps, _MOST_STEPS)

    def variant(self, **fields: Any) -> Bench | None:
        """Return the same with other settings; None where they are refused."""
        try:
            return Bench(self.tier.model_copy(update=fields), self._folder)
        except LoadError:
            return None

    def images(
        self, *prompts: str, seed: int = 0, negative: str | None = None, counter: Steps | None = None
    ) -> list[Image | None]:
        """Return the images of one batch, with seeds from `seed` on; None for one that was refused."""
        jobs = [
            WireJob(id=str(i), prompt=prompt, seed=i, steps=self.steps, negative_prompt=negative)
            for i, prompt in enumerate(prompts, seed)
        ]
        made = self.engine.generate(GenerateBatch(tier=self.tier.name, jobs=tuple(jobs)), counter)
        for result, _ in made:
            assert result.error_code in (None, "invalid"), result.error
        return [None if image is None else np.asarray(image, np.int16) for _, image in made]

    def image(self, negative: str | None = None) -> Image | None:
        """Return one image."""
        return self.images("a cat", negative=negative)[0]

    def size_at(self, more: int) -> tuple[int, int] | None:
        """Return width and height of an image that was asked to be so much wider; None where that fails."""
        width, height = (int(side) for side in self.tier.size.split("x"))
        call = Call(("a cat",), None, (0,), width + more, height, self.steps, self.tier.guidance)
        try:
            with torch.inference_mode():
                made = self.painter.paint(call).pixels.shape
        except Exception:  # each pipeline has its own for sizes that it cannot make
            return None
        return (made[2] - more, made[1]) if made[2] - more == width else None


class _StopAfterOne(Steps):
    """Cancels the batch at its first step."""

    def count(self, images: int, done: int, steps: int) -> None:
        super().count(images, done, steps)
        if done:
            self.cancel()


def measure(family: Family, models: TinyModels, folder: Path) -> Findings:
    """Return what a family does; `folder` is an empty one. Raises LoadError where it cannot be served at all."""
    with family.around():
        link(family.stands_in, models, folder)
        return _measure(family, folder)


def _measure(family: Family, folder: Path) -> Findings:
    bench = Bench(family.tiny_tier, folder)
    load_pipeline(bench.tier, folder, torch.bfloat16, Modules())  # checks the type of the weights
    bench.engine.warm_up(bench.tier)
    guidance, guidance_acts = _guidance(bench)
    negatives, negatives_act = _negatives(bench)
    sides = next((more for more in _SIDES if bench.size_at(more)), None)
    return Findings(
        one_at_a_time=bench.engine.makes_one_at_a_time(bench.tier.name),
        company=_company(bench),
        guidance=guidance,
        guidance_acts=guidance_acts,
        negatives=negatives,
        negatives_act=negatives_act,
        stops=_stops(bench),
        sides=sides,
        sizes_refused=sides == 1 or _refuses_a_size(bench),
        edits=bench.editors.ability,
        edits_company=_edits_company(bench) if bench.editors.plain else 0,
    )


def link(stands_in: Mapping[str, str], models: TinyModels, folder: Path) -> None:
    """Put tiny models where a folder's repositories would be."""
    for repository, model in stands_in.items():
        path = folder / repository
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(models.get(model))


def _levels(one: Image | None, other: Image | None) -> int:
    assert one is not None
    assert other is not None
    return int(np.abs(one - other).max())


def _company(bench: Bench) -> int:
    prompts = ("a cat", OTHER, "a dog")
    together = bench.images(*prompts)
    return max(_levels(bench.images(prompt, seed=i)[0], together[i]) for i, prompt in enumerate(prompts))


def _edits_company(bench: Bench) -> int:
    """Edit two pictures, the second one partly transparent, together and alone."""
    width, height = (int(side) for side in bench.tier.size.split("x"))
    inputs = tuple(_png(PIL.Image.new("RGBA", (width, height), colour)) for colour in ("#ff0000ff", "#0000ff00"))
    jobs = tuple(
        WireJob(id=str(i), prompt=prompt, seed=i, steps=bench.steps, edit=WireEdit(images=(i % 2,)))
        for i, prompt in enumerate(("a cat", "a dog", OTHER, OTHER))
    )

    def images(jobs: tuple[WireJob, ...]) -> list[Image]:
        made = bench.engine.generate(GenerateBatch(tier=bench.tier.name, jobs=jobs).with_inputs(inputs))
        return [np.asarray(image, np.int16) for _, image in made]

    together = images(jobs)
    return max(_levels(images((job,))[0], image) for job, image in zip(jobs[:2], together[:2], strict=True))


def _png(image: PIL.Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _guidance(bench: Bench) -> tuple[str | None, bool]:
    """Return the fields that change the image, and whether those that do not are refused."""
    more = (bench.tier.guidance or 0) + _MORE_GUIDANCE
    plain = bench.image()
    tried = {
        field: bench.variant(**{name: more})
        for name, field in (("guidance", "`guidance`"), ("true_guidance", "`trueGuidance`"))
    }
    acts = {field: _levels(plain, other.image()) > 0 for field, other in tried.items() if other is not None}
    return " and ".join(field for field in acts if acts[field]) or None, all(acts.values())


def _refuses_a_size(bench: Bench) -> bool:
    width, height = (int(side) for side in bench.tier.size.split("x"))
    other = bench.variant(size=f"{width + 1}x{height}", steps=bench.steps)
    assert other is not None
    try:
        other.engine.warm_up(other.tier)
    except LoadError as error:
        return f"tier {bench.tier.name}: " in str(error)
    return False


def _negatives(bench: Bench) -> tuple[str | None, bool]:
    """Return what negative prompts need, and whether all that was tried was as it says."""
    if bench.painter.takes_negative_prompts:
        return "", _differ(bench)
    refused = bench.image(negative="a dog") is None
    more = (bench.tier.guidance or 0) + _MORE_GUIDANCE
    for field, words in (("guidance", "`guidance`"), ("true_guidance", "`trueGuidance`")):
        other = bench.variant(**{field: more})
        if other is not None and other.painter.takes_negative_prompts:
            return words, refused and _differ(other)
    return None, refused


def _differ(bench: Bench) -> bool:
    return _levels(bench.image(), bench.image(negative="a dog")) > 0


def _stops(bench: Bench) -> bool:
    if bench.steps == 1:
        return True  # it ends as soon as it could stop
    before = bench.image()
    try:
        bench.images("a cat", counter=_StopAfterOne(1, bench.steps))
    except BatchCancelled:
        return _levels(before, bench.image()) == 0
    return False


def failures(findings: Findings) -> Sequence[str]:
    """Return which promises of a worker do not hold."""
    promises = {
        "an image is the same alone and in a batch": findings.company <= 1,
        "guidance acts or is refused": findings.guidance_acts,
        "negative prompts act or are refused": findings.negatives_act,
        "a batch stops at a step": findings.stops,
        "a size that is not made is refused": findings.sizes_refused,
        "an edit is the same alone and in a batch": findings.edits_company <= 1,
    }
    return [promise for promise, held in promises.items() if not held]
