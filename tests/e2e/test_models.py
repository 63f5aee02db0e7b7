"""examples/models from spec to images, with tiny models in the layout of the real ones: profiled, loaded, served."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from families.catalogue import FAMILIES
from families.measure import link
from families.parts import write_clip
from hadis.api.manifest import read_profile, read_resources
from hadis.api.resources import DiffusionService
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_profiler.commands.profile import app
from hadis_profiler.offline.engines import as_tier
from hadis_profiler.offline.spec import RunSpec
from hadis_worker.engine import Engine
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_painter, load_pipeline
from hadis_worker.settings import WorkerSettings, read_models
from tiny_models import TinyModels
from typer.testing import CliRunner

EXAMPLES = Path(__file__).parents[2] / "examples/models"
NAMES = ["sdxl-lightning", "sd35", "z-image-qwen", "flux"]
STANDS_IN = {repository: tiny for family in FAMILIES for repository, tiny in family.stands_in.items()}
PROMPTS = [f"{i} cats on a {i * 7} metre wall" for i in range(50)]
FEW = {
    "prompts": "prompts.txt",
    "count": 50,
    "device": "cpu",
    "threads": 1,
    "batches": [1, 2, 4],
    "secondsPerPoint": "50ms",
    "scorer": "clip",
    "scorerWeights": "clip",
    "reference": "real",
    "discriminator": {"rounds": 2, "clip": "clip"},
    "grid": 4,
    "bootstrap": 2,
}
PATIENCE_S = 120
SHARING = ("sdxl-lightning", "sd35", "flux")
"""Examples whose tiers have modules in common."""


def read_spec(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((EXAMPLES / name / "profile-run.yaml").read_text()))


def stands_in(name: str) -> dict[str, str]:
    """Return the tiny models in the place of an example's repositories."""
    text = str(read_spec(name))
    return {repository: model for repository, model in STANDS_IN.items() if repository in text}


def test_every_example_is_tried_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_spec_and_service_are_valid_and_meant_for_each_other(name: str) -> None:
    spec = RunSpec.read(read_spec(name))
    [service] = read_resources(EXAMPLES / f"{name}.yaml")
    assert isinstance(service, DiffusionService)
    assert service.spec.profile == spec.name == service.metadata.name == name
    known = {family.name: family.tier_settings for family in FAMILIES}
    for tier in spec.tiers:
        assert tier.model in STANDS_IN
        assert known[tier.name].model_copy(update={"guidance": tier.guidance}) == tier, "as docs/models.md has it"


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("sd35", {"text_encoder", "text_encoder_2", "text_encoder_3", "vae"}),
        ("flux", {"text_encoder", "text_encoder_2", "vae"}),
    ],
)
def test_both_tiers_hold_text_encoders_and_vae_once(
    name: str, shared: set[str], tiny: TinyModels, tmp_path: Path
) -> None:
    link(stands_in(name), tiny, tmp_path)
    modules, tiers = Modules(), RunSpec.read(read_spec(name)).tiers
    light, heavy = (load_pipeline(as_tier(tier), tmp_path, torch.float32, modules) for tier in tiers)
    parts = {part for part, module in light.components.items() if isinstance(module, torch.nn.Module)}
    assert {part for part in parts if getattr(light, part) is getattr(heavy, part)} == shared


def profiled(name: str, models: TinyModels, root: Path) -> Path:
    """Return the manifest of an example, beside it the profile that `hadis profile run` made of tiny models."""
    home = root / name
    home.mkdir(parents=True)
    shutil.copy(EXAMPLES / f"{name}.yaml", root)
    document = read_spec(name) | FEW
    light, heavy = document["tiers"]
    light |= {"size": "64x64", "steps": 2}
    heavy |= {"size": "64x64", "steps": 6}
    link(stands_in(name), models, home)
    (home / "prompts.txt").write_text("\n".join(PROMPTS))
    write_clip(home / "clip")
    (home / "profile-run.yaml").write_text(yaml.safe_dump(document))
    paint_reference(home, RunSpec.read(document))
    command = ["run", str(home / "profile-run.yaml"), "--out", str(home / "profile.yaml")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return root / f"{name}.yaml"


def paint_reference(home: Path, spec: RunSpec) -> None:
    """Take the heavy tier's own images as the real ones, so that it is the better one."""
    tier = as_tier(spec.tiers[-1])
    engine = Engine([tier], {tier.name: load_painter(tier, home, "cpu")})
    (home / "real").mkdir()
    for start in range(0, len(PROMPTS), 10):
        few = range(start, start + 10)
        jobs = tuple(WireJob(id=str(i), prompt=PROMPTS[i], seed=spec.seed + i) for i in few)
        for result, image in engine.generate(GenerateBatch(tier=tier.name, jobs=jobs)):
            assert image is not None
            image.save(home / f"real/{result.id}.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_profiled_in_all_stages_and_a_worker_serves_both_tiers(
    name: str, tiny: TinyModels, tmp_path: Path
) -> None:
    manifest = profiled(name, tiny, tmp_path)
    profile = read_profile(tmp_path / name / "profile.yaml")
    light, heavy = (tier.name for tier in profile.spec.tiers)
    assert sum(not row.best_of_two for row in profile.spec.configurations) == 2 + 16
    assert {weights.tiers for weights in profile.spec.shared_weights} == (
        {(light, heavy)} if name in SHARING else set()
    )
    assert all(tier.prompt_tokens for tier in profile.spec.tiers)
    models = read_models(WorkerSettings(manifest=manifest))
    engine = Engine.load(models, "cpu")
    for tier in (light, heavy):
        batch = GenerateBatch(tier=tier, jobs=(WireJob(id="0", prompt="a cat", seed=0),), discriminate=tier == light)
        [(result, image)] = engine.generate(batch)
        assert image is not None, result.error
        assert result.size == "64x64"
        assert (result.confidence is None) is (tier == heavy)
    if name == "sdxl-lightning":
        serve_both(manifest, light, heavy)


def serve_both(manifest: Path, *tiers: str) -> None:
    """Have `hadis up` serve a manifest, and ask each tier for an image."""
    with serving(manifest) as url:
        for tier in tiers:
            assert ask(url, tier).headers["x-hadis-tiers"] == tier
        assert set(httpx.get(f"{url}/v1/hadis/status").json()["workers"][0]["tiers"]) == set(tiers)


@contextlib.contextmanager
def serving(manifest: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    up = [sys.executable, "-c", "from hadis.cli import main; main()", "up", str(manifest)]
    process = subprocess.Popen([*up, "--port", str(port), "--workers", "1"], env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def ask(url: str, tier: str) -> httpx.Response:
    """Return the answer of a tier, asked until it comes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"{url}/v1/images/generations", json={"prompt": "a cat", "model": tier}, timeout=30)
            if answer.is_success:
                return answer
        assert time.monotonic() < deadline, "no image"
        time.sleep(0.3)
