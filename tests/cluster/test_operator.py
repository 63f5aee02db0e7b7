"""The operator against a real API server, scheduler and controllers, under the chart's own rights."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from binaries import binary
from cluster_documents import profile, service
from control_plane import ControlPlane, free_port, wait_for

WAIT_S = 40.0


def status(plane: ControlPlane, namespace: str, name: str = "images") -> dict[str, Any]:
    found: dict[str, Any] = plane.get("dsvc", name, "-n", namespace).get("status", {})
    return found


def condition(plane: ControlPlane, namespace: str, kind: str, name: str = "images") -> dict[str, Any]:
    by_type = {c["type"]: c for c in status(plane, namespace, name)["conditions"]}
    found: dict[str, Any] = by_type[kind]
    return found


def workers(plane: ControlPlane, namespace: str) -> dict[str, int]:
    """Return the ready workers by pool."""
    counts: dict[str, int] = {}
    for pod in plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        if ready and "deletionTimestamp" not in pod["metadata"]:
            pool = pod["metadata"]["labels"]["hadis.dev/pool"]
            counts[pool] = counts.get(pool, 0) + 1
    return counts


def settled(plane: ControlPlane, namespace: str) -> dict[str, int]:
    """Wait until the plan is applied; return the workers by pool."""

    def done() -> bool:
        return condition(plane, namespace, "PlanApplied")["status"] == "True" and bool(workers(plane, namespace))

    wait_for(done, WAIT_S, "the plan to be applied")
    return workers(plane, namespace)


class BudgetWatch:
    """Watches every worker pod of a namespace; remembers the most GPUs that were held at one time."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        command = [str(binary("kubectl")), "--kubeconfig", str(plane.kubeconfig), "get", "pods", "-n", namespace,
                   "-l", "hadis.dev/component=worker", "--watch", "-o", "json", "--output-watch-events"]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._pods: set[str] = set()
        self.most = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        decoder, text = json.JSONDecoder(), ""
        for line in self._process.stdout:
            text += line
            try:
                event, end = decoder.raw_decode(text.lstrip())
            except ValueError:
                continue
            text = text.lstrip()[end:]
            uid = event["object"]["metadata"]["uid"]
            if event["type"] == "DELETED":
                self._pods.discard(uid)
            else:
                self._pods.add(uid)
            self.most = max(self.most, len(self._pods))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


@pytest.fixture
def budget(plane: ControlPlane, namespace: str) -> Iterator[BudgetWatch]:
    found = BudgetWatch(plane, namespace)
    yield found
    found.close()


def test_a_service_gets_its_children_and_counts_follow_the_load(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    start_operator()
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "Ready")["status"] == "True", WAIT_S, "the service to be ready")
    kinds = "sa,role,rolebinding,deployment,service,pdb,configmap"
    names = plane.kubectl("get", kinds, "-n", namespace, "-l", "hadis.dev/service=images", "-o", "name").stdout.split()
    assert {n.split("/")[0].split(".")[0] for n in names} == {
        "serviceaccount", "role", "rolebinding", "deployment", "service", "poddisruptionbudget", "configmap",
    }  # fmt: skip
    calm = settled(plane, namespace)
    assert calm.get("heavy", 0) > calm.get("light", 0)
    demand.rps = 40.0
    wait_for(lambda: workers(plane, namespace).get("light", 0) >= 4, 60, "the light tier to grow")
    assert status(plane, namespace)["plan"]["active"]["quality"] > 21
    wait_for(lambda: status(plane, namespace)["demand"]["observedRps"] > 10, WAIT_S, "the demand to be told")
    demand.rps = 1.0
    wait_for(lambda: workers(plane, namespace).get("heavy", 0) >= 2, 90, "the heavy tier to come back")
    assert budget.most <= 8
    row = plane.kubectl("get", "dsvc", "-n", namespace).stdout.splitlines()
    assert row[0].split() == ["NAME", "READY", "PLAN", "LIGHT", "HEAVY", "GPUS", "DEMAND", "QUALITY", "AGE"]
    assert row[1].split()[:2] == ["images", "True"]
    assert status(plane, namespace)["changes"]
    assert "PlanChanged" in plane.kubectl("get", "events", "-n", namespace).stdout


