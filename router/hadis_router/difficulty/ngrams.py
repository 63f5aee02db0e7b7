"""Hashed n-grams of a prompt: what it says, in any language, as a vector of fixed length that is mostly zeros.

The grams are words, pairs of neighbouring words, and the runs of two and three characters of a word with its borders
marked: these are the words of scripts without spaces, and the stems of others. Each counts by log(1 + how often), at
the place that its CRC-32 leaves (feature hashing, Weinberger et al. 2009). No dictionary, no model, nothing to load.

Profiles name this way of reading by `NGRAM_VERSION`: who changes it here changes the name there.
"""

from __future__ import annotations

from array import array
from collections import Counter
from functools import lru_cache
from itertools import islice, pairwise
from zlib import crc32

import numpy as np
import regex
from hadis.api.difficulty import NGRAM_PLACES
from numpy.typing import NDArray

from hadis_router.difficulty.prompt_text import MOST_WORDS, plain_text

_RUNS = (2, 3)
_LONGEST = 40
"""Characters of a word; a longer one, as text without spaces is, counts as several."""
_WORD = regex.compile(rf"[\p{{L}}\p{{M}}\p{{N}}]{{1,{_LONGEST}}}")
_WORDS = 20_000
"""Words whose places are remembered: 6 MB if all are of the longest."""


def ngrams(prompt: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the places (m,) of any prompt's grams, each once, and what they count (m,)."""
    words = [match[0] for match in islice(_WORD.finditer(plain_text(prompt).casefold()), MOST_WORDS)]
    counts: Counter[int] = Counter()
    for word in words:
        counts.update(_places(word))
    counts.update(_place(f"{left} {right}") for left, right in pairwise(words))
    how_often = np.fromiter(counts.values(), np.float64, len(counts))
    return np.fromiter(counts.keys(), np.intp, len(counts)), np.log1p(how_often)


@lru_cache(_WORDS)
def _places(word: str) -> array[int]:
    """Return the places of a word and of its runs."""
    marked = f"<{word}>"
    runs = (marked[start : start + n] for n in _RUNS for start in range(len(marked) - n + 1))
    return array("H", (_place(f" {word}"), *map(_place, runs)))


def _place(gram: str) -> int:
    return crc32(gram.encode("utf-8", "surrogatepass")) % NGRAM_PLACES
