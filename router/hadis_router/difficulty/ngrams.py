"""The n-grams of a prompt, hashed: what it says, in any language, without a dictionary.

The grams are words, pairs of neighbouring words, and the runs of two and three characters of a word with its borders
marked: these are the words of scripts without spaces, and the stems of others. A gram is the CRC-32 of its UTF-8, and
counts by log(1 + how often).

Profiles name this way of reading by `NGRAM_VERSION`: who changes it here changes the name there.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice, pairwise
from math import log1p
from zlib import crc32

import regex

from hadis_router.difficulty.prompt_text import MOST_WORDS, plain_text

_RUNS = (2, 3)
_LONGEST = 40
"""Characters of a word; a longer one, as text without spaces is, counts as several."""
_WORD = regex.compile(rf"[\p{{L}}\p{{M}}\p{{N}}]{{1,{_LONGEST}}}")
_WORDS = 20_000
"""Words whose hashes are remembered: 8 MB if all are of the longest."""


def ngrams(prompt: str) -> dict[int, float]:
    """Return what each gram of any prompt counts, by its hash."""
    words = [match[0] for match in islice(_WORD.finditer(plain_text(prompt).casefold()), MOST_WORDS)]
    times: Counter[int] = Counter()
    for word in words:
        times.update(_hashes(word))
    times.update(_hash(f"{left} {right}") for left, right in pairwise(words))
    return {gram: log1p(count) for gram, count in times.items()}


def added(grams: Mapping[int, float], weights: Mapping[int, float], mean: float) -> float:
    """Return what a prompt's grams add to its score; 0 where none is among the weights, as in an unknown language."""
    listed = [count * weights[gram] for gram, count in grams.items() if gram in weights]
    return sum(listed) - mean * len(listed) / max(1, len(grams))


@lru_cache(_WORDS)
def _hashes(word: str) -> array[int]:
    """Return the hashes of a word and of its runs."""
    marked = f"<{word}>"
    runs = (marked[start : start + n] for n in _RUNS for start in range(len(marked) - n + 1))
    return array("I", (_hash(f" {word}"), *map(_hash, runs)))


def _hash(gram: str) -> int:
    return crc32(gram.encode("utf-8", "surrogatepass"))
