"""The objectives that a service may name: a new one is a member here and a criterion in `hadis.planning.objectives`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic.alias_generators import to_camel

from hadis.api.rules import Rule

_QUALITY, _PRICE = "quality", "gpu_price"
_NEEDS = {_QUALITY: "a quality to reach", _PRICE: "the price of a GPU"}
"""Fields of an objective that some need, with what people call them."""


class Optimize(StrEnum):
    """What is optimised within the latency objective."""

    meaning: str
    needs: tuple[str, ...]

    def __new__(cls, value: str, meaning: str, *needs: str) -> Self:
        """Make a member: its name in manifests, what it means there, and the fields that it needs."""
        member = str.__new__(cls, value)
        member._value_, member.meaning, member.needs = value, meaning, needs
        return member

    QUALITY = "Quality", "the best that the GPUs allow"
    COST = "Cost", "the fewest GPUs that reach `quality`", _QUALITY
    ENERGY = "Energy", "the least energy per image that reaches `quality`, as the profile measured it", _QUALITY
    MONEY = "Money", "the least money that reaches `quality`, by `gpuPrice`", _QUALITY, _PRICE


OBJECTIVES = " ".join(f"{each.value}: {each.meaning}." for each in Optimize)
"""What each means, for the field's description."""


def needs_of_objectives() -> tuple[Rule, ...]:
    """Return the rules that an objective names what it needs."""
    return tuple(_needs(field, words) for field, words in _NEEDS.items())


def _needs(field: str, words: str) -> Rule:
    named, name = [each.value for each in Optimize if field in each.needs], to_camel(field)

    def holds(objective: Any) -> bool:
        return objective.optimize not in named or getattr(objective, field) is not None

    message = f"optimize: {' or '.join(named)} needs {words}; write objective.{name}"
    return Rule(f"!(self.optimize in {named}) || has(self.{name})", holds, message)
