"""N-grams of prompts: the same in every release of a version, bounded whatever the prompt, and scored as profiled."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
from hadis.api.difficulty import NGRAM_PLACES, Difficulty, NgramScore
from hadis_router.difficulty.ngrams import ngrams
from hadis_router.difficulty.scorer import DifficultyScorer
from hypothesis import given, settings
from hypothesis import strategies as st

QUANTILES = (0.0, 1.0)


def difficulty(ngram_score: NgramScore | None, weight: float = 1.0) -> Difficulty:
    return Difficulty(
        features=("prompt_length",), mean=(0,), std=(1,), weights=(weight,), quantiles=QUANTILES, ngrams=ngram_score
    )


def random_score(seed: int = 0, feature_weight: float = 0.0) -> NgramScore:
    rng = random.Random(seed)
    return NgramScore.of((feature_weight,), [rng.uniform(-2, 1) for _ in range(NGRAM_PLACES)], (-3.0, 0.0, 3.0))


def test_a_version_hashes_in_one_way() -> None:
    places, counts = ngrams("Red, RED")
    assert dict(zip(places.tolist(), np.round(counts, 4).tolist(), strict=True)) == {
        1727: 1.0986,
        784: 1.0986,
        1116: 1.0986,
        92: 1.0986,
        503: 1.0986,
        837: 1.0986,
        1935: 1.0986,
        977: 1.0986,
        187: 0.6931,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a red ring", "A  RED ring!"),
        ("(red:1.3) ring <lora:x:0.8>", "red ring"),
        ("ｒｅｄ ring", "red ri\u200bng"),
        ("straße", "STRASSE"),
    ],
)
def test_what_is_only_written_otherwise_has_the_same_grams(one: str, other: str) -> None:
    as_pairs = [dict(zip(*(part.tolist() for part in ngrams(text)), strict=True)) for text in (one, other)]
    assert as_pairs[0] == as_pairs[1]


def test_text_without_spaces_shares_grams_with_its_parts() -> None:
    whole, part = (set(ngrams(text)[0].tolist()) for text in ("一只红色的大狗", "红色"))
    assert len(whole & part) >= 1
    assert whole - part


@settings(deadline=None)
@given(
    st.text(max_size=300) | st.text("ab 红", max_size=20_000) | st.sampled_from(["\ud800", "a" * 10_000, "a " * 5_000])
)
def test_grams_are_bounded_whatever_the_prompt(prompt: str) -> None:
    places, counts = ngrams(prompt)
    assert len(places) == len(set(places.tolist())) == len(counts)
    assert ((places >= 0) & (places < NGRAM_PLACES)).all()
    # 180 words of 40 characters: 81 runs, the word and a pair each.
    assert np.expm1(counts).sum() <= 180 * 83 + 1
    assert np.isfinite(DifficultyScorer(difficulty(random_score())).score(prompt))


def test_the_score_is_that_of_the_weights_in_the_profile() -> None:
    score = random_score(feature_weight=0.5)
    weights = np.array(score.place_weights)
    places, counts = ngrams("a red ring")
    expected = counts @ weights[places] + DifficultyScorer(difficulty(None, 0.5)).score("a red ring")
    read_again = Difficulty.model_validate_json(difficulty(score).model_dump_json(by_alias=True))
    assert DifficultyScorer(read_again).score("a red ring") == pytest.approx(expected)
    assert read_again.score_quantiles == score.quantiles


def test_weights_keep_their_order_and_their_size_in_a_byte_each() -> None:
    weights = np.random.default_rng(0).normal(size=NGRAM_PLACES)
    score = NgramScore.of((), weights.tolist(), QUANTILES)
    assert np.abs(np.array(score.place_weights) - weights).max() <= score.scale / 2 + 1e-12
    assert len(score.ngram_weights) == 2732
    assert NgramScore.of((), [0.0] * NGRAM_PLACES, QUANTILES).place_weights == [0.0] * NGRAM_PLACES


def test_of_a_version_that_is_not_known_the_features_score_alone(caplog: pytest.LogCaptureFixture) -> None:
    unknown = random_score().model_copy(update={"version": "sha-9", "ngram_weights": "AAAA"})
    newer = NgramScore.model_validate(unknown.model_dump())  # what it holds is not looked at
    with caplog.at_level(logging.WARNING):
        scorer = DifficultyScorer(difficulty(newer))
    assert scorer.score("a red ring") == DifficultyScorer(difficulty(None)).score("a red ring")
    assert difficulty(newer).score_quantiles == QUANTILES
    assert "'sha-9' is not known" in caplog.text
    assert "profile again" in caplog.text


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ngramWeights": "AAAA"}, "ngrams.*3 weights, where crc32-1 has 2048"),
        ({"ngramWeights": "%"}, "ngrams.*no base64"),
        ({"scale": 0}, "ngrams.scale: .*greater than 0"),
        ({"scale": float("nan")}, "ngrams.scale: "),
        ({"quantiles": [1, 0]}, "ngrams: quantiles: must not fall"),
        ({"featureWeights": [1, 2]}, "ngrams.featureWeights: write one number for each of features"),
        ({"version": ""}, "ngrams.version: "),
    ],
)
def test_faults_are_said_with_their_place(change: dict[str, object], fault: str) -> None:
    document = difficulty(random_score()).model_dump(mode="json", by_alias=True)
    document["ngrams"] |= change
    with pytest.raises(ValueError, match=fault):
        Difficulty.read(document)
