"""The models that a service answers to: `auto`, its tiers, and further names for them; and the size that they make."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from hadis.api.images_api import AUTO_MODEL, ImagesApi, plain_name
from hadis.api.pipeline import width_height
from hadis.api.tier import Tier
from hadis.planning.plan import Plan
from hadis.planning.sizes import AUTO
from hadis.protocol.worker import TierAbility

from hadis_router.difficulty.prompt_text import read_part
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.capabilities import abilities, all_sizes, ratio_distance, takes_negatives
from hadis_router.http.images import GenerateRequest
from hadis_router.http.reported import with_reported

_Request = TypeVar("_Request", bound=GenerateRequest)


class ModelNames:
    """Every name by which a model can be asked for."""

    def __init__(self, tiers: Mapping[str, Tier], api: ImagesApi) -> None:
        """`tiers` are by name, from light to heavy."""
        self._profiled, self._tiers, self._api = tiers, dict(tiers), api
        self._nearest = api.size_policy == "nearest"

    def report(self, abilities: Mapping[str, TierAbility]) -> None:
        """Take what a worker says of tiers, by name, for what the profile leaves open."""
        for name, tier in self._profiled.items():
            if name in abilities:
                self._tiers[name] = with_reported(tier, abilities[name])

    def forced_tier(self, name: str) -> str | None:
        """Return the tier that a model's name forces, None where the plan decides; raise ServeError 404."""
        own, plain = (AUTO_MODEL, *self._tiers), plain_name(name)
        target = name if name in own else self._api.aliased(name) or (plain if plain in own else None)
        if target is None:
            known = ", ".join(own)
            raise ServeError(
                404, "model_not_found", f"there is no model {name[:64]!r}; there are {known}", param="model"
            )
        return None if target == AUTO_MODEL else target

    def candidates(self, forced: str | None) -> list[Tier]:
        """Return the tiers that may make an image: the forced one, or all."""
        return list(self._tiers.values()) if forced is None else [self._tiers[forced]]

    def text_read(self, prompt: str, plan: Plan | None) -> str:
        """Return what of a prompt the light tier reads, as far as that is known: the rest makes it no harder."""
        light = plan.light if plan else next(iter(self._tiers))
        return read_part(prompt, self._tiers[light].prompt_tokens)

    def document(self, name: str) -> dict[str, Any]:
        """Return a model in OpenAI's form, with its sizes and what it makes from images; raise ServeError 404."""
        tiers = self.candidates(self.forced_tier(name))
        described = {"id": name, "object": "model", "created": 0, "owned_by": "hadis", "sizes": all_sizes(tiers)}
        return described | abilities(tiers)

    def listing(self) -> dict[str, Any]:
        """Return `auto` and the tiers; not their further names, for who chooses from a list should see each once."""
        return {"object": "list", "data": [self.document(name) for name in (AUTO_MODEL, *self._tiers)]}

    def with_size_made(self, request: _Request) -> _Request:
        """Return the request with the nearest size, where no tier makes its own and the service lets that be."""
        if request.size == AUTO or not self._nearest:
            return request
        try:
            tiers = self.candidates(self.forced_tier(request.model))
        except ServeError:
            return request  # it is refused where it is routed
        if request.negative_prompt:
            # The nearest size of a tier that refuses it would be of no use.
            tiers = [tier for tier in tiers if takes_negatives(tier)] or tiers
        made = all_sizes(tiers)
        if request.size in made:
            return request
        return request.model_copy(update={"size": nearest_size(request.size, made)})


def nearest_size(size: str, made: Collection[str]) -> str:
    """Return the one of some sizes (WIDTHxHEIGHT, pixels) that is nearest by aspect ratio, and among those by area.

    Both distances are of logarithms, so that twice is as far as half.
    """
    aim = width_height(size)

    def distance(other: str) -> tuple[float, float]:
        shape = width_height(other)
        return ratio_distance(shape, aim), abs(math.log(math.prod(shape) / math.prod(aim)))

    return min(made, key=distance)
