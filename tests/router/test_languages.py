"""Difficulty in every language: translations rank as the English prompts do, and syntax is read as it is meant."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hadis.api.resources import Difficulty
from hadis_profiler.paper.features import WEIGHTS, read_columns, spearman
from hadis_router.difficulty.features import FEATURES, OTHER_LANGUAGES, features
from hadis_router.difficulty.prompt_text import MOST_CHARACTERS, OTHER_LETTERS_PER_WORD, read
from hadis_router.difficulty.scorer import DifficultyScorer
from translated import LEXICON, prompt_in, scenes

PAPER = Path(__file__).parents[2].parent / "shared" / "data" / "paper" / "prompt_features.csv"
MEAN = (8.4058, 0.9126, 1.6222, 3.14, 0.9856, 1.253, 0.4942, 0.0282)
STD = (2.098172, 1.024383, 0.791876, 1.264595, 1.019898, 0.731704, 0.570234, 0.231959)
SCENES = scenes(200)
OTHERS = [language for language in LEXICON if language != "en"]
SPACESUIT = "一只穿着宇航服的猫在月球上弹钢琴，背景是蓝色的地球"
SPACESUIT_ENGLISH = "a cat in a spacesuit playing the piano on the moon, with the blue earth in the background"
SHORT = [
    "a cat",
    "a red dog",
    "two birds",
    "a man on a horse",
    "a glass of water",
    "a red car on the road",
    "an old boat",
]
GERMAN = "ein roter Hund spielt mit einem blauen Ball auf der grünen Wiese neben dem alten Haus"


def score(text: str) -> float:
    """Return the difficulty with the paper's weights and the spread of its prompts."""
    difficulty = Difficulty(features=FEATURES, mean=MEAN, std=STD, weights=tuple(WEIGHTS.tolist()), quantiles=(0, 1))
    return DifficultyScorer(difficulty).score(text)


def rarity(text: str) -> float:
    return float(features(text)[FEATURES.index("token_rarity")])


def scores(language: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([score(prompt_in(language, scene)) for scene in SCENES])


@pytest.mark.parametrize("language", OTHERS)
def test_translations_keep_the_order_and_the_level_of_the_english_prompts(language: str) -> None:
    english, theirs = scores("en"), scores(language)
    assert spearman(theirs, english) >= 0.95
    assert abs(theirs.mean() - english.mean()) < english.std() / 3


def test_words_of_another_language_have_the_features_that_the_papers_prompts_have_at_that_length() -> None:
    average = "ж" * round(MEAN[0] * OTHER_LETTERS_PER_WORD)
    assert features(average) == pytest.approx(np.array(MEAN), abs=0.1)
    half = features(f"a dog on {'ж' * round(3 * OTHER_LETTERS_PER_WORD)}")
    assert half[0] == pytest.approx(6, abs=0.2)


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's data is not here")
def test_the_expected_features_are_fitted_to_the_papers() -> None:
    prompts, columns = read_columns(PAPER)
    length = np.array([[sum(map(len, read(prompt).clauses)), 1] for prompt in prompts])
    fitted = np.linalg.lstsq(length, columns, rcond=None)[0]
    assert np.array(list(OTHER_LANGUAGES.values())) == pytest.approx(fitted, abs=0.006)


def test_a_sentence_without_spaces_is_many_words() -> None:
    assert score(SPACESUIT) > max(map(score, SHORT))
    assert score(SPACESUIT) == pytest.approx(score(SPACESUIT_ENGLISH), abs=2)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("猫", "一只猫坐在红色的椅子上"),
        ("고양이", "빨간 의자에 앉아 신문을 읽는 늙은 고양이"),
        ("बिल्ली", "लाल कुर्सी पर बैठी अख़बार पढ़ती हुई एक बूढ़ी बिल्ली"),
        ("кошка", "старая кошка читает газету на красном стуле"),
        ("kedi", "kırmızı sandalyede oturup gazete okuyan yaşlı bir kedi"),
        ("חתול", "חתול זקן יושב על כיסא אדום וקורא עיתון"),
        ("γάτα", "μια γέρικη γάτα διαβάζει εφημερίδα σε κόκκινη καρέκλα"),
        ("ဝက်", "ကြောင်အိုတစ်ကောင်သည် ကုလားထိုင်အနီပေါ်တွင် သတင်းစာဖတ်နေသည်"),
        ("con mèo", "một con mèo già ngồi trên ghế đỏ đọc báo"),
        ("a 猫", "a 猫 on a red 椅子 reading a 新聞"),
        ("a cat", f"a cat, {SPACESUIT}"),
    ],
)
def test_more_words_are_harder_in_any_language(short: str, long: str) -> None:
    assert score(long) - score(short) > 5
    assert len(FEATURES) == len(features(long))