def test_an_operator_that_is_killed_again_and_again_gets_there(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    rng = random.Random(0)
    for turn in range(6):
        operator = start_operator()
        time.sleep(rng.uniform(1.5, 4.0))
        operator.stop(signal.SIGKILL)
        demand.rps = 30.0 if turn % 2 else 2.0
    demand.rps = 2.0
    start_operator()
    assert sum(settled(plane, namespace).values()) >= 2
    assert budget.most <= 8
    deployments = plane.get("deployments", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
    assert len(deployments) <= 2


def test_the_last_plan_is_held_while_the_demand_is_not_known(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    demand.rps = 3.0
    plane.apply(profile(namespace), service(namespace, demand))
    before = settled(plane, namespace)
    vector = '{"status":"success","data":{"resultType":"vector","result":[%s]}}'
    for answer, reason in (
        (vector % '{"metric":{},"value":[1,"NaN"]}', "NotANumber"),
        (vector % "", "NoData"),
        ('{"status":"error","error":"bad query"}', "QueryFailed"),
        ("<html>", "Unreachable"),
    ):
        demand.answer = answer
        wait_for(lambda r=reason: condition(plane, namespace, "MetricsAvailable")["reason"] == r, WAIT_S, reason)  # type: ignore[misc]
        assert workers(plane, namespace) == before
    demand.answer, demand.age_s = "", 600
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["reason"] == "StaleData", WAIT_S, "StaleData")
    assert workers(plane, namespace) == before
    demand.age_s = 0
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["status"] == "True", WAIT_S, "the metrics")


def test_a_real_prometheus_is_read(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, tmp_path: Any
) -> None:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: router\n  scrape_interval: 1s\n  metrics_path: /exposition\n"
        f"  static_configs:\n  - targets: ['{demand.address.removeprefix('http://')}']\n"
        f"    labels: {{namespace: {namespace}, hadis_service: images}}\n"
    )
    command = [str(binary("prometheus")), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
               f"--storage.tsdb.path={tmp_path / 'tsdb'}"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        start_operator()
        demand.rps = 5.0
        address = f"http://127.0.0.1:{port}"
        plane.apply(profile(namespace), service(namespace, demand, metrics={"prometheus": {"address": address}}))
        wait_for(lambda: status(plane, namespace)["demand"]["observedRps"] > 3, WAIT_S, "the demand")
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["reason"] == "Unreachable", WAIT_S, "its death")


def test_edits_by_hand_are_put_right_and_others_fields_left_alone(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    counts = settled(plane, namespace)
    names = plane.kubectl("get", "deployment", "-n", namespace, "-l", "hadis.dev/component=worker", "-o", "name")
    for name in names.stdout.split():
        plane.kubectl("scale", name, "-n", namespace, "--replicas=0")
        plane.kubectl("annotate", name, "-n", namespace, "someone=else")
    plane.kubectl("delete", "service", "images", "-n", namespace)
    plane.kubectl("patch", "role", "images-router", "-n", namespace, "--type=merge", "-p", '{"rules":[]}')
    wait_for(lambda: workers(plane, namespace) == counts, WAIT_S, "the workers to come back")
    plane.get("service", "images", "-n", namespace)
    assert len(plane.get("role", "images-router", "-n", namespace)["rules"]) == 2
    first = names.stdout.split()[0]
    assert plane.get(first, "-n", namespace)["metadata"]["annotations"]["someone"] == "else"


def test_nothing_is_written_while_nothing_changes(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    time.sleep(3)

    def versions() -> dict[str, str]:
        items = plane.get("dsvc,deployments,services,roles,configmaps,pdb", "-n", namespace)["items"]
        return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}

    before = versions()
    time.sleep(6)
    assert versions() == before


def test_a_profile_that_is_missing_wrong_or_changed(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    start_operator()
    plane.apply(service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "ProfileValid")["reason"] == "ProfileNotFound", WAIT_S, "the reason")
    wrong = profile(namespace)
    wrong["spec"]["configurations"][0]["light"] = "nobody"
    plane.apply(wrong)
    wait_for(lambda: "nobody" in condition(plane, namespace, "ProfileValid")["message"], WAIT_S, "the fault")
    plane.apply(profile(namespace))
    before = settled(plane, namespace)
    old = names_of(plane, namespace)
    changed = profile(namespace)
    changed["spec"]["tiers"][0]["latency"][0]["seconds"] = 0.11
    plane.apply(changed)
    wait_for(lambda: not names_of(plane, namespace) & old, 60, "the old pods to go")
    assert sum(settled(plane, namespace).values()) == sum(before.values())
    assert budget.most <= 8
    plane.kubectl("delete", "cprof", "two", "-n", namespace)
    wait_for(lambda: condition(plane, namespace, "ProfileValid")["reason"] == "ProfileNotFound", WAIT_S, "the reason")
    assert sum(workers(plane, namespace).values()) == sum(before.values())


def names_of(plane: ControlPlane, namespace: str) -> set[str]:
    found = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
    return {pod["metadata"]["name"] for pod in found}


def test_pods_that_cannot_start_are_named(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator(HADIS_OPERATOR_WORKER_IMAGE="missing:1")
    plane.apply(profile(namespace), service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "ImagePullBackOff", WAIT_S, "the reason")
    assert condition(plane, namespace, "Ready")["status"] == "False"


def test_a_quota_and_full_nodes_are_named(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    demand.rps = 2.0
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": namespace},
             "spec": {"hard": {"requests.nvidia.com/gpu": "2"}}}  # fmt: skip
    plane.apply(quota, profile(namespace), service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "CapacitySufficient")["reason"] == "QuotaExceeded", WAIT_S, "quota")
    plane.kubectl("delete", "resourcequota", "q", "-n", namespace)
    settled(plane, namespace)
    selector = {"nodeSelector": {"nvidia.com/gpu.product": "none-such"}}
    plane.apply(service(namespace, demand, worker=selector))
    wait_for(lambda: condition(plane, namespace, "CapacitySufficient")["reason"] == "Unschedulable", 60, "the nodes")
    assert sum(workers(plane, namespace).values()) > 0  # old pods serve on


def test_modes(plane: ControlPlane, namespace: str, start_operator: Any, demand: Any) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, mode="Advisory"))
    wait_for(lambda: condition(plane, namespace, "PlanApplied")["reason"] == "Advisory", WAIT_S, "the advice")
    assert not plane.get("deployments", "-n", namespace, "-l", "hadis.dev/service=images")["items"]
    plane.apply(service(namespace, demand))
    counts = settled(plane, namespace)
    plane.apply(service(namespace, demand, mode="Paused"))
    wait_for(lambda: condition(plane, namespace, "PlanApplied")["reason"] == "Paused", WAIT_S, "the pause")
    demand.rps = 50
    time.sleep(4)
    assert workers(plane, namespace) == counts


