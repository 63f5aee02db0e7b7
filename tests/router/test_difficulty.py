"""Difficulty: ranks as the paper's score does, and takes any text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import wordfreq
from hadis.api.resources import Difficulty
from hadis.cli.scenes import random_scene
from hadis_profiler.paper.features import WEIGHTS, paper_score, read_columns, spearman
from hadis_router.difficulty.features import FEATURES, _zipf, tagger
from hadis_router.difficulty.prompt_text import read_part
from hadis_router.difficulty.scorer import LONG_CHARACTERS, DifficultyScorer
from hadis_router.difficulty.tagger import Tagger
from HanTa.HanoverTagger import HanoverTagger
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import Whitespace

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "paper" / "prompt_features.csv"
HANTA = HanoverTagger("morphmodel_en.pgz")


def scorer(mean: float = 0.0, std: float = 1.0) -> DifficultyScorer:
    count = len(FEATURES)
    return DifficultyScorer(
        Difficulty(
            features=FEATURES, mean=(mean,) * count, std=(std,) * count, weights=(1.0,) * count, quantiles=(0, 1)
        )
    )


@pytest.mark.skipif(not DATA.exists(), reason="the paper's data is not here")
def test_the_score_ranks_as_the_papers_does() -> None:
    prompts, columns = read_columns(DATA)
    difficulty = Difficulty(
        features=FEATURES,
        mean=tuple(columns.mean(0).tolist()),
        std=tuple(columns.std(0).tolist()),
        weights=tuple(WEIGHTS.tolist()),
        quantiles=(0, 1),
    )
    ours = DifficultyScorer(difficulty)
    assert spearman(np.array([ours.score(prompt) for prompt in prompts]), paper_score(columns)) >= 0.96


@given(st.text(max_size=300))
def test_any_text_has_a_finite_score(prompt: str) -> None:
    assert np.isfinite(scorer().score(prompt))


WORDS = ("A", "red", "the", "circle", "is", "painted", "Paris", "running", "quickly", "7", "of", "and", "saw", "Saw")


@given(st.lists(st.sampled_from(WORDS) | st.text("abcdeABC7é-'", min_size=1, max_size=9), min_size=1, max_size=40))
def test_words_are_tagged_as_hanta_tags_them(words: list[str]) -> None:
    assert tagger().tags(words) == HANTA.tag_sent(words, taglevel=0)


def test_what_is_not_remembered_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["A", "red", "circle", "saw", "the", "running", "of", "quickly", "painted", "Paris"]
    tagger().tags(words)
    monkeypatch.setattr("hadis_router.difficulty.tagger._STATES", 1)
    for more in (words, words[::-1], [*words[5:], *words]):
        assert Tagger().tags(more) == tagger().tags(more) == HANTA.tag_sent(more, taglevel=0)


@pytest.mark.parametrize(
    "prompt", ["", "   ", "一只红色的大狗", "كلب أحمر كبير", "🐕🟥", "\ud800", "a" * 100_000, "a " * 50_000]
)
def test_odd_prompts_have_a_finite_score(prompt: str) -> None:
    assert np.isfinite(scorer().score(prompt))


def test_scale_and_weights_are_the_profiles() -> None:
    prompt = "a red ball on a green field"
    assert scorer(mean=1.0, std=2.0).score(prompt) == pytest.approx((scorer().score(prompt) - len(FEATURES)) / 2)


async def test_a_long_prompt_is_scored_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    threaded: list[str] = []
    plain = asyncio.to_thread

    def in_thread(score: Callable[[str], float], prompt: str) -> Awaitable[float]:
        threaded.append(prompt)
        return plain(score, prompt)

    monkeypatch.setattr(asyncio, "to_thread", in_thread)
    short, long = "a dog", "a dog " * LONG_CHARACTERS
    one = scorer()
    assert await one.score_off_loop_if_long(short) == one.score(short)
    assert not threaded
    assert await one.score_off_loop_if_long(long) == one.score(long)
    assert threaded


@given(prompt=st.text(st.characters(exclude_categories=["C"]), max_size=300), tokens=st.integers(1, 80))
def test_nothing_is_left_out_that_a_text_encoder_reads(prompt: str, tokens: int) -> None:
    part = read_part(prompt, tokens)
    assert prompt.startswith(part)
    ends = [end for _, (_, end) in Whitespace().pre_tokenize_str(prompt)]  # no encoder has fewer tokens than words
    assert len(part) >= (ends[tokens - 1] if len(ends) > tokens else 0)


def test_words_after_what_a_text_encoder_reads_do_not_count() -> None:
    assert read_part("a red circle, and a blue one", 4) == "a red circle,"
    assert read_part("a red circle", 3) == "a red circle"
    assert read_part("a red circle", None) == "a red circle"
    assert read_part("圆" * 100, 5) == "圆" * 100, "a word may have any length"


def test_the_first_request_does_not_wait_for_word_frequencies() -> None:
    _zipf.cache_clear()
    wordfreq._wf_cache.clear()
    for read in (wordfreq.get_frequency_list, wordfreq.get_frequency_dict):
        read.cache_clear()
    scorer()
    assert wordfreq.get_frequency_list.cache_info().currsize == 1


def test_more_things_are_harder() -> None:
    import random

    rng = random.Random(0)
    means = [np.mean([scorer().score(str(random_scene(rng, things))) for _ in range(20)]) for things in (1, 2, 3, 4)]
    assert means == sorted(means)
