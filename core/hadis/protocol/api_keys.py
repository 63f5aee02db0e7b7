"""The API keys of endpoints that make tiers: they are in the environment of whoever asks one, or starts who does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hadis.api.tier import TierSettings


def api_keys(tiers: Iterable[TierSettings], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the key of each tier whose endpoint has one, by tier; raise ValueError where its variable is not set."""
    keys = {}
    for tier in tiers:
        variable = tier.remote.key_variable if tier.remote else None
        if variable is not None:
            if not environment.get(variable):
                raise ValueError(f"{variable}: must be set to the API key of the endpoint of tier {tier.name}")
            keys[tier.name] = environment[variable]
    return keys
