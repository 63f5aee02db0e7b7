"""Values of a request's fields that other APIs, and clients' forms, write in another way than OpenAI's documents do.

Where it is plain what is meant it is read as that; all else stays as it is, and is refused by its field's name. A form
has nothing but text, and is always read so; JSON is, unless the service is strict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

_TIMES = re.compile(r"(?<=\d) *[x×*] *(?=\d)")
_RANDOM_SEED = -1
"""What other APIs of images take for a seed that nobody chose."""
_OTHER_JSON = ("[", "{", '"')
_IDENTIFIERS = ("user", "safety_identifier")
"""Texts that are numbers in many a database."""
_MOST_IDENTIFIERS = 2**64


def values_in(fields: Mapping[str, FieldInfo]) -> frozenset[str]:
    """Return the names of fields that are numbers or truths: another's text may look like one, and stays text."""
    return frozenset(name for name, field in fields.items() if _is_value(field.annotation))


def value_of(text: str) -> Any:
    """Return the number or truth that a text is; any other text as it is."""
    if text.lstrip().startswith(_OTHER_JSON):
        return text  # it is no number, and may take long to read
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def as_documented(fields: Mapping[str, Any], values: Collection[str]) -> dict[str, Any]:
    """Return fields as OpenAI writes them; `values` are the names of those that are numbers or truths.

    An empty text says nothing, and its field is left out: but for prompts, of which it is one.
    """
    read = {}
    for name, value in fields.items():
        if value == "" and name not in ("prompt", "negative_prompt"):
            continue
        if name in values:
            value = _number(value)
        elif (spell := _WORDS.get(name)) is not None:
            value = spell(value.strip()) if isinstance(value, str) else _named(value)
        elif name in _IDENTIFIERS and type(value) is int and abs(value) < _MOST_IDENTIFIERS:
            value = str(value)
        if name != "seed" or value != _RANDOM_SEED:
            read[name] = value
    return read


def _is_value(annotation: Any) -> bool:
    return not {bool, int, float}.isdisjoint((annotation, *get_args(annotation)))


def _number(value: Any) -> Any:
    """Return a number that is text as a number, and a whole one as an integer: JSON has but one kind of them."""
    value = value_of(value) if isinstance(value, str) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _named(value: Any) -> Any:
    """Return the name in what OpenAI's chat API has for a name: `{"type": "b64_json"}`."""
    return value["type"] if isinstance(value, dict) and value.keys() == {"type"} else value


def _size(word: str) -> str:
    return _TIMES.sub("x", word.lower())


def _format(word: str) -> str:
    return "jpeg" if word.lower() == "jpg" else word.lower()


_WORDS: Mapping[str, Callable[[str], str]] = {
    "model": str,  # whose spelling its names decide
    **dict.fromkeys(("quality", "background", "response_format"), str.lower),
    "size": _size,
    "output_format": _format,
}
"""How fields that hold one word are spelt, from what a client wrote."""
