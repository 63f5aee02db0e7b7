"""Parts of speech of English words: HanTa's model, searched word by word.

HanTa's own search goes through every class that may follow, of which a word can have a few. This one goes through
those few, remembers which of them may follow what, and finds the same classes in less than half of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

_WORDS = 50_000
"""Words whose classes are remembered."""
_NEAR_WORDS, _STATES = 5_000, 32
"""Words whose moves are remembered, the latest ones, and the states before each; a word has 6 on average."""
_KEPT = 5
"""Of each word, the states that are gone on from, and all that are nearly as likely, as HanTa does."""
_NEARLY = 1.0
_State = tuple[int, int]
"""The classes of two words in a row, as HanTa numbers them."""
_Moves = tuple[tuple[_State, float], ...]
"""The states that may come next, each with the logarithm of its likelihood."""


class _MovesTo(dict[_State, _Moves]):
    """The moves to a word, by the state before it."""

    def __init__(self, find: Callable[[_State], _Moves]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, state: _State) -> _Moves:
        moves = self._find(state)
        if len(self) < _STATES:
            self[state] = moves
        return moves


class Tagger:
    """Finds the most likely classes (C5 tags) of the words of a text (Viterbi over pairs of classes)."""

    def __init__(self) -> None:
        """Load the model, which takes 60 ms."""
        from HanTa import HanoverTagger as hanta

        self._model: Any = hanta.HanoverTagger("morphmodel_en.pgz")
        self._start, self._end, self._unknown = (hanta.EMPTY, hanta.START), hanta.END, hanta.UNKNOWN
        self._number = next(number for number, tag in self._model.int2tag.items() if tag == "CRD")
        self._classes_of = lru_cache(_WORDS)(self._look_up)
        self._moves_to = lru_cache(_NEAR_WORDS)(self._find_moves_to)
        self._moves_to_any = _MovesTo(self._find_to_any)

    def tags(self, words: Sequence[str]) -> list[str]:
        """Return the class of each word."""
        row: dict[_State, float] = {self._start: 0.0}
        before: list[dict[_State, _State]] = []
        for i, word in enumerate(words):
            row, came_from = self._step(row, self._moves_to(word, i > 0))
            before.append(came_from)
        follows = self._model.LP_trans_word
        state = max(row, key=lambda state: row[state] + follows[state].get(self._end, -math.inf))
        tags = []
        for came_from in reversed(before):
            tags.append(self._model.int2tag[state[1]])
            state = came_from[state]
        return tags[::-1]

    def _step(
        self, row: Mapping[_State, float], moves_to: Mapping[_State, _Moves]
    ) -> tuple[dict[_State, float], dict[_State, _State]]:
        """Return the likelihoods (logarithms) of the states after one more word, and where each comes from."""
        least = sorted(row.values(), reverse=True)[_KEPT] - _NEARLY if len(row) > _KEPT else -math.inf
        after: dict[_State, float] = {}
        came_from: dict[_State, _State] = {}
        for state, likelihood in row.items():
            if likelihood >= least:
                for reached, of_move in moves_to[state]:
                    total = likelihood + of_move
                    if reached not in after or total > after[reached]:
                        after[reached], came_from[reached] = total, state
        return after, came_from

    def _find_moves_to(self, word: str, cased: bool) -> _MovesTo:
        """Return the moves to a word; those to words that may be of any class are alike."""
        classes = self._classes_of(word, cased)
        return _MovesTo(partial(self._find, classes)) if classes else self._moves_to_any

    def _find(self, classes: Mapping[int, float], state: _State) -> _Moves:
        """Return the moves from a state to a word of some classes."""
        follows = self._model.LP_trans_word[state]
        return tuple(((state[1], each), follows[each] + classes[each]) for each in classes if each in follows)

    def _find_to_any(self, state: _State) -> _Moves:
        """Return the moves from a state to a word of any class."""
        follows = self._model.LP_trans_word[state]
        return tuple(((state[1], each), follows[each]) for each in follows if each != self._end)

    def _look_up(self, word: str, cased: bool) -> Mapping[int, float]:
        """Return the classes that a word can have with their likelihoods (logarithms); none: it may be any.

        `cased`: an upper-case letter at its beginning says something, as it does not at a sentence's.
        """
        if word.isdecimal():
            return {self._number: 0.0}  # of a number that it has not seen, HanTa thinks that it may be a name
        classes = dict(self._model._tag_word(word, cutoff=5, casesensitive=cased, conditional=True))
        return {} if list(classes) == [self._unknown] else classes
