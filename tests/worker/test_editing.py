"""Edits by tiny models: in memory once, alike alone and in company, kept where a mask says, bad ones harm nobody."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, WireEdit, WireJob
from hadis_worker.batches import check_batch
from hadis_worker.edit_call import Edit, edit_arguments
from hadis_worker.editing import Editor, Editors
from hadis_worker.engine import Engine
from hadis_worker.errors import BatchCancelled, BatchError
from hadis_worker.loading.editors import load_editors
from hadis_worker.loading.tiers import load_painter
from hadis_worker.painter import Call, Painted
from hadis_worker.pipelines import DiffusersPainter
from hadis_worker.steps import Steps
from numpy.typing import NDArray
from PIL import Image
from tiny_models import TinyModels, tiny_tier

Levels = NDArray[np.int16]
PROMPTS = ("a cat", "a crowded market square in the rain at night", "a dog")


class Bench:
    """A tier that takes images, on an engine."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.painter = load_painter(tier, Path(), "cpu")
        self.editors = load_editors(tier, self.painter)
        self.engine = Engine([tier], {tier.name: self.painter}, editors={tier.name: self.editors})

    def batch(self, inputs: Sequence[bytes], edits: Sequence[dict[str, Any]], **fields: Any) -> GenerateBatch:
        jobs = [
            WireJob(id=str(i), prompt=PROMPTS[i % 3], seed=i, edit=WireEdit(**edit), **fields)
            for i, edit in enumerate(edits)
        ]
        return GenerateBatch(tier=self.tier.name, jobs=tuple(jobs)).with_inputs(tuple(inputs))

    def edit(self, inputs: Sequence[bytes], *edits: dict[str, Any], **fields: Any) -> list[Levels]:
        """Return each edit's image."""
        return [levels(image) for _, image in self.engine.generate(self.batch(inputs, edits, **fields))]

    def faults(self, inputs: Sequence[bytes], *edits: dict[str, Any]) -> list[str | None]:
        """Return what is wrong with each edit."""
        made = self.engine.generate(self.batch(inputs, edits))
        assert {result.error_code for result, _ in made} <= {None, "invalid"}
        return [result.error for result, _ in made]

    def generate(self) -> Levels:
        [(_, image)] = self.engine.generate(GenerateBatch(tier="t", jobs=(WireJob(id="g", prompt="a cat", seed=3),)))
        return levels(image)


