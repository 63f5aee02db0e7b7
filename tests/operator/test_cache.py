"""The cache: what it believes of events that come late, twice or not at all, and whom it wakes."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem
from hadis_operator.cache import Cache
from kube_objects import (
    NAME,
    NAMESPACE,
    OWNER_UID,
    child_object,
    deployment_object,
    pod_object,
    profile_object,
    service_object,
)

KEY = f"{NAMESPACE}/{NAME}"
OF_IMAGES = (NAMESPACE, NAME, "worker")


class Woken(list[str]):
    """Services that were said to be concerned since this was read last."""

    def since(self) -> list[str]:
        found = list(self)
        self.clear()
        return found


def cache_with(*events: tuple[str, Any]) -> tuple[Cache, Woken]:
    woken = Woken()
    cache = Cache(woken.append)
    for kind, item in events:
        cache.saw(kind, "ADDED", item)
    woken.clear()
    return cache, woken


def names(cache: Cache) -> list[str]:
    return [pod.name for pod in cache.pods(*OF_IMAGES)]


def test_an_event_from_before_what_is_known_is_left_out() -> None:
    cache, woken = cache_with(("services", service_object()), ("pods", pod_object("p", ready=True, version=10)))
    cache.saw("pods", "MODIFIED", pod_object("p", ready=False, version=9))
    assert cache.pods(*OF_IMAGES)[0].ready
    assert woken.since() == []
    cache.saw("pods", "MODIFIED", pod_object("p", ready=False, version=11))
    assert not cache.pods(*OF_IMAGES)[0].ready
    assert woken.since() == [KEY]


def test_the_watch_tells_nothing_new_of_an_object_as_it_is_known() -> None:
    cache, woken = cache_with(("services", service_object()), ("pods", pod_object("p", version=10)))
    cache.saw("pods", "MODIFIED", pod_object("p", version=10))
    assert woken.since() == []


def test_versions_are_compared_as_numbers() -> None:
    cache, _ = cache_with(("pods", pod_object("p", ready=True, version=10)))
    cache.saw("pods", "MODIFIED", pod_object("p", version=9))
    assert cache.pods(*OF_IMAGES)[0].ready


def test_a_list_shows_what_another_schema_makes_of_an_object_that_nobody_wrote() -> None:
    stored = service_object(retired="by an older version")
    stored["metadata"]["resourceVersion"] = "10"
    cache, _ = cache_with(("services", stored))
    shown = service_object()
    shown["metadata"]["resourceVersion"] = "10"
    cache.saw("services", None, shown)
    view = cache.service(KEY)
    assert view is not None
    assert not isinstance(view.spec, Problem)


def test_what_is_deleted_is_gone_and_may_come_again() -> None:
    cache, _ = cache_with(("pods", pod_object("p", version=10)))
    cache.saw("pods", "DELETED", pod_object("p", version=11))
    assert names(cache) == []
    cache.saw("pods", "ADDED", pod_object("p", version=1))  # of another cluster's backup, say
    assert names(cache) == ["p"]


def test_what_is_not_in_a_whole_list_is_gone() -> None:
    elsewhere = pod_object("other")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    cache, woken = cache_with(
        ("services", service_object()), ("pods", pod_object("a")), ("pods", pod_object("b")), ("pods", elsewhere)
    )
    cache.replace("pods", NAMESPACE, [pod_object("b"), pod_object("c")])
    assert names(cache) == ["b", "c"]
    assert [pod.name for pod in cache.pods("elsewhere", NAME, "worker")] == ["other"]
    assert woken.since() == [KEY, KEY]  # for a and c; b is as it was


def test_a_pod_that_ended_holds_nothing() -> None:
    cache, _ = cache_with(("pods", pod_object("p", status={"phase": "Failed"})), ("pods", pod_object("q")))
    assert names(cache) == ["q"]


def test_objects_are_found_by_service_and_component() -> None:
    cache, _ = cache_with(
        ("pods", pod_object("w")),
        ("pods", pod_object("r", component="router")),
        ("deployments", deployment_object("l1")),
        ("others", child_object("ConfigMap", "c")),
    )
    assert names(cache) == ["w"]
    assert [pod.name for pod in cache.pods(NAMESPACE, NAME, "router")] == ["r"]
    assert [d.revision for d in cache.deployments(*OF_IMAGES)] == ["l1"]
    assert cache.deployments(NAMESPACE, "others", "worker") == []
    assert [child.name for child in cache.others(NAMESPACE, NAME)] == ["c"]


def test_a_status_concerns_nobody_but_another_spec_and_a_deletion_do() -> None:
    cache, woken = cache_with(("services", service_object()))
    cache.saw("services", "MODIFIED", service_object(status={"gpus": "1 / 1 / 4"}))
    assert woken.since() == []
    cache.saw("services", "MODIFIED", service_object(generation=2))
    assert woken.since() == [KEY]
    labelled = service_object(generation=2)
    labelled["metadata"]["labels"] = {"team": "pictures"}
    cache.saw("services", "MODIFIED", labelled)
    assert woken.since() == [KEY], "labels may be those of its children"
    deleting = service_object(generation=2)
    deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.saw("services", "MODIFIED", deleting)
    assert woken.since() == [KEY]
    cache.saw("services", "DELETED", deleting)
    assert woken.since() == [KEY]
    assert (cache.services, cache.service(KEY)) == ([], None)


def test_a_profile_concerns_the_services_that_name_it() -> None:
    other = service_object(profile="three")
    other["metadata"]["name"] = "other"
    cache, woken = cache_with(("services", service_object()), ("services", other))
    cache.saw("profiles", "ADDED", profile_object())
    assert woken.since() == [KEY]


def test_an_object_that_names_no_service_may_concern_all_of_its_namespace() -> None:
    other = service_object()
    other["metadata"]["name"] = "other"
    cache, woken = cache_with(("services", service_object()), ("services", other))
    cache.saw("others", "DELETED", child_object("ConfigMap", "c"))
    assert woken.since() == [KEY]
    unlabelled = child_object("ConfigMap", "d")
    unlabelled["metadata"]["labels"] = None
    cache.saw("others", "ADDED", unlabelled)
    assert sorted(woken.since()) == [KEY, f"{NAMESPACE}/other"]


@pytest.mark.parametrize("kind", ["Deployment", "ConfigMap"])
def test_an_object_lacks_what_it_has_not(kind: str) -> None:
    where = "deployments" if kind == "Deployment" else "others"
    document = deployment_object("l1", replicas=1) if kind == "Deployment" else child_object(kind, "c")
    cache, _ = cache_with()
    assert cache.lacks(document)
    assert not cache.knows(document)
    assert cache.owner(document) is None
    more = {**document, "metadata": {**document["metadata"], "managedFields": [], "uid": "u"}}
    cache.saw(where, "ADDED", more)
    assert not cache.lacks(document)
    assert cache.knows(document)
    assert cache.owner(document) == OWNER_UID
    labels = document["metadata"]["labels"] | {"a": "b"}
    assert cache.lacks({**document, "metadata": {**document["metadata"], "labels": labels}})


def test_what_was_compared_once_is_compared_again_when_somebody_changes_it() -> None:
    document = deployment_object("l1", replicas=1, version=1)
    desired = {**document, "metadata": {"name": document["metadata"]["name"], "namespace": NAMESPACE}}
    cache, _ = cache_with(("deployments", document))
    assert not cache.lacks(desired)
    cache.saw("deployments", "MODIFIED", deployment_object("l1", replicas=5, version=2))
    assert cache.lacks(desired)
    cache.saw("deployments", "MODIFIED", deployment_object("l1", replicas=1, version=3))
    assert not cache.lacks(desired)
    cache.saw("deployments", "DELETED", deployment_object("l1", replicas=1, version=4))
    assert cache.lacks(desired)


def test_others_of_one_name_are_kept_apart_by_kind() -> None:
    cache, _ = cache_with(("others", child_object("Role", "images")), ("others", child_object("Service", "images")))
    cache.gone(NAMESPACE, "Role", "images")
    assert [child.kind for child in cache.others(NAMESPACE, NAME)] == ["Service"]


def test_the_contents_of_a_config_map_are_not_kept() -> None:
    document = child_object("ConfigMap", "c") | {"data": {"manifest.yaml": "x" * 1000}, "binaryData": {"b": "eA=="}}
    cache, _ = cache_with(("others", document))
    assert not cache.lacks(document)
    assert not cache.lacks(
        document | {"data": {"manifest.yaml": "other"}, "binaryData": {"b": "eQ=="}}
    )  # its name has its content's hash


def test_a_profile_is_there_or_there_is_a_problem() -> None:
    cache, _ = cache_with()
    missing = cache.profile(NAMESPACE, "two")
    assert isinstance(missing, Problem)
    assert missing.reason == "ProfileNotFound"
    cache.saw("profiles", "ADDED", profile_object(tiers=[]))
    invalid = cache.profile(NAMESPACE, "two")
    assert isinstance(invalid, Problem)
    assert invalid.reason == "ProfileInvalid"
    cache.saw("profiles", "MODIFIED", profile_object())
    assert isinstance(cache.profile(NAMESPACE, "two"), Profile)
