"""N-grams of prompts: the same in every release of a version, bounded whatever the prompt, and scored as profiled."""

from __future__ import annotations

import base64
import logging
import math
import random
from zlib import crc32

import httpx
import pytest
from fake_workers import make_plan
from hadis.api.difficulty import MOST_NGRAMS, Difficulty, NgramScore
from hadis.planning.profile import Profile
from hadis_router.difficulty.ngrams import added, ngrams
from hadis_router.difficulty.scorer import DifficultyScorer
from hadis_router.dispatch.cascade import CascadeRouting
from hypothesis import given
from hypothesis import strategies as st
from test_api import Instant, make_app

QUANTILES = (0.0, 1.0)
PROMPT = "a red ring"


def difficulty(ngram_score: NgramScore | None) -> Difficulty:
    return Difficulty(
        features=("prompt_length",), mean=(1,), std=(2,), weights=(1,), quantiles=QUANTILES, ngrams=ngram_score
    )


def scored_by(profile: Profile, score: NgramScore | None) -> Profile:
    spec = profile.resource.spec
    changed = spec.model_copy(update={"difficulty": spec.difficulty.model_copy(update={"ngrams": score})})
    return Profile(profile.resource.model_copy(update={"spec": changed}))


def random_score(*prompts: str, feature_weight: float = 0.5) -> NgramScore:
    rng = random.Random(0)
    weights = {gram: rng.uniform(-2, 1) for prompt in prompts for gram in ngrams(prompt)}
    return NgramScore.of(feature_weight, weights, 0.25, (-3.0, 0.0, 3.0))


def test_a_version_hashes_in_one_way() -> None:
    once = " red", "<r", "re", "ed", "d>", "<re", "red", "ed>"
    expected = {crc32(gram.encode()): math.log(3) for gram in once} | {crc32(b"red red"): math.log(2)}
    assert ngrams("Red, RED") == pytest.approx(expected)
    assert set(ngrams("É")) == {crc32(gram.encode()) for gram in (" é", "<é", "é>", "<é>")}


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
    assert ngrams(one) == ngrams(other)


def test_text_without_spaces_shares_grams_with_its_parts() -> None:
    whole, part = ngrams("一只红色的大狗").keys(), ngrams("红色").keys()
    assert whole & part
    assert whole - part


@given(st.text(max_size=300) | st.text("ab 红", max_size=20_000) | st.sampled_from(["", "\ud800", "a" * 10_000]))
def test_grams_and_scores_are_bounded_whatever_the_prompt(prompt: str) -> None:
    grams = ngrams(prompt)
    assert sum(map(math.expm1, grams.values())) <= 180 * 83 + 1e-6  # of a word its 81 runs, itself and a pair
    assert all(0 <= gram < 2**32 and 0 < count < 10 for gram, count in grams.items())
    assert math.isfinite(DifficultyScorer(difficulty(random_score(PROMPT, prompt))).score(prompt))


def test_a_flood_of_one_word_counts_little() -> None:
    score = random_score(PROMPT)
    once, often = (added(ngrams(prompt), score.weight_by_hash, 0.0) for prompt in ("red", "red " * 2_000))
    assert abs(often) < 10 * abs(once)


def test_the_score_is_what_the_profile_says() -> None:
    score = Difficulty.model_validate_json(difficulty(random_score(PROMPT)).model_dump_json(by_alias=True))
    assert score.ngrams is not None
    grams, weights = ngrams(PROMPT), score.ngrams.weight_by_hash
    by_features = DifficultyScorer(difficulty(None)).score(PROMPT)
    expected = 0.5 * by_features + sum(count * weights[gram] for gram, count in grams.items()) - 0.25
    assert DifficultyScorer(score).score(PROMPT) == pytest.approx(expected)
    assert score.score_quantiles == (-3.0, 0.0, 3.0)