@pytest.mark.parametrize("name", ["a" * 63, "1.2"])
def test_any_name_that_kubernetes_takes(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, name: str
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, name=name), service(namespace, demand, name="b"))
    for each in (name, "b"):
        wait_for(lambda n=each: condition(plane, namespace, "Ready", n)["status"] == "True", WAIT_S, each)  # type: ignore[misc]


def test_deletion_leaves_nothing_also_without_an_operator(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    operator = start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    operator.stop()
    plane.kubectl("delete", "dsvc", "images", "-n", namespace, "--timeout=20s")

    def left() -> list[Any]:
        kinds = "deployments,services,configmaps,roles,rolebindings,sa,pdb,pods"
        found: list[Any] = plane.get(kinds, "-n", namespace, "-l", "hadis.dev/service=images")["items"]
        return found

    wait_for(lambda: not left(), WAIT_S, "the children to go")


def test_the_operator_outlives_the_api_server(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    plane.stop("kube-apiserver", signal.SIGKILL)
    time.sleep(3)
    plane.start("kube-apiserver")
    wait_for(lambda: plane.kubectl("get", "ns", check=False).returncode == 0, WAIT_S, "the API server")
    demand.rps = 40.0
    wait_for(lambda: workers(plane, namespace).get("light", 0) >= 4, 90, "the light tier to grow")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": {"min": 5, "max": 2}}, "min must not be over max"),
        ({"objective": {"latency": "4s", "optimize": "Cost"}}, "write objective.quality"),
        ({"objective": {"latency": "soon"}}, "spec.objective.latency"),
        ({"objective": {"latency": "4s", "attainment": 1.0}}, "attainment"),
        ({"mode": "Manual"}, "supported values"),
        ({"gpuz": {}}, "unknown field"),
    ],
)
def test_a_wrong_manifest_is_refused_with_what_to_write(
    plane: ControlPlane, namespace: str, demand: Any, change: dict[str, Any], words: str
) -> None:
    done = plane.apply(service(namespace, demand, **change), check=False)
    assert done.returncode != 0
    assert words.lower() in done.stderr.lower()


def test_explain_teaches(plane: ControlPlane) -> None:
    text = plane.kubectl("explain", "dsvc.spec.objective").stdout
    assert "Latency objective from request to image" in text


def test_autoscaler_and_network_policy_come_and_go_with_the_spec(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    router = {"replicas": 2, "autoscaling": {"maxReplicas": 5}, "allowFromAnywhere": False}
    plane.apply(profile(namespace), service(namespace, demand, router=router))
    settled(plane, namespace)
    autoscaler = plane.get("hpa", "images-router", "-n", namespace)["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 5)
    plane.get("networkpolicy", "images-router", "-n", namespace)
    plane.kubectl("scale", "deployment/images-router", "-n", namespace, "--replicas=4")  # the autoscaler's right
    time.sleep(3)
    assert plane.get("deployment", "images-router", "-n", namespace)["spec"]["replicas"] == 4
    plane.apply(service(namespace, demand, router={"replicas": 1}))

    def gone() -> bool:
        kinds = plane.get("hpa,networkpolicy", "-n", namespace)["items"]
        return not kinds and plane.get("deployment", "images-router", "-n", namespace)["spec"]["replicas"] == 1

    wait_for(gone, WAIT_S, "both to go")


def test_a_node_that_disappears_is_worked_around(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    plane.add_gpu_node("gpu-lost", 8)
    plane.kubectl("label", "node", "gpu-lost", "pool=lost")
    start_operator()
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand, worker={"nodeSelector": {"pool": "lost"}}))
    before = settled(plane, namespace)
    plane.kubectl("delete", "node", "gpu-lost")
    plane.kubectl("label", "node", "gpu-0", "pool=lost")
    try:

        def elsewhere() -> bool:
            pods = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
            return workers(plane, namespace) == before and {p["spec"].get("nodeName") for p in pods} == {"gpu-0"}

        wait_for(elsewhere, 120, "the pods to be elsewhere")
        assert budget.most <= 8
    finally:
        plane.kubectl("label", "node", "gpu-0", "pool-")
