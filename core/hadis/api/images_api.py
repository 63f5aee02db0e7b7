"""How a service answers the images API: by what names its models are called, and what becomes of what it cannot honour.

Applications name the models and sizes that they were written for. The defaults here answer them all the same, and the
answer says what was made; `strict` and `sizePolicy: exact` refuse instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hadis.api.fields import Fields, Name
from hadis.api.rules import Rule

AUTO_MODEL = "auto"
"""The model that lets the plan choose the tier."""
WELL_KNOWN_MODELS = (
    "dall-e-2",
    "dall-e-3",
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.5-flare",
    "gpt-image-2.6-sunburst",
    "gpt-image-2.6-flare",
    "chatgpt-image-latest",
)
"""The models that OpenAI's clients name; a date may follow."""
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_Alias = Annotated[str, StringConstraints(min_length=1, max_length=63)]


def plain_name(model: str) -> str:
    """Return a model's name as OpenAI writes it: gateways put the provider before it, and some write capitals."""
    return model.lower().removeprefix("openai/")


class ImagesApi(Fields):
    """How the images API treats names, sizes and fields that are not the service's own."""

    rules = (
        Rule(
            f"!has(self.modelAliases) || !('{AUTO_MODEL}' in self.modelAliases)",
            lambda api: AUTO_MODEL not in (api.model_aliases or {}),
            f"modelAliases: {AUTO_MODEL} always means that the plan decides; leave it out",
        ),
    )
    strict: bool = Field(
        False,
        description="Refuse fields that the API does not know; else they are ignored, and named in a header.",
    )
    model_aliases: dict[_Alias, Name] | None = Field(
        None,
        max_length=64,
        description="Further names of models, each for a tier or for auto. A tier's own name takes precedence. "
        "Default: the models that OpenAI's clients name (dall-e-3, gpt-image-1 and its kin), each as auto. A date may "
        "follow a name (gpt-image-1-2025-04-23).",
    )
    size_policy: Literal["nearest", "exact"] = Field(
        "nearest",
        description="What becomes of a size that no tier makes. nearest: the one of the nearest aspect ratio, and "
        "among those of the nearest area, is made instead. exact: it is refused.",
    )
    cors_origins: tuple[Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s]+)$", max_length=256)], ...] = (
        Field(
            (),
            max_length=64,
            description="Origins whose pages a browser lets call the API, such as https://app.example.com; * is any.",
        )
    )

    @property
    def aliases(self) -> Mapping[str, str]:
        """The tier, or auto, of each further name of a model."""
        return dict.fromkeys(WELL_KNOWN_MODELS, AUTO_MODEL) if self.model_aliases is None else self.model_aliases

    def aliased(self, name: str) -> str | None:
        """Return the tier, or auto, that a further name of a model stands for; None for a name that is none."""
        targets = {alias.lower(): target for alias, target in self.aliases.items()} | dict(self.aliases)
        plain = plain_name(name)
        spellings = (name, _DATE.sub("", name), plain, _DATE.sub("", plain))
        return next((targets[spelling] for spelling in spellings if spelling in targets), None)


def check_aliases(api: ImagesApi, tiers: Collection[str]) -> None:
    """Raise ValueError for an alias that points at none of the profile's tiers."""
    for alias, target in api.aliases.items():
        if target not in (AUTO_MODEL, *tiers):
            known = ", ".join((AUTO_MODEL, *tiers))
            raise ValueError(f"spec.api.modelAliases.{alias}: there is no tier {target!r}; write one of {known}")