async def test_thresholds_and_status_are_those_of_the_score_in_force(profile: Profile) -> None:
    plan = make_plan(direct=0.5)
    assert CascadeRouting(profile).thresholds(plan)[0] == 10
    assert CascadeRouting(scored_by(profile, random_score(PROMPT))).thresholds(plan)[0] == 0
    newer = random_score(PROMPT).model_copy(update={"version": "sha-9"})
    assert CascadeRouting(scored_by(profile, newer)).thresholds(plan)[0] == 10
    for score, reads in ((random_score(PROMPT), "ngrams"), (newer, "features"), (None, "features")):
        app = make_app(scored_by(profile, score), Instant())
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
        ):
            reading = (await client.get("/v1/hadis/status")).json()["difficulty"]
            assert reading["reads"] == reads
            assert (reading["why"] is not None) == (score is newer)


@pytest.mark.parametrize("prompt", ["eine große Katze", "一只大猫", ""])
def test_of_words_that_were_never_profiled_the_features_decide(prompt: str) -> None:
    score = random_score("big dog")
    by_features = DifficultyScorer(difficulty(None)).score(prompt)
    assert DifficultyScorer(difficulty(score)).score(prompt) == pytest.approx(0.5 * by_features)


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6), max_size=50))
def test_weights_are_kept_in_a_byte_each(weights: dict[int, float]) -> None:
    score = NgramScore.of(1.0, weights, 0.0, QUANTILES)
    assert score.weight_by_hash == pytest.approx(weights, abs=score.scale / 2 * (1 + 1e-9))
    assert list(score.weight_by_hash) == sorted(weights)


def test_the_most_ngrams_fit_into_the_fields() -> None:
    score = NgramScore.of(1.0, {gram * 7919: -1.0 for gram in range(MOST_NGRAMS)}, 0.0, QUANTILES)
    assert len(score.weight_by_hash) == MOST_NGRAMS


def test_of_a_version_that_is_not_known_the_features_score_alone(caplog: pytest.LogCaptureFixture) -> None:
    newer = random_score(PROMPT).model_dump() | {"version": "sha-9", "hashes": "of another form", "weights": ""}
    other = difficulty(NgramScore.model_validate(newer))
    with caplog.at_level(logging.WARNING):
        scorer = DifficultyScorer(other)
    assert scorer.score(PROMPT) == DifficultyScorer(difficulty(None)).score(PROMPT)
    assert other.score_quantiles == QUANTILES
    assert "'sha-9' is not known" in caplog.text
    assert "profile again" in caplog.text


HASHES = base64.b64encode(bytes(range(1, 9))).decode()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"weights": "AAAA"}, "ngrams: hashes: 8 bytes are not 4 for each of the 3 weights; take the profile"),
        ({"weights": "%"}, "ngrams: hashes, weights: are no base64"),
        ({"hashes": "é"}, "ngrams: hashes, weights: are no base64"),
        ({"hashes": base64.b64encode(bytes(8)).decode()}, "ngrams: hashes: must rise"),
        ({"scale": 0}, "ngrams.scale: .*greater than 0"),
        ({"scale": float("nan")}, "ngrams.scale: .*finite"),
        ({"featureWeight": -0.1}, "ngrams.featureWeight: .*greater than or equal to 0"),
        ({"featureWeight": float("inf")}, "ngrams.featureWeight: .*finite"),
        ({"quantiles": [1, 0]}, "ngrams: quantiles: must not fall"),
        ({"version": ""}, "ngrams.version: "),
    ],
)
def test_faults_are_said_with_their_place(change: dict[str, object], fault: str) -> None:
    document = difficulty(random_score(PROMPT)).model_dump(mode="json", by_alias=True)
    document["ngrams"] |= {"hashes": HASHES, "weights": "AAA="}
    Difficulty.read(document)
    document["ngrams"] |= change
    with pytest.raises(ValueError, match=fault):
        Difficulty.read(document)