def test_no_language_is_looked_up_as_if_it_were_english() -> None:
    assert rarity(GERMAN) < 2  # all but three of its 16 words are rare in English
    assert rarity("roter Hund, grüne Wiese, blauer Himmel, Wolken") < 2  # no clause alone is enough to tell
    assert rarity("un chien rouge 🐕") < 2  # the emoji is no English word
    assert rarity("kırmızı bir köpek yeşil çimenlerin üzerinde mavi bir topla oynuyor") < 2
    assert rarity("an axolotl beside a hurdy-gurdy") == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("text", ["Greg Rutkowski", "axolotl", "audi a5 cabriolet", "cyberpunk samurai"])
def test_a_few_rare_words_are_no_other_language(text: str) -> None:
    words, rare = len(text.split()), sum(word not in ("Greg", "a5") for word in text.split())
    assert features(text)[FEATURES.index("prompt_length")] == pytest.approx(words, abs=0.3)
    assert rarity(text) > rare - 0.5


def test_english_in_another_languages_prompt_is_english() -> None:
    clear = features(f"{GERMAN}, a photo of the best quality") - features(GERMAN)
    assert clear[0] == pytest.approx(6, abs=0.8)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a (red:1.3) ball", "a red ball"),
        ("a ((red)) ball", "a red ball"),
        ("a [red] ball", "a red ball"),
        ("a ((red:1.2) : -0.5) ball", "a red ball"),
        ("a (red)1.4 ball", "a red ball"),
        ("a (red:2) ball", "a red ball"),
        ("a [red:blue:0.5] ball", "a red blue ball"),
        (r"a miku \(singer\) poster", "a miku singer poster"),
        ("a clock (at 10:30)", "a clock at 10 30"),
        ("a cat<lora:Some_Style v1.2:0.8>", "a cat"),
        ("<hypernet:x:1> a cat, embedding:BadHands", "a cat,"),
        ("a cat BREAK a dog", "a cat, a dog"),
        ("1girl, long_hair, blue_eyes", "1 girl, long hair, blue eyes"),
        ("score_9, score_8_up, a cat", "a cat"),
        ("ａ　ｒｅｄ　ｂａｌｌ", "a red ball"),
        ("（红色：1.2）的（（猫））", "红色的猫"),
        ("<lora:红色:0.8>猫", "猫"),
        ("a r\u200bed \u2067ball\u2069\u200f", "a red ball"),
        ("\ufeffa re\u00add ball\u200d", "a red ball"),
        ("cafe\u0301 on the corner", "café on the corner"),
        ("Barbie™ doll", "Barbie doll"),
        ("猫\u200bと\u200b犬", "猫と犬"),
        ("כֶּלֶב", "כלב"),
        ("🐕🏽 on a 🛹", "🐕 on a 🛹"),
        ("👨‍👩‍👧‍👦 on a 🛹", "👪 on a 🛹"),
        ("a cat 🔥🔥 🔥", "a cat 🔥"),
        ("❤️ and 🇩🇪", "🐕 and 🛹"),
    ],
)
def test_syntax_is_read_as_people_mean_it(written: str, meant: str) -> None:
    assert features(written).tolist() == features(meant).tolist()


def test_an_emoji_is_a_thing() -> None:
    assert score("a 🐕 on a 🛹") == pytest.approx(score("a dog on a skateboard"), abs=0.5)
    assert score("a cat 🌳 🏠 🚗") > score("a cat 🌳 🏠") > score("a cat 🌳") > score("a cat")
    assert score("🐕🌳") > score("🐕")
    assert score("猫🌳") > score("猫")


def test_more_tags_are_harder() -> None:
    tags = ["1girl", "(solo:1.1)", "long_hair", "blue eyes", "((white dress))", "sitting", "forest", "hatsune miku"]
    grown = [score(", ".join(tags[:n])) for n in range(1, len(tags) + 1)]
    assert all(less < more for less, more in pairwise(grown))


@pytest.mark.parametrize(
    "piece",
    ["猫", "ก็", "ﷺ", "é ", "e\u0301\u0302", "🐕 ", "🐕🐈", "\u200d", "\ud83d", "(", "<a:", "(a:1.3)", ": ", "2girls "],
)
def test_very_long_text_is_bounded_in_score_and_in_what_is_read(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    assert read(text) == read(text[:MOST_CHARACTERS])
    assert score(text) <= score("the red ball " * 1000) + 100
