"""Eight text features of a prompt, after the paper's (section 4.1), from counts of word classes.

Classes come from HanTa, whose tags are the BNC's C5 set; word frequencies from wordfreq's Zipf scale; both carry their
data in their packages. The paper's own extractor is not available, so each feature is the linear function of the
counts that comes closest to the paper's column; `python -m hadis_profiler.paper.features FOLDER` fits them anew.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wordfreq import zipf_frequency

FEATURES = (
    "prompt_length",
    "token_rarity",
    "num_objects",
    "abstractness",
    "attribute_density",
    "spatial_relations",
    "action_verbs",
    "named_entities",
)
RARE_ZIPF = 4.0
"""Words of a lower Zipf frequency, fewer than 10 per million words, count as rare."""
MOST_WORDS = 180
"""Words after these do not count; text encoders hardly read them either (CLIP: 77 tokens, SD 3.5's T5: 256)."""
_MOST_LETTERS = 40
"""A longer word is tagged by its beginning: the tagger's time grows with the square of the length."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
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
_MATRIX = np.array(list(COEFFICIENTS.values()))


@lru_cache(1)
def tagger() -> Any:
    """Return the tagger; its model takes 60 ms to load, once."""
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")


@lru_cache(50_000)
def _is_rare(word: str) -> bool:
    return bool(zipf_frequency(word, "en") < RARE_ZIPF)


def counts(prompt: str) -> list[float]:
    """Return how many words of each of COUNTS a prompt in any language has."""
    words = [match.group()[:_MOST_LETTERS] for match in _WORD.finditer(prompt)][:MOST_WORDS]
    by_class = Counter(tag[:3] for tag in tagger().tag_sent(words, taglevel=0)) if words else Counter()
    by_class["words"], by_class["rare"], by_class["one"] = len(words), sum(map(_is_rare, words)), 1
    return [float(by_class[name]) for name in COUNTS]


def features(prompt: str) -> NDArray[np.float64]:
    """Return the eight features (8,) in the order of FEATURES."""
    return np.asarray(counts(prompt) @ _MATRIX)
