"""The operator among others who write to the same objects, refuse them, or had their names first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from queries import WAIT_S, condition, is_ready, names_of, settled, status, workers

SOON_S = 10.0


def writes(plane: ControlPlane, namespace: str, since: int, name: str) -> int:
    """Return how often the operator has written to an object since so many of its requests."""
    uris = [uri for verb, uri in plane.requests_of(namespace)[since:] if verb in ("patch", "create", "update")]
    return sum(uri.partition("?")[0].endswith(f"/{name}") for uri in uris)


def requests_so_far(plane: ControlPlane, namespace: str) -> int:
    return len(plane.requests_of(namespace))


def replicas(plane: ControlPlane, namespace: str, name: str = "images-router") -> int:
    desired: int = plane.get("deployment", name, "-n", namespace)["spec"]["replicas"]
    return desired


APPENDS_ENV = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingAdmissionPolicy",
    "metadata": {"name": "appends-env"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                 "resources": ["deployments"]}
            ]
        },
        "matchConditions": [{"name": "new", "expression":
            "!object.spec.template.spec.containers[0].env.exists(e, e.name == 'SIDE')"}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                '[JSONPatch{op: "add", path: "/spec/template/spec/containers/0/env/-", '
                'value: Object.spec.template.spec.containers.env{name: "SIDE", value: "car"}}, '
                'JSONPatch{op: "replace", path: "/spec/revisionHistoryLimit", value: 3}, '
                'JSONPatch{op: "replace", path: "/spec/template/spec/terminationGracePeriodSeconds", value: 77}]'}}
        ],
    },
}  # fmt: skip


def binding(namespace: str) -> dict[str, Any]:
    """Return what has the policy hold in one namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "appends-env"},
        "spec": {"policyName": "appends-env", "matchResources": {"namespaceSelector": selector}},
    }


def test_what_others_add_stays_and_is_answered_by_no_writes(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(APPENDS_ENV, binding(namespace))
    time.sleep(1)
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    before = requests_so_far(plane, namespace)
    plane.kubectl("set", "env", "deploy/images-router", "FOO=bar", "-n", namespace)
    port = '[{"op": "add", "path": "/spec/ports/-", "value": {"name": "more", "port": 9, "targetPort": 9}}]'
    plane.kubectl("patch", "service", "images", "-n", namespace, "--type=json", "-p", port)
    time.sleep(5)
    assert writes(plane, namespace, before, "images-router") == 0
    assert writes(plane, namespace, before, "images") == 0
    env = plane.get("deploy", "images-router", "-n", namespace)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"FOO", "SIDE"} <= {item["name"] for item in env}
    assert len(plane.get("service", "images", "-n", namespace)["spec"]["ports"]) == 2
    plane.apply(service(namespace, demand, router={"links": {"publicUrl": "https://pictures.example"}}))

    def names() -> set[str]:
        template = plane.get("deploy", "images-router", "-n", namespace)["spec"]["template"]
        return {item["name"] for item in template["spec"]["containers"][0]["env"]}

    wait_for(lambda: "HADIS_ROUTER_PUBLIC_URL" in names(), WAIT_S, "the variable")
    plane.apply(service(namespace, demand, router={}))
    wait_for(lambda: "HADIS_ROUTER_PUBLIC_URL" not in names(), WAIT_S, "our own to go")
    assert {"FOO", "SIDE"} <= names()
    plane.kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", "appends-env")