def levels(image: Image.Image | None) -> Levels:
    assert image is not None
    return np.asarray(image, np.int16)


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def picture(*colours: str, side: int = 32) -> bytes:
    """Return a square picture in stripes."""
    image = Image.new("RGB", (side, side))
    for i, colour in enumerate(colours):
        image.paste(colour, (side * i // len(colours), 0, side, side))
    return png(image)


RED = picture("red", "white", "blue")
MASK = Image.new("RGBA", (32, 32), "#000000ff")
MASK.paste("#00000000", (0, 0, 32, 16))
ANEW = np.zeros((32, 32), bool)
ANEW[:16] = True


@pytest.fixture(scope="module")
def sdxl(tiny: TinyModels) -> Bench:
    return Bench(tiny_tier(tiny.get("sdxl"), steps=5, tunable=True))


@pytest.mark.parametrize("model", ["sd15", "sdxl", "sd3", "flux-dev"])
def test_editors_have_the_tiers_modules_and_no_others(model: str, tiny: TinyModels) -> None:
    bench = Bench(tiny_tier(tiny.get(model)))
    own = weights(bench.painter)
    for editor in (bench.editors.plain, bench.editors.masked):
        assert editor is not None
        assert isinstance(editor._painter, DiffusersPainter)
        assert own
        assert weights(editor._painter) == own


def weights(painter: DiffusersPainter) -> set[int]:
    """Return where all weights of a painter's pipeline are."""
    parts = painter._pipeline.components.values()
    return {w.data_ptr() for part in parts if isinstance(part, torch.nn.Module) for w in part.parameters()}


def test_strength_is_how_far_an_image_goes_from_its_input(sdxl: Bench) -> None:
    few, some, all_ = (sdxl.edit([RED], {"images": (0,), "strength": strength})[0] for strength in (0.2, 0.6, 1.0))
    default = sdxl.edit([RED], {"images": (0,)})[0]
    assert np.array_equal(default, sdxl.edit([RED], {"images": (0,), "strength": 0.8})[0])
    assert not np.array_equal(some, all_)
    source = levels(Image.open(BytesIO(RED)))
    other = sdxl.edit([picture("green", "black")], {"images": (0,), "strength": 0.2})[0]
    assert np.abs(few - other).mean() > 0, "the input is seen"
    assert few.shape == source.shape


@pytest.mark.parametrize(
    ("steps", "strength", "asked", "made"),
    [(1, 0.8, 2, 1), (1, 0.01, 10, 1), (4, 0.8, 4, 3), (49, 0.01, 49, 1), (4, 1.0, 4, 4), (1, 1.0, 1, 1)],
)
def test_at_least_one_step_is_made_and_no_more_than_the_tiers(
    steps: int, strength: float, asked: int, made: int
) -> None:
    arguments = edit_arguments(Edit((), strength), steps, {"strength"})
    assert arguments["num_inference_steps"] == asked
    assert int(asked * arguments["strength"]) == made <= steps


@pytest.mark.parametrize("masked", [False, True])
def test_an_edit_is_the_same_alone_and_in_company(sdxl: Bench, masked: bool) -> None:
    inputs = [RED, picture("green", "black"), png(MASK)]
    mask = {"mask": 2} if masked else {}
    edits = [{"images": (i % 2,), **mask} for i in range(3)]
    together = sdxl.edit(inputs, *edits)
    for i, edit in enumerate(edits):
        job = WireJob(id="x", prompt=PROMPTS[i], seed=i, edit=WireEdit(**edit))
        batch = GenerateBatch(tier="t", jobs=(job,)).with_inputs(tuple(inputs))
        [(_, image)] = sdxl.engine.generate(batch)
        assert np.abs(levels(image) - together[i]).max() <= 1
    assert np.abs(together[0] - together[2]).max() > 1


def test_what_a_mask_keeps_is_the_inputs_pixels_and_the_rest_is_made_anew(sdxl: Bench) -> None:
    source = Image.open(BytesIO(RED))
    transparent = source.copy()
    transparent.putalpha(MASK.getchannel("A"))
    [by_mask] = sdxl.edit([RED, png(MASK)], {"images": (0,), "mask": 1})
    [by_itself, whole] = sdxl.edit([png(transparent), RED], {"images": (0,)}, {"images": (1,)})
    for made in (by_mask, by_itself):
        assert np.array_equal(made[~ANEW], levels(source)[~ANEW])
        assert not np.array_equal(made[ANEW], levels(source)[ANEW])
    assert not np.array_equal(whole[~ANEW], levels(source)[~ANEW])


def test_a_bad_image_is_its_own_jobs_fault(sdxl: Bench) -> None:
    inputs = [RED, b"GIF89a", png(Image.new("RGBA", (8, 8))), b""]
    faults = sdxl.faults(inputs, *({"images": (i,)} for i in range(4)))
    bad = "image: is no PNG, JPEG or WebP image"
    assert faults == [None, bad, None, bad], "a wholly transparent one is all made anew"


def test_halves_of_a_batch_that_was_too_large_keep_their_inputs() -> None:
    class Small:
        """Paints what it is given, one at a time."""

        takes_negative_prompts = False
        default_negative_prompt: str | None = None
        prompt_tokens: int | None = None

        def paint(self, call: Call) -> Painted:
            if len(call.prompts) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            assert call.edit is not None
            return Painted(np.asarray([one.images[0] for one in call.edit.inputs], np.float32) / np.float32(255))

    painter, tier = Small(), tiny_tier("m")
    engine = Engine([tier], {"t": painter}, editors={"t": Editors(Editor(painter))})
    colours = ("red", "green", "blue")
    jobs = tuple(WireJob(id=str(i), prompt="p", seed=0, edit=WireEdit(images=(i,))) for i in range(3))
    batch = GenerateBatch(tier="t", jobs=jobs).with_inputs(tuple(map(picture, colours)))
    made = [levels(image) for _, image in engine.generate(batch)]
    for image, colour in zip(made, colours, strict=True):
        assert np.array_equal(image, levels(Image.open(BytesIO(picture(colour)))))


def test_images_are_generated_after_an_edit_as_before(sdxl: Bench) -> None:
    before = sdxl.generate()
    sdxl.edit([RED], {"images": (0,), "strength": 0.4})
    assert np.array_equal(before, sdxl.generate())


def test_steps_are_told_and_stop_an_edit(sdxl: Bench) -> None:
    steps_done: list[int] = []

    class Noted(Steps):
        def count(self, images: int, done: int, steps: int) -> None:
            super().count(images, done, steps)
            steps_done.append(self.progress.done)
            if len(steps_done) == 3 and stop:
                self.cancel()

    batch, stop = sdxl.batch([RED], [{"images": (0,), "strength": 0.8}]), False
    sdxl.engine.generate(batch, Noted(1, 5))
    assert steps_done == [0, 1, 2, 3, 5], "four of its five steps are made, and it is done"
    steps_done.clear()
    stop = True
    with pytest.raises(BatchCancelled):
        sdxl.engine.generate(batch, Noted(1, 5))
    assert len(steps_done) == 3


def test_negative_prompts_act_on_edits(sdxl: Bench) -> None:
    plain, negative = (sdxl.edit([RED], {"images": (0,)}, negative_prompt=text)[0] for text in (None, "a dog"))
    assert not np.array_equal(plain, negative)


def test_an_edits_image_is_looked_at_by_the_checker(sdxl: Bench) -> None:
    class Checker:
        def filtered(self, pixels: Any) -> list[bool]:
            return [True] * len(pixels)

    painter = DiffusersPainter(sdxl.painter._pipeline, sdxl.tier, Checker())
    engine = Engine([sdxl.tier], {"t": painter}, editors={"t": load_editors(sdxl.tier, painter)})
    [(result, image)] = engine.generate(sdxl.batch([RED], [{"images": (0,)}]))
    assert (result.error_code, image) == ("content_filtered", None)


@pytest.mark.parametrize(
    ("model", "edit", "message"),
    [
        ("sana", {"images": (0,)}, "image: tier t takes none"),
        ("sana", {"images": (0,), "mask": 1}, "mask: tier t takes none"),
        ("flux2", {"images": (0,), "mask": 1}, "mask: tier t takes none"),
        ("sdxl", {"images": (0, 0)}, "image: tier t takes no more than 1 at a time"),
    ],
)
def test_what_a_tier_cannot_edit_it_says(model: str, edit: dict[str, Any], message: str, tiny: TinyModels) -> None:
    call = {"call": {"use_resolution_binning": False}} if model == "sana" else {}
    bench = Bench(tiny_tier(tiny.get(model), size="64x64", **call))
    assert bench.faults([RED, png(MASK)], edit) == [message]


def test_images_that_are_references_are_taken_together_and_batches_made_one_at_a_time(tiny: TinyModels) -> None:
    bench = Bench(tiny_tier(tiny.get("flux2"), size="64x64"))
    assert bench.editors.ability.model_dump() == {"images": 16, "masks": False, "strength": False}
    other = picture("green", "black", side=64)
    one, both = bench.edit([RED, other], {"images": (0,)})[0], bench.edit([RED, other], {"images": (0, 1)})[0]
    after_red, after_other = (bench.edit([RED, other], {"images": (i,)}, {"images": (1,)}) for i in (0, 1))
    assert np.abs(one - after_red[0]).max() <= 1
    assert np.array_equal(after_red[1], after_other[1]), "its references are its own"
    assert not np.array_equal(one, both)


def test_a_cached_tier_takes_no_images(tiny: TinyModels) -> None:
    tier = tiny_tier(tiny.get("flux-dev"), speed={"cache": {"kind": "firstBlock", "threshold": 0.1}})
    assert load_editors(tier, load_painter(tier, Path(), "cpu")).ability.images == 0


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([{"images": (0,)}, None], "kind of edit"),
        ([{"images": (0,)}, {"images": (0,), "strength": 0.5}], "kind of edit"),
        ([{"images": (0,)}, {"images": (0,), "mask": 0}], "kind of edit"),
        ([{"images": (0, 1)}], "made from input 1, but there are 1"),
    ],
)
def test_edits_that_are_not_alike_or_lack_an_input_are_no_batch(edits: list[Any], message: str) -> None:
    jobs = tuple(
        WireJob(id=str(i), prompt="p", seed=0, edit=None if edit is None else WireEdit(**edit))
        for i, edit in enumerate(edits)
    )
    batch = GenerateBatch(tier="t", jobs=jobs).with_inputs((RED,))
    with pytest.raises(BatchError, match=message):
        check_batch(batch, {"t": tiny_tier("m")}, judges=False)
