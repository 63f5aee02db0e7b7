"""Eight text features of a prompt, after the paper's (section 4.1), from counts of word classes.

Classes come from HanTa, whose tags are the BNC's C5 set; word frequencies from wordfreq's Zipf scale; both carry their
data in their packages. The paper's own extractor is not available, so each feature is the linear function of the
counts that comes closest to the paper's column; `python -m hadis_profiler.paper.features FOLDER` fits them anew.

Classes and frequencies are English ones. Of words in any other language only the number counts: each feature is what
the paper's prompts have on average at that length, and no word is looked up as if it were English.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import get_args

import numpy as np
from hadis.api.difficulty import Feature
from numpy.typing import NDArray
from wordfreq import zipf_frequency

from hadis_router.difficulty.prompt_text import EMOJI_WORD, LATIN_LETTERS_PER_WORD, MOST_WORDS, read
from hadis_router.difficulty.tagger import Tagger

FEATURES: tuple[Feature, ...] = get_args(Feature)
RARE_ZIPF = 4.0
"""Words of a lower Zipf frequency, fewer than 10 per million words, count as rare."""
_MOST_LETTERS = 40
"""A longer word is tagged by its beginning: the tagger's time grows with the square of the length."""
_ENGLISH_ZIPF = 4.2
"""Words of a higher Zipf frequency speak for English, words of a lower one against it."""
_LEAST_ZIPF = 2.0
"""Rarer words count as this: names, slips of the pen and made-up tags are not in any list."""
_DOUBT = 4.0
"""Evidence against English up to which text may be English: names and types are in no list either."""
_FUNCTION_WORDS = frozenset(
    word
    for words in (
        "der das dem ein eine einen einem einer und mit auf im ist vor neben unter von zum zur",
        "le la les un une des du et avec dans sur sous aux à est",
        "el los las del una con en por para sobre junto um uma dos da na nos com em ao",
        "il lo gli di sul sulla nel nella della che",
        "de het een van op met naast ett och på av som ved og til",
        "bir ve ile yang dan dengan egy az és w z obok pod",
    )
    for word in words.split()
)
"""Words of grammar in other languages: English texts quote them often, so that their frequency says little."""
COEFFICIENTS: dict[str, tuple[float, ...]] = {
    "NN1": (-0.03, 0.13, -0.13, -0.45, -0.01, -0.19, -0.19, 0.02),
    "AT0": (-0.02, -0.01, -0.13, 0.35, -0.07, -0.29, -0.31, -0.06),
    "PRP": (-0.06, -0.18, 0.36, -0.25, -0.09, 0.85, -0.32, -0.03),
    "AJ0": (-0.03, 0.04, -0.23, -0.46, 0.90, -0.21, -0.25, -0.02),
    "NN2": (0.00, 0.16, -0.06, -0.34, -0.01, -0.30, -0.22, -0.01),
    "VVG": (-0.04, -0.04, 0.07, -0.80, -0.07, -0.14, 0.69, -0.02),
    "CJC": (-0.05, -0.12, -0.39, 0.49, -0.06, -0.21, -0.30, -0.03),
    "PRF": (-0.05, -0.15, 0.49, 0.30, -0.13, 0.01, -0.33, -0.04),
    "CRD": (-0.04, -0.02, -0.16, -0.65, -0.05, -0.21, -0.29, -0.03),
    "VBZ": (-0.03, -0.00, 0.49, 0.40, -0.09, -0.24, -0.26, 0.00),
    "PNP": (-0.02, 0.17, 0.14, -0.29, -0.03, -0.25, -0.25, 0.00),
    "NN0": (-0.02, 0.09, -0.07, -0.55, 0.12, -0.25, -0.23, 0.02),
    "DPS": (-0.04, 0.00, 0.11, 0.25, -0.13, -0.27, -0.27, -0.04),
    "VVN": (-0.03, -0.02, -0.52, -0.47, -0.04, -0.24, 0.64, -0.05),
    "AVP": (-0.01, -0.04, -0.27, -0.28, -0.02, 0.66, -0.23, -0.01),
    "NP0": (0.00, 0.45, -0.20, -0.59, -0.09, -0.27, -0.30, 0.53),
    "DT0": (-0.05, 0.00, -0.09, 0.54, 0.27, -0.09, -0.29, -0.03),
    "VBB": (-0.05, -0.01, 0.40, 0.37, -0.10, -0.17, -0.28, -0.03),
    "AV0": (-0.03, 0.04, -0.30, 0.16, 0.04, 0.37, -0.23, -0.00),
    "UNC": (-0.01, 0.04, -0.13, -0.54, -0.02, -0.19, -0.29, 0.05),
    "VVD": (-0.02, 0.04, 0.29, 0.03, -0.09, -0.22, 0.52, -0.02),
    "VVZ": (-0.01, -0.04, 0.76, -0.40, -0.04, -0.37, 0.47, 0.06),
    "words": (1.03, 0.02, 0.26, 0.58, 0.06, 0.22, 0.27, 0.02),
    "rare": (-0.01, 1.02, 0.01, -0.01, -0.00, 0.00, 0.02, 0.03),
    "one": (0.01, -0.26, -0.23, -0.25, -0.04, -0.06, -0.03, -0.02),
}
"""What one more of a class (C5 tag, or "words", "rare", "one" for the constant) adds to each of FEATURES."""
COUNTS = tuple(COEFFICIENTS)
OTHER_LANGUAGES: dict[str, tuple[float, ...]] = {
    "words": (1.00, 0.02, 0.24, 0.47, 0.14, 0.19, 0.05, -0.01),
    "one": (0.02, 0.74, -0.35, -0.77, -0.21, -0.38, 0.10, 0.08),
}
"""What one more word adds to what is expected of each of FEATURES, and where that begins."""
_MATRIX, _EXPECTED = np.array(list(COEFFICIENTS.values())), np.array(list(OTHER_LANGUAGES.values()))


