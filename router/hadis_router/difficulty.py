"""The difficulty of a prompt from its text alone: eight counts, z-scored and weighed as the profile says.

The counts stand for the eight text features of the paper (section 4.1): length, rarity, objects, abstractness,
attributes, spatial relations, actions and names. Word classes come from HanTa, whose tags are the BNC's C5 set, word
frequencies from wordfreq's Zipf scale; both carry their data in their packages.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from functools import lru_cache
from typing import Any

from hadis.resources import Difficulty
from wordfreq import zipf_frequency

FEATURES = (
    "words", "rare_words", "nouns", "abstract_nouns", "adjectives", "prepositions", "verbs", "names",
)  # fmt: skip
RARE_ZIPF = 4.0
"""Words of a lower Zipf frequency, less than 10 in a million, count as rare."""
LONG_CHARACTERS = 800
"""Prompts of more characters may take 5 ms to tag and are scored in a thread."""
MOST_WORDS = 2_000
"""Words after which a prompt is as hard as it gets: the rest is not looked at."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_ABSTRACT = re.compile(r".{3,}(?:ness|ity|ism|tion|sion|ment|ance|ence|ship|hood|dom|ure|th)s?")


@lru_cache(1)
def _tagger() -> Any:
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")


@lru_cache(50_000)
def _is_rare(word: str) -> bool:
    # "minimum" skips the tokenizers of languages that are not installed: an unsegmented word is simply rare.
    return bool(zipf_frequency(word, "en") < RARE_ZIPF)


def features(prompt: str) -> list[float]:
    """Return the counts named by FEATURES for a prompt in any language."""
    words = [match.group() for match in _WORD.finditer(prompt)][:MOST_WORDS]
    if not words:
        return [0.0] * len(FEATURES)
    tagged = _tagger().tag_sent(words)
    tags = Counter(tag[:2] for _, _, tag in tagged)
    abstract = sum(tag.startswith("NN") and bool(_ABSTRACT.fullmatch(word.lower())) for word, _, tag in tagged)
    return [
        float(count)
        for count in (
            len(words), sum(map(_is_rare, words)), tags["NN"], abstract, tags["AJ"], tags["PR"], tags["VV"], tags["NP"],
        )
    ]  # fmt: skip


class DifficultyScorer:
    """Scores prompts with the weights of a profile."""

    def __init__(self, difficulty: Difficulty) -> None:
        """Fold scale and weights into one factor a feature; raise ValueError for a feature that is not known."""
        for name in difficulty.features:
            if name not in FEATURES:
                raise ValueError(f"difficulty.features: {name!r} is unknown; there are {', '.join(FEATURES)}")
        chosen = zip(difficulty.features, difficulty.mean, difficulty.std, difficulty.weights, strict=True)
        parts = [(FEATURES.index(name), mean, weight / std) for name, mean, std, weight in chosen]
        self._factors = [(index, factor) for index, _, factor in parts]
        self._offset = sum(mean * factor for _, mean, factor in parts)
        _tagger()  # its model takes 60 ms to load: now, not at the first request

    def score(self, prompt: str) -> float:
        """Return the score; higher is harder."""
        counts = features(prompt)
        return sum(counts[index] * factor for index, factor in self._factors) - self._offset

    async def score_off_loop_if_long(self, prompt: str) -> float:
        """Return the score, from a thread where tagging would hold up the event loop for more than 5 ms."""
        if len(prompt) > LONG_CHARACTERS:
            return await asyncio.to_thread(self.score, prompt)
        return self.score(prompt)