def again_and_again(do: Callable[[], object]) -> Callable[[], None]:
    """Do something over and over in a thread; return what ends that."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(0.3):
            do()

    thread = threading.Thread(target=loop)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(20)

    return end


def test_who_undoes_our_writes_is_named_and_not_fought(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    before = requests_so_far(plane, namespace)
    patch = (
        "patch",
        "deploy",
        "images-router",
        "-n",
        namespace,
        "--field-manager=rival",
        "-p",
        '{"spec":{"replicas":4}}',
    )
    end = again_and_again(lambda: plane.kubectl(*patch, check=False))
    try:
        began = time.monotonic()
        wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "Contested", 20, "the contest")
        message = condition(plane, namespace, "Degraded")["message"]
        assert "Deployment images-router: rival changes spec.replicas" in message
        assert condition(plane, namespace, "Ready")["status"] == "True"
        time.sleep(max(0.0, 12 - (time.monotonic() - began)))
        assert writes(plane, namespace, before, "images-router") <= 7
    finally:
        end()
    wait_for(lambda: replicas(plane, namespace) == 2, WAIT_S, "our count")


def test_names_that_others_had_first_are_left_alone(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    theirs: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "images"}, "spec": {"ports": [{"port": 5}]}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "images-router"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "images-router"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
        # As another tool copies one of ours.
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "copy", "labels": {"hadis.dev/service": "images"}},
        },
    ]
    for each in theirs:
        each["metadata"]["namespace"] = namespace
    plane.apply(*theirs)
    objects = ("service/images", "sa/images-router", "role/images-router", "configmap/copy")

    def version_of(which: str) -> str:
        return str(plane.get(which, "-n", namespace)["metadata"]["resourceVersion"])

    before = [version_of(each) for each in objects]
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "NameTaken", WAIT_S, "the names")
    message = condition(plane, namespace, "Degraded")["message"]
    assert all(name in message for name in ("Service images ", "ServiceAccount images-router ", "Role images-router "))
    wait_for(lambda: workers(plane, namespace), WAIT_S, "workers")
    # It would run under their account.
    assert plane.kubectl("get", "deploy", "images-router", "-n", namespace, check=False).returncode != 0
    assert "NameTaken" in plane.kubectl("get", "events", "-n", namespace, "--field-selector=type=Warning").stdout
    plane.kubectl("delete", "service", "images", "-n", namespace)
    wait_for(lambda: "Service images" not in condition(plane, namespace, "Degraded")["message"], WAIT_S, "the name")
    wait_for(lambda: plane.get("service", "images", "-n", namespace)["metadata"]["ownerReferences"], WAIT_S, "ours")
    plane.kubectl("delete", "dsvc", "images", "-n", namespace)
    time.sleep(3)
    assert [version_of(each) for each in objects[1:]] == before[1:]


REFUSED: dict[str, dict[str, Any]] = {
    name: {"podTemplate": {"spec": fields}}
    for name, fields in (
        ("key", {"nodeSelector": {"a b": "c"}}),
        ("value", {"nodeSelector": {"a": "c d!"}}),
        ("exists", {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}),
        ("nokey", {"tolerations": [{"value": "b"}]}),
        ("class", {"runtimeClassName": "A B"}),
    )
}


def test_what_the_api_server_refuses_is_told_and_all_else_goes_on(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    plans = status(plane, namespace)["plan"]["active"]["generation"]
    wrong = [service(namespace, demand, name=name, worker=worker) for name, worker in REFUSED.items()]
    plane.apply(*wrong, service(namespace, demand, worker=REFUSED["key"]))
    for name in REFUSED:
        wait_for(
            lambda n=name: condition(plane, namespace, "Degraded", n)["reason"] == "ChildRefused",  # type: ignore[misc]
            SOON_S,
            name,
        )
        message = condition(plane, namespace, "Degraded", name)["message"]
        assert message.startswith(f"Deployment {name}-worker-"), message
        assert "Invalid value" in message or "must" in message, message
        plane.get("service", name, "-n", namespace)
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "ChildRefused", SOON_S, "that of the served")
    assert condition(plane, namespace, "Ready")["status"] == "True"
    demand.rps = 40.0
    wait_for(lambda: status(plane, namespace)["plan"]["active"]["generation"] > plans, WAIT_S, "another plan")
    events = plane.kubectl("get", "events", "-n", namespace, "--field-selector=type=Warning").stdout
    assert "ChildRefused" in events
    plane.apply(service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] != "ChildRefused", WAIT_S, "it to be mended")


def test_routers_outlive_the_coming_and_going_of_their_autoscaler(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, router={"replicas": 6}))
    settled(plane, namespace)
    scaled: dict[str, Any] = {"replicas": 2, "resources": {"cpu": "300m"}, "autoscaling": {"maxReplicas": 9}}
    counts: list[int] = []
    end = again_and_again(lambda: counts.append(replicas(plane, namespace)))

    def cpu() -> str:
        template = plane.get("deploy", "images-router", "-n", namespace)["spec"]["template"]
        return str(template["spec"]["containers"][0]["resources"]["requests"]["cpu"])

    try:
        plane.apply(service(namespace, demand, router=scaled))
        wait_for(
            lambda: cpu() == "300m" and plane.get("hpa", "images-router", "-n", namespace), WAIT_S, "the autoscaler"
        )
        plane.kubectl("scale", "deploy/images-router", "-n", namespace, "--replicas=7")  # the autoscaler's right
        plane.apply(service(namespace, demand, router=scaled | {"resources": {"cpu": "400m"}}))
        wait_for(lambda: cpu() == "400m", WAIT_S, "another edit")
        wait_for(lambda: counts[-1] == 7, WAIT_S, "the last count")
    finally:
        end()
    assert set(counts) == {6, 7}
    plane.apply(service(namespace, demand, router={"replicas": 3}))
    wait_for(lambda: replicas(plane, namespace) == 3, WAIT_S, "the count of the spec")
    wait_for(lambda: not plane.get("hpa", "-n", namespace)["items"], WAIT_S, "the autoscaler to go")


def test_routers_that_are_refused_are_told(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    limits = {"type": "Container", "max": {"memory": "1Mi"}}
    plane.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": namespace},
         "spec": {"limits": [limits]}},
        profile(namespace),
        service(namespace, demand, router={"resources": {"memory": "1Gi"}}),
    )  # fmt: skip
    start_operator()
    wait_for(lambda: "images-router" in condition(plane, namespace, "Degraded")["message"], WAIT_S, "the routers")
    degraded = condition(plane, namespace, "Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "PodsRefused")
    assert "maximum memory usage per Container is 1Mi" in degraded["message"]
    assert condition(plane, namespace, "Ready")["message"] == degraded["message"]


def test_a_pause_and_a_lost_profile_leave_ready_as_it_is(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    before = condition(plane, namespace, "Ready")
    assert before["status"] == "True"
    time.sleep(1.1)  # times are reported in whole seconds
    plane.apply(service(namespace, demand, mode="Paused"))
    wait_for(lambda: condition(plane, namespace, "PlanApplied")["reason"] == "Paused", WAIT_S, "the pause")
    paused = condition(plane, namespace, "Ready")
    plane.kubectl("delete", "cprof", "two", "-n", namespace)
    plane.apply(service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "ProfileNotFound", WAIT_S, "the loss")
    lost = condition(plane, namespace, "Ready")
    for ready in (paused, lost):
        assert (ready["status"], ready["lastTransitionTime"]) == ("True", before["lastTransitionTime"])
    plane.kubectl("wait", "dsvc/images", "-n", namespace, "--for=condition=Ready", "--timeout=5s")


def test_a_restart_by_hand_takes_some_workers_at_a_time_and_another_quality_none(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, placement="Shared", gpus={"min": 4, "max": 4}))
    assert settled(plane, namespace) == {"ALL": 4}
    old = names_of(plane, namespace)
    other = profile(namespace)
    other["spec"]["configurations"][0]["quality"] = 31.0
    other["spec"]["source"] = "measured anew"
    hash_before = status(plane, namespace)["profileHash"]
    plane.apply(other)
    wait_for(lambda: status(plane, namespace)["profileHash"] != hash_before, WAIT_S, "the profile")
    time.sleep(1)
    assert names_of(plane, namespace) == old
    budgets = plane.get("pdb", "-n", namespace)["items"]
    assert {each["spec"]["unhealthyPodEvictionPolicy"] for each in budgets} == {"AlwaysAllow"}
    of_workers = [b for b in budgets if b["metadata"]["labels"]["hadis.dev/component"] == "worker"]
    assert [each["status"]["disruptionsAllowed"] for each in of_workers] == [1]
    ready: list[int] = []

    def count() -> None:
        pods = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
        ready.append(sum(is_ready(pod) for pod in pods))

    end = again_and_again(count)
    try:
        plane.kubectl("rollout", "restart", "deploy", "-l", "hadis.dev/component=worker", "-n", namespace)
        wait_for(lambda: len(names_of(plane, namespace) & old) <= 2, WAIT_S, "two old workers to go")
    finally:
        end()
    assert min(ready) >= 3
