"""Quality that is watched in service: a part of a service's spec."""

from __future__ import annotations

from pydantic import Field

from hadis.api.fields import Fields


class WatchSpec(Fields):
    """Answers that the heavy tier draws again, while workers have nothing else to do, so that both can be judged."""

    share: float = Field(0.05, gt=0, le=1, description="Share of the answers of which that is tried.")
