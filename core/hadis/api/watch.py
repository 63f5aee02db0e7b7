"""What a service lets its routers learn from its traffic: quality that is watched, and prompts that are kept."""

from __future__ import annotations

from pydantic import Field

from hadis.api.fields import Fields


class WatchSpec(Fields):
    """Answers that the heavy tier draws again, while workers have nothing else to do, so that both can be judged."""

    share: float = Field(0.05, gt=0, le=1, description="Share of the answers that are sampled.")


class PromptSampleSpec(Fields):
    """Prompts that are kept, for a profile of the prompts as they come."""

    keep: int = Field(
        1000, ge=1, le=10_000, description="How many each router keeps: drawn evenly from all since the first."
    )
