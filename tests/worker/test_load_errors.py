"""What cannot be loaded is one line that names the tier and says what to write or install."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import httpx
import pytest
from hadis.api.tier import Tier
from hadis_worker.errors import LoadError
from hadis_worker.loading import sources
from hadis_worker.loading.faults import explain
from hadis_worker.loading.tiers import load_painter
from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError
from tiny_models import LORA_FILE, UNET_FILE, TinyModels, tiny_tier


def fault(tier: Tier, folder: Path) -> str:
    with pytest.raises(LoadError) as caught:
        load_painter(tier, folder, "cpu")
    text = str(caught.value)
    assert text.startswith(f"tier t: model {tier.model!r} cannot be loaded")
    assert "\n" not in text
    return text


def copy(tiny: TinyModels, model: str, to: Path, **index: Any) -> Path:
    """Return a copy of a model with other entries in its model_index.json."""
    shutil.copytree(tiny.get(model), to)
    path = to / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | index))
    return to


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"pipeline": "StableDifusionPipeline"},
            "has no pipeline StableDifusionPipeline; is it StableDiffusionPipeline?",
        ),
        ({"pipeline": "UNet2DConditionModel"}, "has no pipeline UNet2DConditionModel"),
        ({"pipeline": "StableDiffusionImg2ImgPipeline"}, "StableDiffusionImg2ImgPipeline needs an image"),
        ({"pipeline": "KandinskyV22Pipeline"}, "KandinskyV22Pipeline needs image_embeds and negative_image_embeds of"),
        ({"pipeline": "WanPipeline"}, "WanPipeline makes videos, no images"),
        ({"components": {"transformer": {"model": "x"}}}, "components.transformer: the pipeline has none; it has "),
        (
            {"components": {"unet": {"model": "lightning"}}},
            "components.unet: 'lightning' cannot be used: there is no con",
        ),
        (
            {"components": {"unet": {"model": "lightning", "file": LORA_FILE}}},
            "components.unet: 'lightning' cannot be loaded: ",
        ),
        (
            {"components": {"unet": {"model": "lightning", "file": UNET_FILE}}},
            "components.unet: 'lightning' cannot be loaded: ",  # an SDXL UNet, in an SD 1.5
        ),
        (
            {"loras": [{"model": "lightning", "file": "x.safetensors"}]},
            "loras.0: 'lightning' cannot be used: there is no x.safetensors in ",
        ),
        ({"loras": [{"model": "l/x.safetensors", "file": "x"}]}, "loras.0: 'l/x.safetensors' is a single file"),
        (
            {"loras": [{"model": "lightning", "file": UNET_FILE}]},
            "loras.0: sdxl_lightning_2step_unet.safetensors cannot be loaded: Invalid LoRA",
        ),
        ({"scheduler": {"class": "EulerScheduler"}}, "has no scheduler EulerScheduler"),
        ({"scheduler": {"arguments": {"timestep_spacin": "x"}}}, "timestep_spacin: no argument of PNDMScheduler"),
    ],
)
def test_settings_that_fit_no_model(tiny: TinyModels, fields: dict[str, Any], words: str) -> None:
    tiny.get("lightning"), tiny.get("sd15")
    assert words in fault(tiny_tier("sd15", **fields), tiny.folder)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("lightning", "it has no model_index.json, so it is no pipeline; where it is a UNet, a transformer or a LoRA"),
        (f"lightning/{UNET_FILE}", "is a single file; write as model the pipeline that it was made for, and the file"),
        ("a/b@6f2b", "write a/b, and revision: 6f2b"),
        ("a/b/c", "(DIR/a/b/c is no folder, so it was looked for on the hub): "),
    ],
)
def test_models_that_are_no_pipelines(tiny: TinyModels, model: str, words: str) -> None:
    tiny.get("lightning")
    assert words.replace("DIR", str(tiny.folder)) in fault(tiny_tier(model), tiny.folder)


def test_a_pipeline_of_a_later_diffusers_or_with_code_of_its_own(tiny: TinyModels, tmp_path: Path) -> None:
    copy(tiny, "sd15", tmp_path / "late", _class_name="FluxNinePipeline")
    assert "has no pipeline FluxNinePipeline that its model_index.json names; a later" in fault(
        tiny_tier("late"), tmp_path
    )
    copy(tiny, "sd15", tmp_path / "own", _class_name=["pipeline", "MyPipeline"])
    assert "its pipeline has code of its own, which is not run" in fault(tiny_tier("own"), tmp_path)


def test_only_files_of_another_variant(tiny: TinyModels, tmp_path: Path) -> None:
    copy(tiny, "sd15", tmp_path / "half")
    for path in list((tmp_path / "half").glob("*/*.safetensors")):
        path.rename(path.with_name(f"{path.stem}.fp16.safetensors"))
    assert "there are no such files but of the variant fp16; write variant: fp16" in fault(tiny_tier("half"), tmp_path)
    assert load_painter(tiny_tier("half", variant="fp16"), tmp_path, "cpu")


def answer(status: int) -> Any:
    return httpx.Response(status, request=httpx.Request("GET", "https://hub/a/b"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda: GatedRepoError("403", response=answer(403)), "the repository is gated; .* set HF_TOKEN"),
        (lambda: RepositoryNotFoundError("401", response=answer(401)), "no such repository .* set HF_TOKEN"),
        (lambda: RemoteEntryNotFoundError("404", response=answer(404)), r"it has no model_index\.json"),
        (
            lambda: ImportError("LMS requires the scipy library but it was not found"),
            "not installed; pip install scipy",
        ),
        (lambda: ModuleNotFoundError("No module named 'torchsde'"), "not installed; pip install torchsde"),
    ],
)
def test_what_the_hub_and_missing_libraries_say(
    error: Callable[[], Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error()

    monkeypatch.setattr(sources, "hf_hub_download", fails)
    with pytest.raises(LoadError, match=f"^tier t: model 'a/b' cannot be loaded.*{words}"):
        load_painter(tiny_tier("a/b"), tmp_path, "cpu")


def test_a_gated_repository_is_named_behind_what_diffusers_makes_of_it() -> None:
    try:
        try:
            raise GatedRepoError("403", response=answer(403))
        except GatedRepoError as gated:
            raise OSError("Cannot load model a/b") from gated
    except OSError as error:
        assert "HF_TOKEN" in explain(error)


def test_a_lora_that_changes_nothing(tiny: TinyModels) -> None:
    tiny.get("lightning"), tiny.get("flux-dev")
    words = fault(tiny_tier("flux-dev", loras=[{"model": "lightning", "file": LORA_FILE}]), tiny.folder)
    assert "loras.0: sdxl_lightning_2step_lora.safetensors changes no layer of FluxPipeline" in words


def test_the_library_of_a_scheduler(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        _backends = ("torch", "torchsde")

        def __init__(self) -> None:
            raise ImportError("DPMSolverSDEScheduler requires the torchsde library but it was not found")

    monkeypatch.setattr(diffusers, "DPMSolverSDEScheduler", Missing)
    tiny.get("sd15")
    words = fault(tiny_tier("sd15", scheduler={"class": "DPMSolverSDEScheduler"}), tiny.folder)
    assert "the library torchsde is not installed; pip install torchsde" in words
