"""What the tiers can make, as the profile or workers say: looked at before routing, so that no routing matters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hadis.api.edits import Edits
from hadis.api.pipeline import width_height
from hadis.api.tier import Tier
from hadis.planning.plan import Plan
from hadis.planning.sizes import AUTO

from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.images import GenerateRequest


def able_tiers(request: GenerateRequest, tiers: Sequence[Tier], forced: bool) -> list[Tier]:
    """Return those of one or more tiers that can make what a request says; raise ServeError 400 where none can.

    `forced`: the client named the one tier. A tier of which nobody has said whether it takes negative prompts is
    taken to, and its worker refuses them if not.
    """
    for name in ("num_inference_steps", "guidance_scale"):
        if getattr(request, name) is not None and not (forced and all(tier.tunable for tier in tiers)):
            raise _refusal(name, "needs `model` to name a tier whose profile says tunable: true")
    able = [tier for tier in tiers if request.size in (AUTO, *tier.all_sizes)]
    if not able:
        sizes = ", ".join(all_sizes(tiers))
        who = f"{tiers[0].name} does not make" if forced else "no tier makes"
        raise _refusal("size", f"{who} {request.size!r}; write {sizes} or auto", code="invalid_size")
    if request.edit is not None:
        able = _editing(able, request.edit)
    if not request.negative_prompt:  # an empty one asks for nothing
        return able
    taking = [tier for tier in able if takes_negatives(tier)]
    if not taking:
        names = ", ".join(tier.name for tier in able)
        raise _refusal("negative_prompt", f"is not taken by {names}; leave it out")
    return taking


def chosen_from(request: GenerateRequest, able: Sequence[Tier], plan: Plan | None) -> list[str]:
    """Return the tiers among which the plan's ratios decide, of those that can make a request: one that it prefers."""
    names = [tier.name for tier in able]
    if request.preference is None or plan is None:
        return names
    preferred = plan.heavy if request.preference == "heavy" else plan.light
    return [preferred] if preferred in names else names


def without_effect(request: GenerateRequest, tiers: Iterable[Tier]) -> tuple[str, ...]:
    """Return the names of fields that a request sent and that none of the tiers which can make it looks at."""
    sent = request.edit is not None and "strength" in request.model_fields_set
    return ("strength",) if sent and all(tier.edits and not tier.edits.strength for tier in tiers) else ()


def all_sizes(tiers: Iterable[Tier]) -> list[str]:
    """Return every size that some tier makes, the first ones first."""
    return list(dict.fromkeys(size for tier in tiers for size in tier.all_sizes))


def resolved_size(size: str, tiers: Iterable[Tier]) -> str | None:
    """Return the size that a request names; None where it leaves that open, or names the first of every tier."""
    return None if size == AUTO or all(tier.size == size for tier in tiers) else size


def requested_size(request: GenerateRequest, tiers: Sequence[Tier]) -> str | None:
    """Return the size of a request's images; None: the first of each of the tiers, which can all make the request.

    An edit that leaves it open has, of the sizes that all of them make, the one nearest to its image by the ratio of
    its sides.
    """
    if request.edit is None or request.size != AUTO:
        return resolved_size(request.size, tiers)
    shape = request.edit.size
    common = [size for size in tiers[0].all_sizes if all(size in tier.all_sizes for tier in tiers)]
    nearest = min(common, key=lambda size: ratio_distance(width_height(size), shape), default=AUTO)
    return resolved_size(nearest, tiers)


def ratio_distance(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Return how far two widths and heights are apart by their aspect ratios, on a logarithmic scale."""
    return round(abs(math.log((a[0] / a[1]) / (b[0] / b[1]))), 9)


def abilities(tiers: Iterable[Tier]) -> dict[str, Any]:
    """Return what tiers make from images, as `GET /v1/models` says it; None: their workers decide."""
    edits_by_tier = [Edits(images=0) if tier.remote else tier.edits for tier in tiers]
    known = [edits for edits in edits_by_tier if edits is not None]
    unknown = None if len(known) < len(edits_by_tier) else False
    return {
        "edits": any(edits.images for edits in known) or unknown,
        "inpainting": any(edits.masks for edits in known) or unknown,
        "edit_images": max((edits.images for edits in known), default=None),
    }


def _editing(tiers: Sequence[Tier], edit: EditInputs) -> list[Tier]:
    """Return the tiers that can make an edit; raise ServeError 400 where none can."""
    able = [tier for tier in tiers if _can_edit(tier, edit)]
    if able:
        return able
    names = ", ".join(tier.name for tier in tiers)
    if edit.mask is not None and any(_can_edit(tier, replace(edit, mask=None)) for tier in tiers):
        raise _refusal("mask", f"is not taken by {names}; leave it out")
    if any(_can_edit(tier, replace(edit, mask=None, images=edit.images[:1])) for tier in tiers):
        raise _refusal("image", f"several are not taken by {names}; send one")
    raise _refusal("image", f"is not taken by {names}; ask for an image of text alone")


def _can_edit(tier: Tier, edit: EditInputs) -> bool:
    if tier.remote is not None or tier.edits is None:
        return tier.remote is None
    return len(edit.images) <= tier.edits.images and (tier.edits.masks or edit.mask is None)


def takes_negatives(tier: Tier) -> bool:
    """Return whether a tier takes negative prompts, or may."""
    accepted = tier.remote is None or "negative_prompt" in tier.remote.accepts
    return accepted and tier.negative_prompts is not False


def _refusal(field: str, message: str, code: str = "invalid_value") -> ServeError:
    return ServeError(400, code, f"{field}: {message}", param=field)
