"""The status of a CascadeProfile on a real API server, under the chart's own rights."""

from __future__ import annotations

import time
from typing import Any

from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from queries import WAIT_S


def test_a_profile_says_whether_it_is_valid_what_is_in_it_and_who_uses_it(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace))

    def status() -> dict[str, Any]:
        reported: dict[str, Any] = plane.get("cprof", "two", "-n", namespace)["status"]
        return reported

    wait_for(lambda: status()["rows"] == 27, WAIT_S, "the status")
    plane.apply(service(namespace, demand, mode="Advisory"))
    wait_for(lambda: status()["usedBy"] == ["images"], WAIT_S, "its user")
    rows = [line.split() for line in plane.kubectl("get", "cprof", "-n", namespace).stdout.splitlines()]
    assert rows[0] == ["NAME", "VALID", "GPU", "TIERS", "ROWS", "FRONT", "USERS", "AGE"]
    assert rows[1][:-1] == ["two", "True", "cpu", "light,", "heavy", "27", "1", "1"]
    assert status()["observedGeneration"] == 1
    wrong = profile(namespace)
    wrong["spec"]["configurations"][0]["light"] = "nobody"
    plane.apply(wrong)
    wait_for(lambda: "nobody" in status()["conditions"][0]["message"], WAIT_S, "the fault")
    assert (status()["conditions"][0]["status"], status()["observedGeneration"]) == ("False", 2)

    def warned() -> bool:
        events = plane.kubectl("get", "events", "-n", namespace, "--field-selector=involvedObject.kind=CascadeProfile")
        return "Warning" in events.stdout and "ProfileInvalid" in events.stdout

    wait_for(warned, WAIT_S, "the event")
    version = plane.get("cprof", "two", "-n", namespace)["metadata"]["resourceVersion"]
    time.sleep(3)
    assert plane.get("cprof", "two", "-n", namespace)["metadata"]["resourceVersion"] == version
