"""What a prompt says, without how it is written: the words in Latin letters, and how many words its other scripts hold.

`features` counts the words. What is taken away first: the syntax that image tools know (weights, LoRA tags, `BREAK`),
what cannot be seen (zero-width characters, marks of direction), and forms that only look different (full-width
letters). Properties of characters and the borders of emoji are Unicode's own, by `regex`.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass

import regex

MOST_CHARACTERS = 5_000
"""What comes after is not read: MOST_WORDS words are shorter, unless somebody wants to keep us busy."""
MOST_WORDS = 180
"""Words after these do not count; text encoders hardly read them either (CLIP: 77 tokens, SD 3.5's T5: 256)."""
LATIN_LETTERS_PER_WORD = 4.2
"""As `LETTERS_PER_WORD`, of languages in Latin letters that are not English."""
OTHER_LETTERS_PER_WORD = 4.1
"""As `LETTERS_PER_WORD`, of every other script: Cyrillic, Greek, Thai, Devanagari... are within 15%."""
LETTERS_PER_WORD = {
    "Han": 1.5,
    "Kana": 2.0,
    "Hangul": 1.5,
    "Ethiopic": 1.9,
    "Hebrew": 2.5,
    "Arabic": 3.0,
    "Tamil": 5.2,
    "Myanmar": 6.0,
}
"""Letters and vowel signs that say as much as one word of an English prompt.

Spaces are not asked: some scripts have none, and one word of Korean or Turkish is two of English. From the Universal
Declaration of Human Rights in 35 languages: letters of a translation, divided by the English text's 8,726, times the
3.85 letters that a word of the paper's prompts has. A Chinese character is a part of meaning, which is no shorter in
everyday words than in legal ones: 2,560 of them are the English text's 1,753 words. Kana are what Han leaves of the
Japanese text.
"""
EMOJI_WORD = "thing"
"""The word that stands for an emoji: a frequent noun for a thing to be drawn."""

_SYNTAX = re.compile(
    r"(?:<[A-Za-z]{1,20}:[^<>]{0,200}>"  # <lora:name:0.8>
    r"|(?<!\w)embedding:[\w./-]{1,200}"
    r"|(?<!\w)score_\d\w{0,20}"  # a tag of quality, not of content
    r"|(?<!\d):\s{0,9}[+-]?\d{1,9}\s{0,9}(?=[)\]])"  # (word:2), but not (at 10:30)
    r"|:\s{0,9}[+-]?\d{0,9}\.\d{1,9}\s{0,9}(?=[)\]])"  # (word:1.3), [word:other:0.5]
    r"|(?<=\))[+-]?\d{0,9}\.\d{1,9})"  # (word)1.3
    r"|\b(?P<clause>BREAK)\b"
    r"|(?<!\w)(?P<count>\d{1,4})(?=(?:girl|boy|other)s?(?!\w))"  # 2girls
)
_EMOJI = regex.compile(
    r"(?V1)((?=[\p{Emoji_Presentation}[[\u2600-\u27BF]&&\p{Emoji}]]|\p{Extended_Pictographic}\uFE0F)\X)(?:\s*+\1)*+"
)
"""One emoji with its skin tones and joined parts; a row of the same one is one thing, said with emphasis."""
_UNSEEN = regex.compile(r"(?V1)[\p{Cf}\p{Inherited}\p{Default_Ignorable_Code_Point}[\p{Hebrew}&&\p{M}]]+")
"""Marks that only accompany a letter among them: vowel points that few writers of Hebrew and Arabic set."""
_LEGAL_MARKS = re.compile("[©®™℠]\ufe0f?")
_CLASSES = {name: rf"\p{{{name}}}" for name in LETTERS_PER_WORD} | {"Kana": r"\p{Hiragana}\p{Katakana}ー"}
_SCRIPTS = regex.compile(
    "(?V1)"
    + "".join(f"(?P<{name}>[{letters}]+)|" for name, letters in _CLASSES.items())
    + rf"(?P<Other>[[\p{{L}}\p{{M}}]--[\p{{Latin}}\p{{Common}}{''.join(_CLASSES.values())}]]+)"
)
_CLAUSE = re.compile(r"[,;.!?|\n、。]")
_TOKEN = re.compile(r"\w+|[^\w\s]+")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class PromptText:
    """The words of a prompt."""

    clauses: list[list[str]]
    """Words in Latin letters and digits, by what stands between commas and the like; no clause is empty."""
    other_words: float
    """About how many English words the letters of other scripts come to."""


def plain_text(prompt: str) -> str:
    """Return what any string says, in every script: without syntax, and without what cannot be seen."""
    text = prompt[:MOST_CHARACTERS]
    if not text.isascii():
        text = _LEGAL_MARKS.sub(" ", text)  # NFKC would make letters of them
        text = _EMOJI.sub(f" {EMOJI_WORD} ", text)  # before what cannot be seen goes: it joins an emoji's parts
        text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text)[:MOST_CHARACTERS])  # one character may be 18
    return _SYNTAX.sub(_plain, text)


def read(prompt: str) -> PromptText:
    """Return the words of any string, whatever its language and syntax."""
    text, other_words = plain_text(prompt), 0.0
    if not text.isascii():
        text, other_words = _latin(text)
    clauses = (_WORD.findall(clause) for clause in _CLAUSE.split(text))
    return PromptText([words for words in clauses if words], other_words)


def read_part(prompt: str, tokens: int | None) -> str:
    """Return a prompt without what comes after so many tokens (None: any number), whatever the text encoder.

    Every word and every mark takes a token at least, so that nothing is left out that is read.
    """
    if tokens is None or len(prompt) <= tokens:
        return prompt
    last = next(itertools.islice(_TOKEN.finditer(prompt), tokens - 1, None), None)
    return prompt if last is None else prompt[: last.end()]


def _latin(text: str) -> tuple[str, float]:
    """Return the text without other scripts than Latin, and how many words those had."""
    other_words = 0.0

    def count(match: regex.Match[str]) -> str:
        nonlocal other_words
        other_words += len(match[0]) / LETTERS_PER_WORD.get(match.lastgroup or "", OTHER_LETTERS_PER_WORD)
        return " "

    return _SCRIPTS.sub(count, text), other_words


def _plain(match: re.Match[str]) -> str:
    if match["count"]:
        return f"{match['count']} "
    return "\n" if match["clause"] else " "
