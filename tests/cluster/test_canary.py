"""A profile that is changed under a service with `rollout`, on a real API server: its status, events and pods."""

from __future__ import annotations

import signal
from typing import Any

from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from queries import WAIT_S, condition, names_of, settled, status


def test_a_new_profile_is_tried_without_a_pod_replaced_and_other_models_are_refused(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    operator = start_operator()
    rollout = {"canary": 0.1, "for": "10m"}
    plane.apply(profile(namespace), service(namespace, demand, rollout=rollout))
    settled(plane, namespace)
    pods, first = names_of(plane, namespace), status(plane, namespace)["profileHash"]
    plane.apply(profile(namespace, source="measured again"))
    wait_for(lambda: status(plane, namespace).get("canary"), WAIT_S, "the new profile to be tried")
    assert condition(plane, namespace, "ProfileRollout")["status"] == "Unknown"
    now = status(plane, namespace)
    assert (now["canary"]["stable"], now["profileHash"], now["rollout"]["verdict"]) == (first, first, "Comparing")
    operator.stop(signal.SIGKILL)
    operator.start()
    plane.apply(profile(namespace, source="and again"))
    second = now["canary"]["profile"]
    wait_for(lambda: status(plane, namespace)["canary"]["profile"] != second, WAIT_S, "the third profile to be tried")
    assert status(plane, namespace)["canary"]["stable"] == first, "the one in force was found again"
    tiers = profile(namespace)["spec"]["tiers"]
    plane.apply(profile(namespace, tiers=[tiers[0], tiers[1] | {"model": "another"}]))
    wait_for(lambda: condition(plane, namespace, "ProfileRollout")["reason"] == "TiersDiffer", WAIT_S, "its refusal")
    assert "canary" not in status(plane, namespace)
    assert "ProfileRolledBack" in plane.kubectl("get", "events", "-n", namespace).stdout
    assert names_of(plane, namespace) == pods
    plane.apply(service(namespace, demand))
    wait_for(lambda: status(plane, namespace)["profileHash"] != first, WAIT_S, "the change at once")
