"""The status of CascadeProfiles: what it says, when it is written, and that nothing else is done for it."""

from __future__ import annotations

from typing import Any

import pytest
from fake_kube import FakeCluster, Request
from hadis.api.profile_status import MOST_NAMED, ProfileStatus
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis_operator.profile_status import ProfileStatuses
from kube_objects import NAMESPACE, profile_object, service_object

KEY = f"{NAMESPACE}/two"
PATH = f"/apis/hadis.dev/v1alpha1/namespaces/{NAMESPACE}/cascadeprofiles/two"


def numbered(document: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    return document | {"metadata": document["metadata"] | {"generation": generation, "uid": "p"}}


def wrong() -> dict[str, Any]:
    document = profile_object()
    document["spec"]["configurations"][0]["light"] = "nobody"
    return document


class Writing:
    """Profiles' statuses on a cluster with one profile."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.cluster = FakeCluster()
        self.cluster.put(numbered(document))
        self.statuses = ProfileStatuses(self.cluster.kube, self.cluster.cache)

    async def write(self) -> list[Request]:
        """Take a pass; return its requests."""
        self.cluster.kube.requests.clear()
        assert await self.statuses.write_all()
        return list(self.cluster.kube.requests)

    @property
    def status(self) -> ProfileStatus:
        return self.cluster.cache.profiles()[KEY].status

    @property
    def valid(self) -> tuple[str, str]:
        (valid,) = self.status.conditions
        return valid.status, valid.reason


async def test_it_says_what_is_in_the_profile_and_who_uses_it() -> None:
    writing = Writing(profile_object())
    writing.cluster.put(service_object())
    other = service_object(profile="another")
    writing.cluster.put(other | {"metadata": other["metadata"] | {"name": "other"}})
    await writing.write()
    status = writing.status
    assert writing.valid == ("True", "Valid")
    assert (status.users, status.used_by) == (1, ("images",))
    assert (status.rows, status.tiers, status.observed_generation) == (27, "light, heavy", 1)
    assert status.front is not None
    assert (status.front.size, status.front.cheapest, status.front.best) == (
        1,  # all rows of the test's profile cost the same
        status.front.best,
        status.front.cheapest,
    )
    assert (status.front.best.heavy, status.front.best.quality) == ("heavy", 21.0)
    assert status.content_hash == Profile(CascadeProfile.read(profile_object())).hash


async def test_the_ends_of_the_front_are_its_cheapest_and_its_best_row() -> None:
    document = profile_object()
    rows = document["spec"]["configurations"]
    for row in rows:
        row["cost"] = 31.0 - row["quality"]
    rows[0]["cost"] = 30.5  # beaten
    writing = Writing(document)
    await writing.write()
    front = writing.status.front
    assert front is not None
    assert front.size == len({row["quality"] for row in rows})
    assert (front.cheapest.light, front.cheapest.heavy, front.cheapest.cost) == ("light", "light", 1.0)
    assert (front.best.quality, front.best.cost) == (21.0, 10.0)


async def test_nothing_is_written_while_nothing_changes() -> None:
    writing = Writing(profile_object())
    assert [request.name for request in await writing.write()] == ["status"]
    assert await writing.write() == []
    writing.cluster.put(service_object())
    assert [request.name for request in await writing.write()] == ["status"]
    assert await writing.write() == []
    writing.cluster.take("DiffusionService", "images")
    await writing.write()
    assert (writing.status.users, writing.status.used_by) == (0, ())


async def test_one_that_is_wrong_says_why_and_both_ways_are_events() -> None:
    writing = Writing(wrong())
    _, event = await writing.write()
    assert writing.valid == ("False", "ProfileInvalid")
    assert "nobody" in writing.status.conditions[0].message
    assert (writing.status.rows, writing.status.front) == (0, None)
    assert event.body is not None
    assert (event.body["type"], event.body["reason"]) == ("Warning", "ProfileInvalid")
    assert event.body["involvedObject"]["kind"] == "CascadeProfile"
    assert event.body["involvedObject"]["uid"] == "p"
    document = writing.cluster.kube.objects[PATH]
    writing.cluster.put(numbered(profile_object() | {"status": document["status"]}, generation=2))
    _, event = await writing.write()
    assert writing.valid == ("True", "Valid")
    assert event.body is not None
    assert event.body["type"] == "Normal"
    assert writing.status.observed_generation == 2


async def test_the_first_status_of_a_good_profile_is_no_event() -> None:
    writing = Writing(profile_object())
    assert [request.name for request in await writing.write()] == ["status"]


async def test_a_status_that_was_written_leaves_the_profile_as_it_was_read() -> None:
    """Else each would make the planner's tables anew."""
    writing = Writing(profile_object())
    before = writing.cluster.cache.profile(NAMESPACE, "two")
    woken: list[str] = []
    writing.cluster.cache._changed = woken.append
    writing.cluster.put(service_object())
    woken.clear()
    await writing.write()
    assert writing.cluster.cache.profile(NAMESPACE, "two") is before
    assert woken == []
    writing.cluster.put(numbered(profile_object(gpuProduct="other"), generation=2))
    assert writing.cluster.cache.profile(NAMESPACE, "two") is not before
    assert woken == [f"{NAMESPACE}/images"]


async def test_users_are_counted_and_the_first_are_named() -> None:
    writing = Writing(profile_object())
    for i in range(MOST_NAMED + 5):
        service = service_object()
        writing.cluster.put(service | {"metadata": service["metadata"] | {"name": f"s{i:02}"}})
    await writing.write()
    assert writing.status.users == MOST_NAMED + 5
    assert writing.status.used_by[-1] == f"s{MOST_NAMED - 1:02}"


@pytest.mark.parametrize(("code", "all_written"), [(500, False), (403, False), (404, True)])
async def test_what_is_refused_is_tried_again_unless_the_profile_is_gone(code: int, all_written: bool) -> None:
    writing = Writing(profile_object())
    writing.cluster.kube.refuse[f"{PATH}/status"] = code
    assert await writing.statuses.write_all() is all_written
    assert writing.status == ProfileStatus()


@pytest.mark.parametrize("kind", ["profile", "service", "status of a service"])
async def test_an_event_of_a_profile_or_a_service_wakes_a_pass_but_not_a_service_s_status(kind: str) -> None:
    writing = Writing(profile_object())
    passes: list[str] = []
    writing.cluster.put(service_object())
    writing.cluster.cache._profiles_changed = lambda: passes.append(kind)
    if kind == "profile":
        writing.cluster.put(numbered(profile_object()))
    else:
        writing.cluster.put(service_object(generation=2 if kind == "service" else 1, status={"gpus": "1 / 1 / 1"}))
    assert bool(passes) is (kind != "status of a service")
