"""The status of a CascadeProfile: the document that the operator writes, and that the CRD is generated from."""

from __future__ import annotations

from pydantic import Field

from hadis.api.conditions import Condition
from hadis.api.fields import Fields

MOST_NAMED = 20


class FrontEnd(Fields):
    """One end of the Pareto front."""

    light: str = Field(description="Light tier of the cascade.")
    heavy: str = Field(description="Heavy tier of the cascade; the light one itself where a single tier serves.")
    quality: float = Field(description="Measured distance; lower is better.")
    cost: float = Field(description="GPU seconds per request.")


class FrontStatus(Fields):
    """The rows that no other beats on both quality and cost."""

    size: int = Field(description="How many there are.")
    cheapest: FrontEnd = Field(description="The one of the least cost.")
    best: FrontEnd = Field(description="The one of the best quality.")


class ProfileStatus(Fields):
    """The status of a CascadeProfile."""

    observed_generation: int = Field(0, description="Generation of the spec that this status is of.")
    conditions: tuple[Condition, ...] = Field((), description="Whether the profile is valid, since when, and why.")
    users: int = Field(0, description="How many DiffusionServices of the namespace name it.")
    used_by: tuple[str, ...] = Field((), description=f"The first {MOST_NAMED} of them, by name.")
    tiers: str = Field("", description="Names of the tiers, from light to heavy.")
    rows: int = Field(0, description="Measured configurations.")
    front: FrontStatus | None = Field(None, description="The Pareto front of the rows; none where they are not valid.")
    content_hash: str = Field(
        "",
        description="Hash of the spec's content: `status.profileHash` of services that plan with it.",
    )
