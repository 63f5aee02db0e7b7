"""What the tiers can make, as the profile says: looked at before a request is routed, so that no routing matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hadis.api.tier import Tier
from hadis.planning.sizes import AUTO

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.images import GenerateRequest


def able_tiers(request: GenerateRequest, tiers: Sequence[Tier], forced: bool) -> list[Tier]:
    """Return those of one or more tiers that can make what a request says; raise ServeError 400 where none can.

    `forced`: the client named the one tier. A tier whose profile does not say whether it takes negative prompts is
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
    if not request.negative_prompt:  # an empty one asks for nothing
        return able
    taking = [tier for tier in able if takes_negatives(tier)]
    if not taking:
        names = ", ".join(tier.name for tier in able)
        raise _refusal("negative_prompt", f"is not taken by {names}; leave it out")
    return taking


def all_sizes(tiers: Iterable[Tier]) -> list[str]:
    """Return every size that some tier makes, the first ones first."""
    return list(dict.fromkeys(size for tier in tiers for size in tier.all_sizes))


def resolved_size(size: str, tiers: Iterable[Tier]) -> str | None:
    """Return the size that a request names; None where it leaves that open, or names the first of every tier."""
    return None if size == AUTO or all(tier.size == size for tier in tiers) else size


def takes_negatives(tier: Tier) -> bool:
    """Return whether a tier takes negative prompts, or may."""
    told = tier.remote is None or "negative_prompt" in tier.remote.accepts
    return told and tier.negative_prompts is not False


def _refusal(field: str, message: str, code: str = "invalid_value") -> ServeError:
    return ServeError(400, code, f"{field}: {message}", param=field)
