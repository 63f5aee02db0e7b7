"""What can be found wrong before the first image is made is found then, all of it, a line each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from hadis_profiler.commands.profile import app
from hadis_profiler.offline import checks, images, store
from hadis_profiler.offline.run import Stages
from hadis_profiler.offline.spec import RunFaults
from hadis_worker.loading import sources
from huggingface_hub.errors import GatedRepoError
from PIL import Image
from profiler_runs import many_prompts, run_of, write_tiny_clip
from rich.progress import Progress
from typer.testing import CliRunner

SMALL = Path(__file__).parents[2] / "examples/scenes/small"
UNET = {"unet": {"model": "unets", "file": "x.safetensors"}}


def tiers(**heavy: Any) -> list[dict[str, Any]]:
    common = {"model": "small", "size": "32x32"}
    return [{"name": "light", "steps": 1, **common}, {"name": "heavy", "steps": 8, **common, **heavy}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all that a run needs."""
    (tmp_path / "small").symlink_to(SMALL)
    (tmp_path / "unets").mkdir()
    (tmp_path / "prompts.txt").write_text("\n".join(many_prompts()))
    (tmp_path / "real").mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (80 * i, 0, 0)).save(tmp_path / f"real/{i}.png")
    write_tiny_clip(tmp_path / "clip")
    return tmp_path


GOOD: dict[str, Any] = {
    "tiers": tiers(),
    "scorer": "clip",
    "scorerWeights": "clip",
    "reference": "real",
    "discriminator": {"clip": "clip"},
}


def faults(folder: Path, **changes: Any) -> list[str]:
    try:
        checks.check(run_of(folder, **{**GOOD, **changes}))
    except RunFaults as error:
        return list(error.lines)
    return []


def test_a_run_that_can_be_made_has_no_fault_and_leaves_nothing_behind(folder: Path) -> None:
    assert faults(folder) == []
    assert not (folder / "work").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompts": "none.txt"}, "prompts: .*none.txt cannot be read"),
        ({"reference": "nowhere"}, "reference: .*nowhere is not a folder"),
        ({"reference": "clip"}, "reference: .*clip has 0 images; 2 are the least"),
        ({"reference": None}, "scorer clip needs `reference`"),
        ({"scorerWeights": "real"}, "scorer clip: .*real cannot be loaded"),
        ({"scorer": "nobody:nothing"}, "scorer 'nobody:nothing'"),
        ({"discriminator": {"clip": "./real"}}, r"discriminator\.clip: \./real cannot be loaded"),
        ({"tiers": tiers(model="nowhere.safetensors")}, "tier heavy: model 'nowhere.safetensors' cannot be loaded"),
        ({"tiers": tiers(model="real")}, "tier heavy: model 'real' cannot be loaded: it has no model_index.json"),
        ({"tiers": tiers(components=UNET)}, r"tier heavy: .*components\.unet: .*there is no x\.safetensors in"),
        ({"tiers": tiers(loras=[{"model": "unets", "file": "y"}])}, r"tier heavy: .*loras\.0: .*there is no y in"),
        ({"tiers": tiers(safety="real")}, "tier heavy: .*safety: 'real' cannot be used: there is no config.json"),
    ],
)
def test_each_fault_is_a_line(folder: Path, changes: dict[str, Any], words: str) -> None:
    [line] = faults(folder, **changes)
    assert "\n" not in line
    assert re.search(words, line), line


def test_a_remote_tier_has_no_files_but_may_need_a_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = {"url": "http://engine/v1", "slots": 1, "apiKeyEnv": "ENGINE_KEY"}
    light = tiers()[0]
    run = [light, {"name": "heavy", "model": "gpt-image-1", "steps": 1, "size": "32x32", "remote": remote}]
    monkeypatch.delenv("ENGINE_KEY", raising=False)
    assert faults(folder, tiers=run) == ["ENGINE_KEY: must be set to the API key of the endpoint of tier heavy"]
    monkeypatch.setenv("ENGINE_KEY", "sk-1")
    assert faults(folder, tiers=run) == []


def test_a_broken_reference_and_a_model_without_a_part_are_found(folder: Path) -> None:
    (folder / "real/1.png").write_bytes(b"no picture")
    (folder / "small").unlink()
    shutil.copytree(SMALL, folder / "small", ignore=shutil.ignore_patterns("vae"))
    lines = faults(folder, tiers=[*tiers()[:1], {**tiers()[1], "model": "other"}])
    assert [words for line in lines for words in ("there is no vae in", "is no image; delete it") if words in line]
    assert len(lines) == 3, lines


def test_all_faults_come_at_once_and_before_any_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("an image was made")

    monkeypatch.setattr("hadis_profiler.offline.engines.load_painter", never)
    run = run_of(folder, **{**GOOD, "scorerWeights": "real", "reference": "nowhere", "tiers": tiers(model="real")})
    with Progress(disable=True) as progress, pytest.raises(RunFaults) as caught:
        Stages(run, progress, lambda _: None).do("table")
    assert len(caught.value.lines) == 3


def test_the_command_prints_them_all(folder: Path) -> None:
    document = {"name": "test", "prompts": "none.txt", **GOOD, "reference": "nowhere"}
    (folder / "spec.yaml").write_text(yaml.safe_dump(document))
    done = CliRunner().invoke(app, ["run", str(folder / "spec.yaml"), "--out", str(folder / "profile.yaml")])
    assert done.exit_code == 2
    assert sum(line.startswith("hadis: ") for line in done.stderr.splitlines()) == 2


def test_a_gated_repository_names_the_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*_: Any, **__: Any) -> None:
        response: Any = httpx.Response(403, request=httpx.Request("GET", "https://hub/a/b"))
        raise GatedRepoError("403", response=response)

    monkeypatch.setattr(sources, "hf_hub_download", gated)
    monkeypatch.setattr(sources, "get_hf_file_metadata", gated)
    unet = {"unet": {"model": "a/b", "file": "x.safetensors"}}
    for changed in (
        {"model": "a/b"},
        {"components": unet},
        {"loras": [{"model": "a/b", "file": "x"}]},
        {"safety": "a/b"},
    ):
        [line] = faults(folder, tiers=tiers(**changed))
        assert line.startswith("tier heavy: ")
        assert "the repository is gated" in line
        assert "HF_TOKEN" in line


def test_a_disk_that_is_too_small_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    [line] = faults(folder)
    assert "0.0 GB free" in line
    run = run_of(folder, **GOOD)
    for i in range(60):
        for tier in run.spec.tiers:
            store.write(images.path_of(run.work / "images" / tier.name, i), b"made before")
    assert faults(folder) == []


def test_images_of_other_prompts_are_found_first(folder: Path) -> None:
    run = run_of(folder, **GOOD)
    store.save(images.folder_of(run, run.spec.tiers[0], []) / "settings.json", "another", {})
    [line] = faults(folder)
    assert "holds images of other settings or prompts" in line
