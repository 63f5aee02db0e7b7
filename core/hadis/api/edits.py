"""What a tier can make from images, as profiles say and as workers report."""

from __future__ import annotations

from pydantic import Field

from hadis.api.fields import Fields

MOST_EDIT_IMAGES = 16
"""OpenAI's limit for its newest image models."""


class Edits(Fields):
    """What a tier can make from images."""

    images: int = Field(ge=0, le=MOST_EDIT_IMAGES, description="Most images that an edit may have; 0: it edits none.")
    masks: bool = Field(False, description="Whether a mask may say what is made anew (inpainting).")
    strength: bool = Field(
        True,
        description="Whether a `strength` has an effect; not in tiers that read images as they read prompts.",
    )
