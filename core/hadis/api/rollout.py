"""How another profile comes into force: a part of a service's spec."""

from __future__ import annotations

from pydantic import Field

from hadis.api.fields import Fields, PositiveDuration


class RolloutSpec(Fields):
    """A changed profile is tried on a share of the requests first."""

    canary: float = Field(0.05, gt=0, le=0.5, description="Share of the requests that the new profile routes at first.")
    compare_for: PositiveDuration = Field(
        "10m", alias="for", description="How long old and new are compared, before the new one is taken over."
    )
