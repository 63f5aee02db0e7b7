"""Abilities that workers report, for profiles that do not say what a tier takes: negative prompts, images, long text.

Each worker is asked once, as soon as it is ready; one that does not answer is asked again. Until the first has told,
a tier is taken to be able, and its worker refuses what it cannot do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from hadis.api.tier import Tier
from hadis.protocol.worker import TierAbility, WorkerStatus

from hadis_router.dispatch.transport import WorkerGone

log = logging.getLogger(__name__)
_EVERY_S = 1.0
"""Between looks for workers that have not told yet."""


def with_reported(tier: Tier, ability: TierAbility) -> Tier:
    """Return a tier that can do what its profile says, and where that says nothing, what a worker reported."""
    if not leaves_open(tier):
        return tier
    return tier.model_copy(update={name: getattr(ability, name) for name in _fields_left_open(tier)})


def leaves_open(tier: Tier) -> bool:
    """Return whether a profile does not say all that a tier can do; of a remote one, its settings do."""
    return tier.remote is None and bool(_fields_left_open(tier))


def _fields_left_open(tier: Tier) -> list[str]:
    return [name for name in TierAbility.model_fields if getattr(tier, name) is None]


async def follow_abilities(
    workers: Callable[[], Collection[str]],
    status_of: Callable[[str], Awaitable[WorkerStatus]],
    report: Callable[[Mapping[str, TierAbility]], None],
) -> None:
    """Ask each worker that is ready (URLs) once, and report what it says of its tiers; until cancelled."""
    known: set[str] = set()

    async def ask(url: str) -> None:
        try:
            status = await status_of(url)
        except WorkerGone as error:
            log.debug("%s does not say what its tiers can do: %s", url, error)
            return
        if status.abilities:
            known.add(url)
            report(status.abilities)

    while True:
        ready = set(workers())
        known &= ready  # one that comes back may be another
        await asyncio.gather(*map(ask, ready - known))
        await asyncio.sleep(_EVERY_S)
