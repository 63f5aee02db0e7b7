"""Whether tiers fit one GPU together: what they have in common is in its memory once."""

from __future__ import annotations

from typing import Any

import pytest
from documents import profile_document
from hadis.api.cascade_profile import CascadeProfile
from hadis.api.resources import ServiceSpec
from hadis.planning.fleet import is_shared, resident_bytes
from hadis.planning.profile import Profile
from hypothesis import given
from hypothesis import strategies as st

SPEC = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}})
TIERS = ("light", "middle", "heavy")


def profile_of(memory: dict[str, int], gpu: int, shared: list[dict[str, Any]], remote: str = "") -> Profile:
    document = profile_document(gpuMemoryBytes=gpu, sharedWeights=shared)
    light, heavy = document["spec"]["tiers"]
    document["spec"]["tiers"] = [light, {**light, "name": "middle"}, heavy]
    for tier in document["spec"]["tiers"]:
        tier["memoryBytes"] = memory[tier["name"]]
        if tier["name"] == remote:
            tier |= {"remote": {"url": "http://engine/v1", "slots": 1}, "tunable": False}
    return Profile(CascadeProfile.read(document))


@given(
    modules=st.dictionaries(
        st.integers(0, 9), st.tuples(st.integers(1, 100), st.sets(st.sampled_from(TIERS), min_size=1)), max_size=8
    ),
    working=st.tuples(*[st.integers(0, 50)] * 3),
    remote=st.sampled_from(["", "heavy"]),
)
def test_modules_that_tiers_share_count_once(
    modules: dict[int, tuple[int, set[str]]], working: tuple[int, int, int], remote: str
) -> None:
    memory = {
        tier: own + sum(size for size, tiers in modules.values() if tier in tiers)
        for tier, own in zip(TIERS, working, strict=True)
    }
    shared = [{"tiers": sorted(tiers), "bytes": size} for size, tiers in modules.values() if len(tiers) > 1]
    local = set(TIERS) - {remote}
    together = sum(own for tier, own in zip(TIERS, working, strict=True) if tier in local)
    together += sum(size for size, tiers in modules.values() if tiers & local)
    assert resident_bytes(profile_of(memory, 1, shared, remote)) == together
    assert is_shared(SPEC, profile_of(memory, max(1, together), shared, remote))
    assert together <= 1 or not is_shared(SPEC, profile_of(memory, together - 1, shared, remote))


def test_shared_weights_are_of_tiers_that_there_are() -> None:
    memory = dict.fromkeys(TIERS, 10)
    with pytest.raises(ValueError, match=r"sharedWeights.0: no tier is named 'gone'; there are light, middle, heavy"):
        profile_of(memory, 1, [{"tiers": ["light", "gone"], "bytes": 1}])