@lru_cache(1)
def tagger() -> Tagger:
    """Return the tagger; its model takes 60 ms to load, once."""
    return Tagger()


@lru_cache(50_000)
def _zipf(word: str) -> float:
    return float(zipf_frequency(word, "en"))


def _evidence(words: list[str]) -> float:
    """Return how much words speak for English, each once: below 0, they speak against it."""
    return sum(map(_evidence_of, dict.fromkeys(words)))


@lru_cache(50_000)
def _evidence_of(word: str) -> float:
    if not word.isalpha() or word == EMOJI_WORD:
        return 0.0  # numbers are in no language
    return max(0.0 if word.lower() in _FUNCTION_WORDS else _zipf(word), _LEAST_ZIPF) - _ENGLISH_ZIPF


def _by_language(prompt: str) -> tuple[list[str], float]:
    """Return the English words of a prompt, and about how many words it has in other languages.

    A clause is English if it may be; in a prompt that cannot be English as a whole, only if it clearly is.
    """
    text = read(prompt)
    clauses, room = [], MOST_WORDS
    for words in text.clauses:
        clauses.append([word[:_MOST_LETTERS] for word in words[:room]])
        room -= len(clauses[-1])
    everything = [word for words in clauses for word in words]
    least = -_DOUBT if _evidence(everything) >= -_DOUBT else 0.0
    english: list[str] = []
    other_words = text.other_words
    for words in clauses:
        if _evidence(words) >= least:
            english += words
        else:
            other_words += sum(map(len, words)) / LATIN_LETTERS_PER_WORD
    return english, min(other_words, MOST_WORDS - len(english))


def counts(words: list[str]) -> list[float]:
    """Return how many of some English words are of each of COUNTS."""
    by_class = Counter(tag[:3] for tag in tagger().tags(words))
    by_class["words"], by_class["rare"], by_class["one"] = len(words), sum(_zipf(w) < RARE_ZIPF for w in words), 1
    return [float(by_class[name]) for name in COUNTS]


def features(prompt: str) -> NDArray[np.float64]:
    """Return the eight features (8,) of a prompt in any language, in the order of FEATURES."""
    english, other_words = _by_language(prompt)
    if not other_words:
        return np.asarray(counts(english) @ _MATRIX)
    taken = counts(english)
    share = taken[COUNTS.index("one")] = len(english) / (len(english) + other_words)
    return np.asarray(taken @ _MATRIX + np.array([other_words, 1 - share]) @ _EXPECTED)
