"""What is read from Kubernetes objects: what is wrong with pods and Deployments, and statuses of other versions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hadis.api.profile_status import ProfileStatus
from hadis.api.status import read_status
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem
from hadis_operator.views import child_view, profile_view, service_view
from hadis_operator.workload_views import deployment_view, pod_view
from kube_objects import (
    OWNER_UID,
    child_object,
    deployment_object,
    pod_object,
    profile_object,
    service_object,
)

SINCE = "2026-01-01T11:58:00Z"
SINCE_S = datetime(2026, 1, 1, 11, 58, tzinfo=UTC).timestamp()


def test_what_keeps_a_pod_from_starting_is_named() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    view = pod_view(pod_object("p", status={"containerStatuses": [{"state": waiting}]}))
    assert view.failure == Problem("ImagePullBackOff", "pod p: no such image")
    assert pod_view({"metadata": {"name": "p"}}).failure is None


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_is_being_started_has_no_problem(reason: str) -> None:
    view = pod_view(pod_object("p", status={"containerStatuses": [{"state": {"waiting": {"reason": reason}}}]}))
    assert view.failure is None


def test_a_pod_that_waits_for_a_node_says_since_when() -> None:
    waits = {"type": "PodScheduled", "status": "False", "lastTransitionTime": SINCE, "message": "0/3 nodes"}
    view = pod_view(pod_object("p", status={"conditions": [waits]}))
    assert view.unschedulable == Problem("Unschedulable", "pod p waits for a node: 0/3 nodes")
    assert view.unschedulable_since_s == SINCE_S
    bound = pod_view(pod_object("p", status={"conditions": [waits | {"status": "True"}], "startTime": SINCE}))
    assert (bound.unschedulable, bound.unschedulable_since_s, bound.started_s) == (None, None, SINCE_S)


def test_a_pod_behind_scheduling_gates_waits_for_quota() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    item = pod_object("p", status={"conditions": [gated]}) | {
        "spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/a"}]}
    }
    unschedulable = pod_view(item).unschedulable
    assert unschedulable is not None
    assert (unschedulable.reason, "kueue.x-k8s.io/a" in unschedulable.message) == ("WaitingForQuota", True)


@pytest.mark.parametrize(
    ("spec", "conditions", "waits"),
    [
        ({"schedulerName": "nobody"}, [], True),
        ({"schedulerName": "default-scheduler"}, [], False),
        ({}, [], False),
        ({"schedulerName": "other", "nodeName": "n"}, [], False),
        ({"schedulerName": "other"}, [{"type": "PodScheduled", "status": "True"}], False),
    ],
)
def test_a_pod_that_its_scheduler_says_nothing_of_waits_for_it(
    spec: dict[str, Any], conditions: list[dict[str, Any]], waits: bool
) -> None:
    item = pod_object("p", status={"conditions": conditions}) | {"spec": spec}
    item["metadata"]["creationTimestamp"] = SINCE
    view = pod_view(item)
    told = Problem("Unschedulable", "pod p waits for a node: the scheduler nobody has not looked at it")
    assert (view.unschedulable, view.unschedulable_since_s) == ((told, SINCE_S) if waits else (None, None))


def test_a_pod_that_terminates_is_not_ready_and_one_that_ended_is_finished() -> None:
    assert pod_view(pod_object("p", ready=True)).ready
    ending = pod_view(pod_object("p", ready=True, terminating=True))
    assert (ending.ready, ending.terminating, ending.finished) == (False, True, False)
    assert pod_view(pod_object("p", status={"phase": "Failed"})).finished


@pytest.mark.parametrize(
    ("message", "reason"), [("exceeded quota: gpus", "QuotaExceeded"), ("denied by a webhook", "PodsRefused")]
)
def test_a_deployment_that_may_create_no_pods_says_why(message: str, reason: str) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": message}
    view = deployment_view(deployment_object("r", conditions=(refused,)))
    assert view.refused == Problem(reason, f"images-worker-r: {message}")
    assert deployment_view(deployment_object("r", conditions=({**refused, "status": "False"},))).refused is None


def test_a_deployment_is_observed_when_its_controller_has_seen_its_spec() -> None:
    behind = deployment_view(deployment_object("r", replicas=3, created=2, observed=False))
    assert (behind.replicas, behind.created, behind.observed) == (3, 2, False)
    assert deployment_view(deployment_object("r")).observed


def test_a_deployment_of_the_first_generation_is_as_it_was_made() -> None:
    document = deployment_object("r", observed=False)
    assert not deployment_view(document).as_made
    document["metadata"]["generation"] = 1
    assert deployment_view(document).as_made


def test_config_maps_that_pods_mount_are_found_in_projected_volumes_too() -> None:
    document = deployment_object("r", config_map="profile-1")
    projected = {"sources": [{"configMap": {"name": "router-1"}}, {"secret": {"name": "s"}}]}
    document["spec"]["template"]["spec"]["volumes"].append({"name": "both", "projected": projected})
    assert deployment_view(document).config_maps == ("profile-1", "router-1")


def test_a_child_is_owned_by_a_service_or_not() -> None:
    assert child_view(child_object("ConfigMap", "c")).owner == OWNER_UID
    assert child_view(child_object("ConfigMap", "c", owned=False)).owner == ""


def test_a_spec_that_cannot_be_read_is_a_problem_that_still_names_its_profile() -> None:
    view = service_view(service_object(gpus={"max": -1}))
    assert isinstance(view.spec, Problem)
    assert view.spec.reason == "InvalidSpec"
    assert "gpus.max" in view.spec.message
    assert view.profile == "two"


def test_a_profile_that_cannot_be_read_is_a_problem() -> None:
    assert isinstance(profile_view(profile_object()).content, Profile)
    content = profile_view(profile_object(tiers=[])).content
    assert isinstance(content, Problem)
    assert content.reason == "ProfileInvalid"


def test_a_profile_s_status_of_another_version_is_written_anew() -> None:
    assert profile_view(profile_object() | {"status": {"rows": "many"}}).status == ProfileStatus()


@pytest.mark.parametrize(
    "foreign",
    [
        {"plan": {"active": {"light": "light"}}},
        {"plan": "light"},
        {"gpus": 3},
        {"somethingNew": 1},
        {"demand": {"observedRps": "many"}},
    ],
)
def test_of_a_status_of_another_version_the_rest_is_read(foreign: dict[str, Any]) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": SINCE}
    status = read_status({"desiredByTier": {"light": 2}, "conditions": [condition], **foreign})
    assert status.desired_by_tier == {"light": 2}
    assert status.conditions[0].last_transition_time == SINCE
    assert status.plan.active is None
