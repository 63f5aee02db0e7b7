"""Prompts of graded difficulty, from one thing to six, said alike in English and in ten other languages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEXICON: dict[str, dict[str, list[str]]] = json.loads(
    Path(__file__).with_name("prompts_in_languages.json").read_text("utf-8")
)
"""Words by language and kind, in the order of the English ones; "|" parts genders, cases and measure words."""
_LIVING = 6
"""How many nouns are beings, which can do something; they come first."""


@dataclass(frozen=True)
class Thing:
    """Places in the lexicon."""

    noun: int
    colour: int | None
    size: int | None


@dataclass(frozen=True)
class Scene:
    """What a prompt says: things, each but the first related to the one before, and what may be added."""

    things: tuple[Thing, ...]
    relations: tuple[int, ...]
    action: int | None
    place: int | None
    style: int | None


@dataclass(frozen=True)
class Phrases:
    """How a language says the parts of a scene."""

    words: dict[str, list[str]]

    def word(self, kind: str, at: int | None, form: int = 0) -> str:
        """Return a form of a word, the last one it has if it has fewer; nothing of nothing."""
        if at is None:
            return ""
        forms = self.words[kind][at].split("|")
        return forms[min(form, len(forms) - 1)]

    def gender(self, thing: Thing) -> str:
        """Return what stands before the first bar: a gender, or a measure word."""
        return self.word("nouns", thing.noun)


def scenes(count: int, seed: int = 0) -> list[Scene]:
    """Return scenes whose numbers of things go round from 1 to 6."""
    rng = random.Random(seed)

    def maybe(of: int, chance: float) -> int | None:
        return rng.randrange(of) if rng.random() < chance else None

    result = []
    for k in range(count):
        nouns = [rng.randrange(_LIVING), *(rng.randrange(12) for _ in range(k % 6))]
        things = tuple(Thing(noun, maybe(6, 0.7), maybe(2, 0.4)) for noun in nouns)
        relations = tuple(rng.randrange(5) for _ in nouns[1:])
        result.append(Scene(things, relations, maybe(5, 0.6), maybe(5, 0.5), maybe(4, 0.4)))
    return result


def prompt_in(language: str, scene: Scene) -> str:
    """Return a scene in a language."""
    return _LANGUAGES[language](Phrases(LEXICON[language]), scene)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _chain(p: Phrases, scene: Scene, name: Callable[[Phrases, Thing, bool], str], comma: str = "") -> str:
    """Say the first thing and what it does, then "next to" and the second, and so on; the place, the style."""
    first = scene.things[0]
    feminine = int(p.gender(first) == "f")
    said = [_joined(name(p, first, False), p.word("actions", scene.action, feminine))]
    for relation, thing in zip(scene.relations, scene.things[1:], strict=True):
        word = p.word("relations", relation)
        said.append(f"{word}{name(p, thing, True)}" if word[-1] in " '" else f"{word} {name(p, thing, True)}")
    text = _joined(f"{comma} ".join(said), p.word("places", scene.place))
    return f"{text}, {p.word('styles', scene.style)}" if scene.style is not None else text


def _english(p: Phrases, scene: Scene) -> str:
    def name(p: Phrases, thing: Thing, related: bool) -> str:
        words = _joined(p.word("sizes", thing.size), p.word("colours", thing.colour), p.word("nouns", thing.noun))
        return f"an {words}" if words[0] in "aeiou" else f"a {words}"

    return _chain(p, scene, name)


def _chinese(p: Phrases, scene: Scene) -> str:
    def name(thing: Thing) -> str:
        size = p.word("sizes", thing.size)
        middle = p.word("colours", thing.colour) + size
        return p.word("nouns", thing.noun) + middle + p.word("nouns", thing.noun, 1)

    text = name(scene.things[0]) + p.word("places", scene.place)
    text += p.word("actions", scene.action).removeprefix("在" if scene.place is not None else "")
    for relation, thing in zip(scene.relations, scene.things[1:], strict=True):
        text += "，" + p.word("relations", relation) + name(thing)
    return text + ("，" + p.word("styles", scene.style) if scene.style is not None else "")


def _verb_before(space: str, comma: str) -> Callable[[Phrases, Scene], str]:
    """Return how Japanese and Korean say it: place, action and qualities, all before the noun."""

    def say(p: Phrases, scene: Scene) -> str:
        def name(thing: Thing) -> str:
            parts = (p.word("sizes", thing.size), p.word("colours", thing.colour), p.word("nouns", thing.noun))
            return space.join(part for part in parts if part)

        place = p.word("places", scene.place)
        if scene.action is None:  # "on the beach" needs a verb after it, "of the beach" does not
            place = place.removesuffix("で") + "の" if place.endswith("で") else place.replace("에서", "의")
        parts = (place, p.word("actions", scene.action), name(scene.things[0]))
        said = [space.join(part for part in parts if part)]
        for relation, thing in zip(scene.relations, scene.things[1:], strict=True):
            said.append(p.word("relations", relation) + space + name(thing))
        return comma.join(said) + (comma + p.word("styles", scene.style) if scene.style is not None else "")

    return say


def _turkish(p: Phrases, scene: Scene) -> str:
    def name(thing: Thing) -> str:
        qualities = _joined(p.word("sizes", thing.size), p.word("colours", thing.colour))
        return _joined(qualities, "bir", p.word("nouns", thing.noun))

    said = [_joined(p.word("places", scene.place), p.word("actions", scene.action), name(scene.things[0]))]
    for relation, thing in zip(scene.relations, scene.things[1:], strict=True):
        said.append(f"{p.word('relations', relation)} {name(thing)}")
    return ", ".join(said) + (f", {p.word('styles', scene.style)}" if scene.style is not None else "")


def _thai(p: Phrases, scene: Scene) -> str:
    def name(thing: Thing) -> str:
        size = p.word("nouns", thing.noun, 1) + p.word("sizes", thing.size) if thing.size is not None else ""
        return p.word("nouns", thing.noun) + p.word("colours", thing.colour) + size

    text = name(scene.things[0]) + p.word("actions", scene.action)
    for relation, thing in zip(scene.relations, scene.things[1:], strict=True):
        text += p.word("relations", relation) + name(thing)
    return _joined(text + p.word("places", scene.place), p.word("styles", scene.style))


def _arabic(p: Phrases, scene: Scene) -> str:
    def name(p: Phrases, thing: Thing, related: bool) -> str:
        form = int(p.gender(thing) == "f")
        qualities = p.word("colours", thing.colour, form), p.word("sizes", thing.size, form)
        return _joined(p.word("nouns", thing.noun, 1), *qualities)

    return _chain(p, scene, name).replace(",", "،")


def _hindi(p: Phrases, scene: Scene) -> str:
    def name(thing: Thing, action: str = "") -> str:
        form = int(p.gender(thing) == "f")
        qualities = p.word("sizes", thing.size, form), p.word("colours", thing.colour, form)
        return _joined(action, "एक", *qualities, p.word("nouns", thing.noun, 1))

    first = scene.things[0]
    action = p.word("actions", scene.action, int(p.gender(first) == "f"))
    said = [_joined(p.word("places", scene.place), name(first, action))]
    for relation, thing in zip(scene.relations, scene.things[1:], strict=True):
        said.append(f"{p.word('relations', relation)} {name(thing)}")
    return ", ".join(said) + (f", {p.word('styles', scene.style)}" if scene.style is not None else "")


def _russian(p: Phrases, scene: Scene) -> str:
    def name(p: Phrases, thing: Thing, related: bool) -> str:
        form = int(p.gender(thing) == "f") + 2 * related
        qualities = p.word("sizes", thing.size, form), p.word("colours", thing.colour, form)
        return _joined(*qualities, p.word("nouns", thing.noun, 1 + related))

    return _chain(p, scene, name)


def _german(p: Phrases, scene: Scene) -> str:
    def name(p: Phrases, thing: Thing, related: bool) -> str:
        gender = p.gender(thing)
        article = {"m": "einem", "n": "einem", "f": "einer"}[gender] if related else "eine" if gender == "f" else "ein"
        ending = "en" if related else {"m": "er", "f": "e", "n": "es"}[gender]
        qualities = [p.word("sizes", thing.size), p.word("colours", thing.colour)]
        return _joined(article, *(quality + ending for quality in qualities if quality), p.word("nouns", thing.noun, 1))

    return _chain(p, scene, name)


def _french(p: Phrases, scene: Scene) -> str:
    def name(p: Phrases, thing: Thing, related: bool) -> str:
        form = int(p.gender(thing) == "f")
        size, colour = p.word("sizes", thing.size, form), p.word("colours", thing.colour, form)
        return _joined("une" if form else "un", size, p.word("nouns", thing.noun, 1), colour)

    return _chain(p, scene, name)


_LANGUAGES: dict[str, Callable[[Phrases, Scene], str]] = {
    "en": _english,
    "zh": _chinese,
    "ja": _verb_before("", "、"),
    "th": _thai,
    "ar": _arabic,
    "hi": _hindi,
    "ko": _verb_before(" ", ", "),
    "ru": _russian,
    "de": _german,
    "fr": _french,
    "tr": _turkish,
}
