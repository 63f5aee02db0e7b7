"""Models that are fetched before a worker starts: the init container, its progress and its failure in the status."""

from __future__ import annotations

from typing import Any

import pytest
from fake_http import FakeHttp
from hadis.api.resources import CascadeProfile
from hadis.api.status import FetchStatus
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem
from hadis_operator import children
from hadis_operator.fetch_progress import fetch_status
from hadis_operator.settings import OperatorSettings
from hadis_operator.workload_views import pod_view
from kube_objects import pod_object
from test_children import OWNER, make_spec, remote_profile

TOKEN = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}}


def pods_of(profile: Profile, **worker: Any) -> dict[str, Any]:
    made = children.make(OWNER, make_spec(worker=worker), OperatorSettings(), profile, shared=True)
    return {name: each["spec"]["template"]["spec"] for name, each in made.workers.items()}


def test_models_are_fetched_with_what_the_worker_has_but_a_gpu_and_the_worker_is_offline(profile: Profile) -> None:
    resources = {"cpu": "4", "memory": "8Gi"}
    spec = pods_of(profile, env=[TOKEN], resources=resources, modelCache={"claim": "m", "prefetch": True})["ALL"]
    [fetch], [worker] = spec["initContainers"], spec["containers"]
    assert (fetch["name"], fetch["args"], fetch["image"]) == ("fetch", ["fetch"], worker["image"])
    assert fetch["resources"] == {"requests": resources, "limits": {"memory": "8Gi"}}
    assert "nvidia.com/gpu" in worker["resources"]["limits"]
    assert TOKEN in fetch["env"] and TOKEN in worker["env"]
    assert fetch["securityContext"] == worker["securityContext"]
    offline = {"name": "HF_HUB_OFFLINE", "value": "1"}
    assert offline in worker["env"] and offline not in fetch["env"]
    assert "HADIS_WORKER_SECRET" not in {each["name"] for each in fetch["env"]}
    assert fetch["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert "ports" not in fetch


def models_of(container: dict[str, Any]) -> dict[str, Any]:
    """Return the mount of a container's models."""
    [mount] = [each for each in container["volumeMounts"] if each["mountPath"] == "/models"]
    return {name: value for name, value in mount.items() if name != "mountPath"}


def test_who_fetches_writes_to_the_claim_and_the_worker_only_reads_it(profile: Profile) -> None:
    cache = {"claim": "m", "prefetch": True}
    spec = pods_of(profile, modelCache=cache)["ALL"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "m"}} in spec["volumes"]
    [fetch], [worker] = spec["initContainers"], spec["containers"]
    assert models_of(fetch) == {"name": "models"}
    assert models_of(worker) == {"name": "models", "readOnly": True}
    compiled = profile.resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    compiled["spec"]["tiers"][0]["speed"] = {"compile": "regional"}
    [worker] = pods_of(Profile(CascadeProfile.read(compiled)), modelCache=cache)["ALL"]["containers"]
    assert models_of(worker) == {"name": "models"}, "what is compiled is kept beside the models"
    [worker] = pods_of(profile, modelCache={"claim": "m"})["ALL"]["containers"]
    assert models_of(worker) == {"name": "models"}, "it fetches for itself"


def test_nothing_is_fetched_for_an_endpoint_or_where_nobody_asks() -> None:
    spec = pods_of(remote_profile(), modelCache={"prefetch": True})
    assert "initContainers" in spec["ALL"]
    assert "initContainers" not in spec["heavy"]
    assert "initContainers" not in pods_of(remote_profile())["ALL"]


STARTED = "2026-01-01T11:00:00Z"
RUNNING = {"running": {"startedAt": STARTED}}


def ended(code: int, message: str = "") -> dict[str, Any]:
    return {
        "terminated": {"exitCode": code, "message": message, "finishedAt": "2026-01-01T12:00:00Z", "reason": "Error"}
    }


@pytest.mark.parametrize(
    ("state", "last", "fetching", "failure"),
    [
        (RUNNING, {}, True, None),
        (RUNNING, ended(1, "x"), True, None),
        (ended(0), ended(1, "x"), False, None),
        (ended(1, "a line\nhadis_worker: no space\n"), {}, False, "pod w: hadis_worker: no space"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, ended(1, "gated"), False, "pod w: gated"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, ended(137), False, "pod w: Error"),
    ],
)
def test_why_models_could_not_be_fetched_is_told_in_the_last_line(
    state: dict[str, Any], last: dict[str, Any], fetching: bool, failure: str | None
) -> None:
    status = {"startTime": STARTED, "initContainerStatuses": [{"name": "fetch", "state": state, "lastState": last}]}
    pod = pod_view(pod_object("w", status=status))
    assert pod.fetching is fetching
    assert pod.failure == (None if failure is None else Problem("FetchFailed", failure))


def test_a_worker_is_late_from_when_its_models_were_there() -> None:
    def started_s(state: dict[str, Any]) -> float | None:
        status = {"startTime": STARTED, "initContainerStatuses": [{"name": "fetch", "state": state}]}
        return pod_view(pod_object("w", status=status)).started_s

    plain = pod_view(pod_object("w", status={"startTime": STARTED})).started_s
    assert started_s(RUNNING) is None
    assert plain is not None and started_s(ended(0)) == plain + 3600


def test_an_image_that_cannot_be_pulled_for_a_container_before_the_worker_is_told() -> None:
    waiting = {"name": "other", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    pod = pod_view(pod_object("w", status={"initContainerStatuses": [waiting]}))
    assert pod.failure == Problem("ErrImagePull", "pod w: no such image")


async def test_the_status_has_the_pod_that_is_furthest() -> None:
    fetch = {"initContainerStatuses": [{"name": "fetch", "state": RUNNING}]}
    pods = [pod_view(pod_object(f"w{i}", address=f"10.0.0.{i}", status=fetch)) for i in range(3)]
    pods.append(pod_view(pod_object("ready", ready=True, address="10.0.0.9")))
    answers = {f"http://10.0.0.{i}:8100/fetch": f'{{"files": {i}, "bytes": {10 * i}}}' for i in range(2)}
    http = FakeHttp(dict(answers))
    assert await fetch_status(http.session, pods) == FetchStatus(pods=3, files=1, bytes=10)
    assert "http://10.0.0.9:8100/fetch" not in http.requested
    assert await fetch_status(http.session, pods[3:]) == FetchStatus()
