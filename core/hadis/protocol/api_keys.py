"""The API keys of endpoints that make tiers: they are in the environment of whoever asks one, or starts who does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hadis.api.tier import TierSettings


def api_keys(tiers: Iterable[TierSettings], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the key of each tier whose endpoint has one, by tier, without the white space around it.

    Raises ValueError where its variable is not set, holds what no header can, or is that of another endpoint too.
    """
    keys: dict[str, str] = {}
    owners: dict[str, TierSettings] = {}
    for tier in tiers:
        variable = tier.remote.key_variable if tier.remote else None
        if variable is None:
            continue
        key = environment.get(variable, "").strip()
        if not key:
            raise ValueError(f"{variable}: must be set to the API key of the endpoint of tier {tier.name}")
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"{variable}: the API key of tier {tier.name} has characters that no HTTP header can hold")
        other = owners.setdefault(variable, tier)
        if _secret(other) != _secret(tier):
            raise ValueError(
                f"{variable}: would be the API key of tiers {other.name} and {tier.name}, which name two Secrets; "
                "write another apiKeyEnv for each"
            )
        keys[tier.name] = key
    return keys


def _secret(tier: TierSettings) -> object:
    return tier.remote.api_key_secret if tier.remote else None
