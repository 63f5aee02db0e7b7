"""The profile as a pool's workers read it: their tiers' settings and the discriminator, nothing that was measured.

So another quality, another source or another tier of the same profile replaces no worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hadis.api.resources import API_VERSION, ProfileSpec
from hadis.api.tier import TierSettings
from hadis.planning.profile import Profile
from hadis.protocol.labels import digest

from hadis_operator.children.common import Manifest, Owner, as_yaml, config_map

_NAME = "tiers"
_NOT_MEASURED: Manifest = {"latency": [{"batch": 1, "seconds": 1.0}]}
_NO_DIFFICULTY: Manifest = {"features": ["prompt_length"], "mean": [0], "std": [1], "weights": [0], "quantiles": [0, 0]}


def tiers_config(owner: Owner, profile: Profile, tiers: Collection[str]) -> Manifest:
    """Return the ConfigMap with a CascadeProfile of some tiers, as their workers read it."""
    document: Manifest = {
        "apiVersion": API_VERSION,
        "kind": "CascadeProfile",
        "metadata": {"name": _NAME},
        "spec": _spec(profile.resource.spec, tiers),
    }
    text = as_yaml(document)
    return config_map(owner, _NAME, text, digest(text))


def _spec(spec: ProfileSpec, tiers: Collection[str]) -> Manifest:
    """Return a spec that is valid, and the same for whatever was measured."""
    pairs = list(_judged_pairs(spec, tiers))
    rows = pairs or [(name, name, False) for name in list(tiers)[:1]]
    used = [tier for tier in spec.tiers if tier.name in {*tiers, *(name for pair in pairs for name in pair[:2])}]
    discriminator = {"discriminator": spec.discriminator} if spec.discriminator else {}
    return discriminator | {
        "tiers": [_settings(tier) | _NOT_MEASURED for tier in used],
        "difficulty": _NO_DIFFICULTY,
        "configurations": [
            {"light": light, "heavy": heavy, "directRatio": 0.0, "deferralRatio": 0.0, "quality": 1.0, "cost": 0.0}
            | ({"bestOfTwo": True} if best_of_two else {})
            for light, heavy, best_of_two in rows
        ],
    }


def _judged_pairs(spec: ProfileSpec, tiers: Collection[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield a pair (light, heavy, best of two) that says so for each remote one of the tiers whose images are judged.

    Workers of a remote tier have a discriminator only where a pair says so; workers with a GPU always have it.
    """
    remote = {tier.name for tier in spec.tiers if tier.remote is not None}
    for tier in spec.tiers:
        if tier.name in tiers and tier.name in remote and tier.name in spec.judged_tiers:
            pairs = [row for row in spec.configurations if row.light != row.heavy]
            if heavy := next((row.heavy for row in pairs if row.light == tier.name), None):
                yield tier.name, heavy, False
            else:
                yield next(row.light for row in pairs if row.best_of_two and row.heavy == tier.name), tier.name, True


def _settings(tier: TierSettings) -> Manifest:
    fields = set(TierSettings.model_fields)
    return tier.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=fields)
