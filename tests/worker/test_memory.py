"""Where weights lie, in which order, and how images are decoded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from fast_tiers import PROMPTS, apart, calls_of, fast, pointers
from hadis_worker.errors import BatchCancelled, LoadError
from hadis_worker.loading.modules import Modules
from hadis_worker.speed.apply import apply
from hadis_worker.steps import Steps
from tiny_models import TinyModels, tiny_tier


def test_channels_last_is_the_order_of_unet_and_vae(tiny: TinyModels) -> None:
    modules = Modules()
    last = fast(tiny.get("sdxl"), modules, speed={"channelsLast": True})
    plain = fast(tiny.get("sdxl"), modules)
    for one, ordered in ((last, True), (plain, False)):
        for weight in (one.denoiser.conv_in.weight, one.pipeline.vae.decoder.conv_in.weight):
            assert weight.is_contiguous(memory_format=torch.channels_last) is ordered
    assert last.pipeline.text_encoder is plain.pipeline.text_encoder
    assert apart(last.paint(), plain.paint()) < 1e-4


def test_slicing_decodes_one_image_after_the_other(tiny: TinyModels) -> None:
    modules = Modules()
    sliced, plain = fast(tiny.get("sdxl"), modules, speed={"vae": {"slicing": True}}), fast(tiny.get("sdxl"), modules)
    assert pointers(sliced.pipeline.vae) == pointers(plain.pipeline.vae)
    calls = [calls_of(one.pipeline.vae.decoder) for one in (sliced, plain)]
    images = [one.paint(*PROMPTS) for one in (sliced, plain)]
    assert [len(each) for each in calls] == [3, 1]
    assert apart(*images) < 1e-5


def test_tiling_is_not_the_same_image_and_never_on_by_itself(tiny: TinyModels) -> None:
    modules = Modules()
    tiled, plain = (
        fast(tiny.get("sdxl"), modules, size="64x64", speed={"vae": {"tiling": on}}) for on in (True, False)
    )
    calls = [calls_of(one.pipeline.vae.decoder) for one in (tiled, plain)]
    images = [one.paint() for one in (tiled, plain)]
    assert len(calls[0]) > len(calls[1]) == 1
    assert apart(*images) > 1e-4
    assert not fast(tiny.get("sdxl"), modules).pipeline.vae.use_tiling


def test_groups_of_layers_are_moved_when_they_run(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[ModuleGroup] = []
    onload = ModuleGroup.onload_

    def noted(group: ModuleGroup) -> None:
        moved.append(group)
        onload(group)

    monkeypatch.setattr(ModuleGroup, "onload_", noted)
    modules = Modules()
    offloaded, plain = (
        fast(tiny.get("sd3-deep"), modules, speed={"offload": "group"}),
        fast(tiny.get("sd3-deep"), modules),
    )
    assert not pointers(offloaded.denoiser) & pointers(plain.denoiser)
    expected = plain.paint()
    assert moved == []
    assert apart(offloaded.paint(), expected) < 1e-5
    assert len({id(group) for group in moved}) > 3


def test_components_are_moved_when_they_run_also_after_a_batch_that_was_stopped(tiny: TinyModels) -> None:
    class Stopped(Steps):
        def count(self, images: int, done: int, steps: int) -> None:
            raise BatchCancelled

    offloaded = fast(tiny.get("sd3-deep"), speed={"offload": "model"})
    expected = fast(tiny.get("sd3-deep")).paint()
    assert apart(offloaded.paint(), expected) < 1e-5
    hook = offloaded.denoiser._hf_hook
    with pytest.raises(BatchCancelled):
        offloaded.paint(counter=Stopped(1, 2))
    assert offloaded.denoiser._hf_hook is not hook, "the components are put back"
    assert apart(offloaded.paint(), expected) < 1e-5


def test_what_a_model_cannot_do() -> None:
    without = SimpleNamespace(vae=torch.nn.Linear(1, 1), to=lambda device: None)
    for speed, words in (
        ({"vae": {"tiling": True}}, "speed.vae.tiling: Linear has none; leave it out"),
        ({"channelsLast": True}, "speed.channelsLast: the model has no convolutions of images; leave it out"),
        ({"compile": "full"}, "speed.compile: SimpleNamespace has neither a transformer nor a UNet; leave it out"),
    ):
        with pytest.raises(LoadError, match=f"^{words}$"):
            apply(tiny_tier("m", speed=speed), without, "cpu")
