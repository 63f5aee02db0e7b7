"""A profile that is changed under a service with `rollout`: tried, then taken over or rolled back, come what may."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.kube.client import ApiError
from hadis.planning.comparison import GroupCounts, group_counts
from kube_objects import NAMESPACE, profile_object, service_object
from test_reconciler import Operator

METRICS = "http://10.0.1.1:8080/metrics"
GOOD, BAD = {"images": 500, "missed": 5}, {"images": 500, "missed": 200}


class Rollout(Operator):
    """A service that serves with its first profile."""

    def __init__(self, compare_for: str, **spec: Any) -> None:
        super().__init__(service_object(rollout={"canary": 0.1, "for": compare_for}, **spec))
        self.spec = {"rollout": {"canary": 0.1, "for": compare_for}, **spec}

    async def serve(self) -> None:
        self.count()
        await self.reconcile()
        self.follow()
        await self.reconcile()
        assert self.condition("ProfileRollout").reason == "InForce"
        self.first = self.status.profile_hash

    def change(self, text: str, **more: Any) -> None:
        """Edit the profile."""
        self.cluster.put(profile_object(source=text, **more))

    def count(self, **sums_by_profile: dict[str, int]) -> None:
        """Have the router count so much, by the hash of the profile."""
        lines = ["hadis_router_arrivals_total 5.0"]
        for profile, sums in sums_by_profile.items():
            lines += [
                f'hadis_router_rollout_total{{profile="{profile}",sum="{name}"}} {n}.0' for name, n in sums.items()
            ]
        self.http.answers[METRICS] = "\n".join(lines) + "\n"

    @property
    def tried(self) -> str:
        canary = self.status.canary
        assert canary is not None
        return canary.profile

    @property
    def verdict(self) -> tuple[str, str]:
        entry = self.condition("ProfileRollout")
        return entry.status, entry.reason

    def events(self) -> list[tuple[str, str]]:
        items = [o for path, o in self.cluster.kube.objects.items() if "/events/" in path]
        return [(item["reason"], item["type"]) for item in items if item["reason"].startswith("Profile")]


async def test_a_profile_that_is_as_good_is_tried_and_then_taken_over() -> None:
    operator = Rollout("1ms")
    await operator.serve()
    operator.change("measured again")
    assert await operator.reconcile() == [], "no pod is touched while it is tried"
    assert operator.verdict[0] == "Unknown"
    canary = operator.status.canary
    assert canary is not None and operator.status.plan.active is not None
    assert (canary.stable, canary.share, canary.light) == (operator.first, 0.1, operator.status.plan.active.light)
    operator.count(**{operator.first: GOOD, canary.profile: GOOD})
    operator.reconciler._read_s = -1e9  # the demand is to be read anew
    await operator.reconcile()
    await operator.reconcile()
    assert operator.verdict == ("True", "TakenOver")
    assert (operator.status.profile_hash, operator.status.canary) == (canary.profile, None)
    assert operator.events() == [("ProfileTried", "Normal"), ("ProfileInForce", "Normal")]
    operator.restart()
    await operator.reconcile()
    assert operator.status.profile_hash == canary.profile


async def test_a_profile_that_is_worse_is_rolled_back_for_good_and_the_reason_told() -> None:
    operator = Rollout("1ms")
    await operator.serve()
    operator.change("measured badly")
    await operator.reconcile()
    operator.count(**{operator.first: GOOD, operator.tried: BAD})
    operator.reconciler._read_s = -1e9
    assert await operator.reconcile() == []
    assert operator.verdict == ("False", "LatencyRose")
    assert "40.00% missed the objective, against 1.00%" in operator.condition("ProfileRollout").message
    assert operator.events() == [("ProfileTried", "Normal"), ("ProfileRolledBack", "Warning")]
    operator.restart()
    assert await operator.reconcile() == []
    assert (operator.verdict[1], operator.status.profile_hash) == ("LatencyRose", operator.first)
    assert operator.status.canary is None
    assert len(operator.events()) == 2
    operator.cluster.put(profile_object())
    await operator.reconcile()
    assert operator.verdict == ("True", "InForce")


async def test_the_comparison_outlives_a_restart_and_a_third_profile_begins_it_anew() -> None:
    operator = Rollout("10m")
    await operator.serve()
    operator.change("second")
    await operator.reconcile()
    second, begun = operator.tried, operator.status.rollout
    operator.restart()
    assert await operator.reconcile() == []
    assert (operator.tried, operator.status.rollout) == (second, begun)
    assert operator.status.profile_hash == operator.first
    operator.change("third")
    assert await operator.reconcile() == []
    assert operator.tried not in (second, operator.first)
    assert operator.status.rollout and begun and operator.status.rollout.began_s >= begun.began_s


async def test_another_profile_that_is_named_is_tried_too() -> None:
    operator = Rollout("10m")
    await operator.serve()
    other = profile_object(source="other")
    other["metadata"] = {"namespace": NAMESPACE, "name": "other"}
    operator.cluster.put(other, service_object(generation=2, profile="other", **operator.spec))
    assert await operator.reconcile() == []
    assert operator.verdict[0] == "Unknown"
    assert (operator.status.profile_hash, operator.tried != operator.first) == (operator.first, True)


async def test_other_models_are_not_tried() -> None:
    operator = Rollout("10m")
    await operator.serve()
    tiers = profile_object()["spec"]["tiers"]
    tiers[1]["model"] = "another"
    operator.change("other models", tiers=tiers)
    assert await operator.reconcile() == []
    assert operator.verdict == ("False", "TiersDiffer")
    assert operator.status.canary is None
    service = service_object(generation=2, **{**operator.spec, "rollout": None})
    operator.cluster.put(service)
    assert ("apply" in {verb for verb, _ in await operator.reconcile()}) is True
    assert operator.status.profile_hash != operator.first


async def test_without_the_former_profile_the_new_one_is_in_force() -> None:
    operator = Rollout("10m")
    await operator.serve()
    for path in [path for path in operator.cluster.kube.objects if "/configmaps/" in path]:
        del operator.cluster.kube.objects[path]
    operator.change("second")
    operator.restart()
    await operator.reconcile()
    assert operator.verdict == ("True", "InForce")
    assert operator.status.profile_hash != operator.first


async def test_an_api_server_that_is_away_is_asked_again_for_the_former_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = Rollout("10m")
    await operator.serve()
    operator.change("second")
    operator.restart()
    kube, listed = operator.cluster.kube, operator.cluster.kube.get

    async def away(path: str, **query: str) -> dict[str, Any]:
        if path.endswith("/configmaps"):
            raise ApiError(500, "away")
        return await listed(path, **query)

    monkeypatch.setattr(kube, "get", away)
    with pytest.raises(ApiError):
        await operator.reconcile()
    monkeypatch.setattr(kube, "get", listed)
    assert await operator.reconcile() == []
    assert (operator.verdict[0], operator.status.profile_hash) == ("Unknown", operator.first)


@pytest.mark.parametrize("sums", [{}, {"images": 5, "nonsense": 7}])
def test_sums_that_a_router_does_not_know_are_left_out(sums: dict[str, float]) -> None:
    assert group_counts(sums) == GroupCounts(int(sums.get("images", 0)))
