"""Scorers: InceptionV3 and CLIP from files, one that cannot be loaded, and the scenes' own."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hadis.cli.scenes import parse_scene, random_scene
from hadis_profiler.offline.scorers import load_scorer
from hadis_profiler.offline.spec import SpecError
from hadis_profiler.scenes.draw import draw
from hadis_profiler.scenes.scorer import SceneScorer
from numpy.typing import NDArray
from PIL import Image
from profiler_runs import frechet, run_of, write_tiny_clip

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
_SEEN = 52
"""Features of the image; the caption's come after."""


@pytest.mark.parametrize("scorer", ["inception", "nobody:nothing", "hadis:nothing", "x"])
def test_a_scorer_that_does_not_exist_is_named(tmp_path: Path, scorer: str) -> None:
    with pytest.raises(SpecError, match="scorer"):
        load_scorer(run_of(tmp_path, scorer=scorer), "cpu")


def test_features_by_clip_from_a_folder(tmp_path: Path) -> None:
    folder, real = tmp_path / "clip", tmp_path / "real"
    real.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (i * 80, 0, 0)).save(real / f"{i}.png")
    write_tiny_clip(folder)
    scorer = load_scorer(run_of(tmp_path, scorer="clip", scorerWeights="clip", reference="real"), "cpu")
    pictures = [Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")]
    features = scorer.features(["red", "blue"], pictures)
    assert features.shape == (2, 8)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
    assert scorer.scores(["red", "blue"], pictures) is not None
    assert scorer.reference(["x"]).shape == (3, 8)


def test_features_by_inception_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity

    real, weights = tmp_path / "real", tmp_path / "weights.pth"
    real.mkdir()
    for i in range(3):
        Image.new("RGB", (24, 24), (i * 80, 0, 0)).save(real / f"{i}.png")
    run = run_of(tmp_path, scorer="inception", scorerWeights="weights.pth", reference="real")
    with pytest.raises(SpecError, match=r"weights\.pth cannot be loaded"):
        load_scorer(run, "cpu")
    with monkeypatch.context() as patch:  # its own shapes, untrained: the published weights would be fetched
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = fidelity.FeatureExtractorInceptionV3("inception", ["2048"])
        torch.save(network.state_dict(), weights)
    scorer = load_scorer(run, "cpu")
    features = scorer.features(["red", "blue"], [Image.new("RGB", (24, 24), c) for c in ("red", "blue")])
    assert features.shape == (2, 2048)
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0
    assert scorer.scores(["red", "blue"], []) is None
    assert scorer.reference(["x"]).shape == (3, 2048)
    weights.write_bytes(b"no weights")
    with pytest.raises(SpecError, match="cannot be loaded"):
        load_scorer(run, "cpu")


def drawn(prompts: list[str], seed: int) -> list[Image.Image]:
    pictures = draw([parse_scene(prompt) for prompt in prompts], random.Random(seed))
    pixels: NDArray[np.uint8] = ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def test_both_halves_of_a_scenes_features_weigh_the_same() -> None:
    rng = random.Random(7)
    prompts = [str(random_scene(rng)) for _ in range(300)]
    image, caption = np.split(SceneScorer(SCENES).reference(prompts), [_SEEN], axis=1)
    norms = [np.linalg.norm(half, axis=1).mean() for half in (image, caption)]
    assert norms[0] == pytest.approx(norms[1], rel=0.03)


def test_a_picture_of_another_scene_is_wrong_and_far_off() -> None:
    rng = random.Random(3)
    prompts = [str(random_scene(rng)) for _ in range(200)]
    scorer = SceneScorer(SCENES)
    right, shifted = drawn(prompts, 1), drawn([*prompts[1:], prompts[0]], 1)
    for pictures, share in ((right, 1.0), (shifted, 0.0)):
        scores = scorer.scores(prompts, pictures)
        assert scores is not None
        assert scores.mean() == pytest.approx(share, abs=0.02)
    reference = scorer.reference(prompts)
    assert frechet(scorer.features(prompts, right), reference) < 0.05
    assert frechet(scorer.features(prompts, shifted), reference) > 1.0
