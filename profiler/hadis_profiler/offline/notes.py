"""What a run notes down beside the profile, for the report: it stands in one file, with small copies of some images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from hadis.api.fields import Fields
from numpy.typing import NDArray
from PIL import Image

from hadis_profiler.offline import store
from hadis_profiler.offline.routing import Judged, Way

_SIDE = 320
"""Pixels of the longer side of a copy; smaller images are kept as they are."""
_HISTOGRAM = 30


class LatencyNote(Fields):
    """A batch size of a tier: 95th percentile of the seconds, and how often it was timed."""

    batch: int
    p95_s: float
    runs: int


class NgramNote(Fields):
    """How a score of n-grams and text features ranks held-out prompts by the gap, beside one of the features alone.

    `held_out` is Spearman's rank correlation, `auc` the area under the ROC curve for prompts of more gap than the mean.
    """

    held_out: float
    auc: float
    features_held_out: float
    features_auc: float
    difference_low: float
    """Ends of the 95% interval of `held_out - features_held_out`."""
    difference_high: float

    @property
    def is_better(self) -> bool:
        """Whether n-grams are better by more than noise, so that the profile has them."""
        return self.difference_low > 0

    @property
    def words(self) -> str:
        """The comparison as a sentence."""
        return (
            f"With n-grams the rank correlation on held-out prompts is {self.held_out:.3f}, by the text features alone "
            f"{self.features_held_out:.3f} (95% interval of the difference: {self.difference_low:+.3f} to "
            f"{self.difference_high:+.3f}); the area under the ROC curve {self.auc:.3f} and {self.features_auc:.3f}. "
            + ("The profile has n-grams." if self.is_better else "That is no more than noise: the profile has none.")
        )


class DifficultyNote(Fields):
    """How well the difficulty ranks held-out prompts (see `DifficultyFit`), and its distribution."""

    held_out: float
    noise: float
    held_out_by_information: float
    low: float
    high: float
    histogram: tuple[int, ...]
    """Prompts by equal parts of low to high."""
    ngrams: NgramNote | None = None
    """None in notes of a release that knew none."""


class CalibrationBin(Fields):
    """Held-out light images of similar confidence: the mean of it, and the share that is good enough."""

    confidence: float
    good: float
    images: int


class LearningPoint(Fields):
    """How good a discriminator is that was trained on so many prompts."""

    prompts: int
    auc: float


class DiscriminatorNote(Fields):
    """How good the discriminator is on held-out light images."""

    auc: float
    curve: tuple[LearningPoint, ...] = ()
    """By prompts that were trained on, rising."""
    good_share: float
    calibration: tuple[CalibrationBin, ...]


class RoutingNote(Fields):
    """Held-out prompts one by one, as `routing.Judged` has them; lists by tier go from light to heavy."""

    scores: tuple[tuple[float, ...], ...]
    confidence: tuple[tuple[float, ...], ...]
    difficulty: tuple[float, ...]
    features_difficulty: tuple[float, ...] = ()
    """By the text features alone, where `difficulty` reads n-grams."""
    image_s: tuple[float, ...]
    judge_s: float

    @classmethod
    def of(cls, judged: Judged, by_features: NDArray[np.float64] | None = None) -> Self:
        """Note down what is known of each prompt, to five digits; `by_features` (n,) as `features_difficulty`."""
        return cls(
            scores=_rows(judged.scores),
            confidence=_rows(judged.confidence),
            difficulty=_rows(judged.difficulty[None])[0],
            features_difficulty=() if by_features is None else _rows(by_features[None])[0],
            image_s=judged.image_s,
            judge_s=judged.judge_s,
        )

    @property
    def judged(self) -> Judged:
        """What was noted down."""
        arrays = np.array(self.scores), np.array(self.confidence), np.array(self.difficulty)
        return Judged(*arrays, self.image_s, self.judge_s)


class DistanceNote(Fields):
    """What a way of choosing prompts reaches: costs in GPU seconds per request, and the distance at each."""

    way: Way
    costs: tuple[float, ...]
    distances: tuple[float, ...]


class SampleImage(Fields):
    """One tier's image of a sample, as a data URI."""

    tier: str
    confidence: float
    uri: str


class Sample(Fields):
    """One prompt with every tier's image."""

    prompt: str
    images: tuple[SampleImage, ...]


class Notes(Fields):
    """Everything that a report shows and a profile has no place for."""

    latency: dict[str, tuple[LatencyNote, ...]]
    difficulty: DifficultyNote
    discriminator: DiscriminatorNote
    routing: RoutingNote | None = None
    """None where the scorer gives no scores."""
    distances: tuple[DistanceNote, ...] = ()
    samples: tuple[Sample, ...]

    def write(self, path: Path) -> None:
        """Write the notes as JSON."""
        store.write(path, self.model_dump_json(by_alias=True, indent=1).encode() + b"\n")


def notes_path(profile: Path) -> Path:
    """Return the file that holds the notes of a profile: `profile.notes.json` beside `profile.yaml`."""
    return profile.with_suffix(".notes.json")


def read_notes(path: Path) -> Notes | None:
    """Return the notes in a file, None where there is none; raise ValueError for a file that is broken."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        return Notes.model_validate_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: does not hold the notes of a profile: {str(error).splitlines()[0]}") from None


def _rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.5g}") for value in row) for row in values.tolist())


def histogram(scores: Sequence[float]) -> tuple[int, ...]:
    """Return how many scores are in each equal part of their range."""
    return tuple(np.histogram(scores, _HISTOGRAM)[0].tolist())


def small_copy(image: Image.Image) -> str:
    """Return an image as a data URI, made small: PNG where it was small already, else WebP."""
    body = io.BytesIO()
    if max(image.size) <= _SIDE:
        image.save(body, "png", optimize=True)
        kind = "png"
    else:
        copy = image.copy()
        copy.thumbnail((_SIDE, _SIDE))
        copy.save(body, "webp", quality=80)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(body.getvalue()).decode()}"
