"""Conditions as Kubernetes' own: what holds of an object, since when, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from hadis.api.fields import Fields


class Condition(Fields):
    """One condition. What decides leaves the last two fields out; what writes the status fills them in."""

    type: str = Field(description="What the condition is about, for example Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, in one word for programs.")
    message: str = Field(description="Why, in words for people.")
    last_transition_time: str = Field("", description="When the status last changed (RFC 3339).")
    observed_generation: int = Field(0, description="Generation of the spec that this was decided for.")


def condition(kind: str, holds: bool | None, reason: str, message: str) -> Condition:
    """Return a condition that holds, does not, or (None) of which that is not known."""
    status: Literal["True", "False", "Unknown"] = "Unknown" if holds is None else "True" if holds else "False"
    return Condition(type=kind, status=status, reason=reason, message=message)


def is_true(entry: Condition) -> bool | None:
    """Return whether a condition holds; None where that is not known."""
    return None if entry.status == "Unknown" else entry.status == "True"


def with_times(
    conditions: Iterable[Condition], before: Iterable[Condition], generation: int, now: str
) -> tuple[Condition, ...]:
    """Return conditions as a status holds them; the time of one whose status did not change stays."""
    former = {c.type: c for c in before}
    dated = []
    for each in conditions:
        last = former.get(each.type)
        since = last.last_transition_time if last is not None and last.status == each.status else now
        dated.append(each.model_copy(update={"last_transition_time": since, "observed_generation": generation}))
    return tuple(dated)
