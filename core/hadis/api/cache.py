"""Answers that routers keep for requests that are alike: a part of a service's spec."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hadis.api.fields import Duration, Fields, between
from hadis.api.quantities import Memory


class CacheSpec(Fields):
    """A request that is in every field like one before gets the same image, and takes no GPU."""

    memory: Memory = Field(
        description="Most memory of each router for answers, for example 256Mi; `router.resources.memory` must have "
        "room for it."
    )
    keep_for: Annotated[Duration, between("1s", "24h")] = Field(
        "10m", alias="for", description="How long an answer is kept."
    )
    unseeded: bool = Field(
        False,
        description="True: requests without a seed get the same image, too. Else each of them gets another one.",
    )
    across_clients: bool = Field(
        False,
        description="True: an answer serves every client. Else only the one (by API key, `user` or address) whose "
        "request it was made for.",
    )
