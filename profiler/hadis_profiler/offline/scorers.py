"""How good images are: features that a distance is measured on, and a score per image where the scorer has one."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from hadis_worker.discriminator import embed
from hadis_worker.loading.faults import explain
from numpy.typing import NDArray
from PIL import Image

from hadis_profiler.offline.spec import Run, SpecError

Array = NDArray[np.float64]
_AGAINST_FOLDERS = ("inception", "clip")
_LEAST_REFERENCE = 2
"""A distance needs a covariance."""


class Scorer(Protocol):
    """Measures images, one batch at a time."""

    def features(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array:
        """Return what a Fréchet distance is measured on (n, d)."""

    def scores(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array | None:
        """Return how good each image is by itself (n,), higher is better; None where that cannot be said."""

    def reference(self, prompts: Sequence[str]) -> Array:
        """Return the features (m, d) that perfect images of these prompts have."""


def load_scorer(run: Run, device: str) -> Scorer:
    """Return the scorer that a spec names, with its reference; raise SpecError."""
    reference_folder(run)
    return make_scorer(run, device)


def reference_folder(run: Run) -> Path | None:
    """Return the folder of real images, None for a scorer that needs none; raise SpecError where it is of no use."""
    name = run.spec.scorer
    if name not in _AGAINST_FOLDERS:
        return None
    if run.spec.reference is None:
        raise SpecError(f"scorer {name} needs `reference`: a folder of real images to compare with")
    folder = run.path(run.spec.reference)
    if not folder.is_dir():
        raise SpecError(f"reference: {folder} is not a folder")
    paths = _images(folder)
    if len(paths) < _LEAST_REFERENCE:
        raise SpecError(
            f"reference: {folder} has {len(paths)} images; {_LEAST_REFERENCE} are the least, 5,000 are good"
        )
    for path in paths:
        try:
            Image.open(path).close()
        except OSError:
            raise SpecError(f"reference: {path} is no image; delete it") from None
    return folder


def make_scorer(run: Run, device: str) -> Scorer:
    """Return the scorer that a spec names, its reference not looked at yet; raise SpecError."""
    name = run.spec.scorer
    weights = run.path(run.spec.scorer_weights) if run.spec.scorer_weights else None
    if name in _AGAINST_FOLDERS:
        kind = Inception if name == "inception" else Clip
        return kind(weights, run.path(run.spec.reference or "."), device)
    module, _, function = name.partition(":")
    try:
        make: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(f"scorer {name!r}: {error}; write inception, clip, or module:function") from None
    scorer: Scorer = make(run.models)
    return scorer


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))


class _AgainstFolder:
    """A scorer whose reference is a folder of real images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reference(self, prompts: Sequence[str]) -> Array:
        """Return the features of all images in the folder."""
        paths, parts = _images(self._folder), []
        for start in range(0, len(paths), 32):
            images = [Image.open(path).convert("RGB") for path in paths[start : start + 32]]
            parts.append(self.features([""] * len(images), images))
        return np.concatenate(parts)

    def features(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array:
        raise NotImplementedError


class Inception(_AgainstFolder):
    """FID's InceptionV3 features (2048), by torch-fidelity's port with its published weights."""

    def __init__(self, weights: Path | None, reference: Path, device: str) -> None:
        """Load the network; without a path the weights are fetched."""
        super().__init__(reference)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise SpecError("scorer inception needs a package: pip install torch-fidelity") from None
        path = str(weights) if weights else None
        try:
            self._network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=path)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            where = f"scorerWeights: {path}" if path else "the published weights"
            reason = " ".join(str(error).split())[:200]
            raise SpecError(
                f"scorer inception: {where} cannot be loaded: {reason}; name torch-fidelity's file as scorerWeights"
            ) from None
        self._device = device
        self._network.to(device)

    @torch.inference_mode()
    def features(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array:
        """Return the pooled features; the network resizes by itself."""
        batch = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
        features: Array = self._network(batch.to(self._device))[0].double().cpu().numpy()
        return features

    def scores(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array | None:
        """Return None: these features know nothing of prompts."""
        return None


class Clip(_AgainstFolder):
    """CLIP's image features, and the CLIP score of each image with its prompt (Hessel et al. 2021)."""

    def __init__(self, weights: Path | None, reference: Path, device: str) -> None:
        """Load the model from a folder or the hub."""
        super().__init__(reference)
        from transformers import CLIPModel, CLIPProcessor

        source = str(weights) if weights else "openai/clip-vit-base-patch32"
        try:
            self._model: Any = CLIPModel.from_pretrained(source).eval().to(device)
            self._processor: Any = CLIPProcessor.from_pretrained(source)
        except OSError as error:
            raise SpecError(f"scorer clip: {source} cannot be loaded: {explain(error)}") from None

    @torch.inference_mode()
    def _both(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> tuple[Array, Array]:
        image, text = embed(self._model, self._processor, images, prompts)
        return image.double().cpu().numpy(), text.double().cpu().numpy()

    def features(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array:
        """Return the image embeddings, of length 1."""
        return self._both(prompts, images)[0]

    def scores(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array | None:
        """Return 2.5 times the cosine of image and prompt, 0 at least."""
        image, text = self._both(prompts, images)
        scores: Array = 2.5 * np.clip((image * text).sum(1), 0, None)
        return scores
