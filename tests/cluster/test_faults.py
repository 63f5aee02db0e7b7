"""The operator while things around it fail."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from binaries import binary
from cluster_documents import profile, service
from control_plane import ControlPlane, free_port, wait_for
from fakes import Line
from queries import WAIT_S, BudgetWatch, condition, names_of, settled, workers


def test_an_operator_that_is_killed_again_and_again_gets_there(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    rng = random.Random(0)
    for turn in range(20):
        operator = start_operator(HADIS_OPERATOR_POD="operator-0")  # else it would wait for the one before
        time.sleep(rng.uniform(0.5, 3.0))
        operator.stop(signal.SIGKILL)
        demand.rps = 30.0 if turn % 2 else 2.0
    demand.rps = 2.0
    start_operator(HADIS_OPERATOR_POD="operator-0")
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
        (vector % '{"metric":{},"value":[1,"-5"]}', "NegativeSample"),
        (vector % '{"metric":{},"value":[1,"1e308"]}', "SampleTooLarge"),
        (vector % '{"metric":{},"value":[1,"1000"]}', "FutureSample"),
        ('{"status":"success"}', "BadAnswer"),
        (vector % "", "NoData"),
        ('{"status":"error","error":"bad query"}', "QueryFailed"),
        ("<html>", "BadAnswer"),
    ):
        demand.answer = answer
        wait_for(lambda r=reason: condition(plane, namespace, "MetricsAvailable")["reason"] == r, WAIT_S, reason)  # type: ignore[misc]
        assert workers(plane, namespace) == before
        plane.kubectl("delete", "service", "images", "-n", namespace)  # what is amiss is put right all the same
        wait_for(lambda: plane.get("service", "images", "-n", namespace), WAIT_S, "the service")
    demand.answer, demand.age_s = "", 600
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["reason"] == "StaleData", WAIT_S, "StaleData")
    assert workers(plane, namespace) == before
    demand.age_s = 0
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["status"] == "True", WAIT_S, "the metrics")


def test_counts_follow_a_real_prometheus_and_outlive_its_death(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch, tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: router\n  scrape_interval: 1s\n  metrics_path: /exposition\n"
        f"  static_configs:\n  - targets: ['{demand.address.removeprefix('http://')}']\n"
        f"    labels: {{namespace: {namespace}, hadis_service: images}}\n"
    )
    command = [
        str(binary("prometheus")),
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        start_operator()
        demand.rps = 2.0
        address = f"http://127.0.0.1:{port}"
        plane.apply(profile(namespace), service(namespace, demand, metrics={"prometheus": {"address": address}}))
        wait_for(lambda: workers(plane, namespace).get("heavy", 0) >= 2, 60, "the heavy tier")
        demand.rps = 40.0
        wait_for(lambda: workers(plane, namespace).get("light", 0) >= 4, 60, "the light tier to grow")
        process.kill()
        process.wait()
        wait_for(
            lambda: condition(plane, namespace, "MetricsAvailable")["reason"] == "Unreachable", WAIT_S, "its death"
        )
        demand.rps = 1.0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: workers(plane, namespace).get("heavy", 0) >= 2, 90, "the heavy tier to come back")
        assert budget.most <= 8
    finally:
        process.kill()
        process.wait()


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
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": namespace},
        "spec": {"hard": {"requests.nvidia.com/gpu": "2"}},
    }
    plane.apply(quota, profile(namespace), service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "CapacitySufficient")["reason"] == "QuotaExceeded", WAIT_S, "quota")
    plane.kubectl("delete", "resourcequota", "q", "-n", namespace)
    settled(plane, namespace)
    selector = {"nodeSelector": {"nvidia.com/gpu.product": "none-such"}}
    plane.apply(service(namespace, demand, worker=selector))
    wait_for(lambda: condition(plane, namespace, "CapacitySufficient")["reason"] == "Unschedulable", 60, "the nodes")
    assert sum(workers(plane, namespace).values()) > 0  # old pods serve on


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


def test_a_slow_etcd_and_broken_watches_are_outlived(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    line = Line(plane.ports["api"])
    try:
        start_operator(port=line.port)
        demand.rps = 2.0
        plane.apply(profile(namespace), service(namespace, demand))
        settled(plane, namespace)
        etcd = plane.processes["etcd"]
        demand.rps = 40.0
        for _ in range(8):  # it answers half of the time, and every watch breaks
            etcd.send_signal(signal.SIGSTOP)
            time.sleep(0.7)
            etcd.send_signal(signal.SIGCONT)
            assert line.cut()
            time.sleep(0.7)
        wait_for(lambda: workers(plane, namespace).get("light", 0) >= 4, 90, "the light tier to grow")
        before = names_of(plane, namespace)
        plane.kubectl("delete", "pod", sorted(before)[0], "-n", namespace)
        wait_for(lambda: len(names_of(plane, namespace) & before) == len(before) - 1, WAIT_S, "the pod to go")
        settled(plane, namespace)
    finally:
        line.close()


def test_a_pod_that_never_gets_ready_is_named_and_old_ones_serve_on(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    operator = start_operator(HADIS_OPERATOR_WORKER_LATE_S="3")
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    operator.stop()
    start_operator(HADIS_OPERATOR_WORKER_LATE_S="3", HADIS_OPERATOR_WORKER_IMAGE="never:1")
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "NotReady", WAIT_S, "the reason")
    assert "worker images-worker-" in condition(plane, namespace, "Degraded")["message"]
    assert condition(plane, namespace, "Ready")["status"] == "True"
    assert workers(plane, namespace)


def test_a_node_that_is_too_small_is_named_and_used(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    plane.add_gpu_node("gpu-small", 1)
    plane.kubectl("label", "node", "gpu-small", "pool=small")
    start_operator()
    changes: dict[str, Any] = {
        "placement": "Shared",
        "gpus": {"min": 3, "max": 3},
        "worker": {"nodeSelector": {"pool": "small"}},
    }
    plane.apply(profile(namespace), service(namespace, demand, **changes))
    wait_for(lambda: condition(plane, namespace, "CapacitySufficient")["reason"] == "Unschedulable", WAIT_S, "the node")
    assert "nvidia.com/gpu" in condition(plane, namespace, "CapacitySufficient")["message"]
    wait_for(lambda: workers(plane, namespace) == {"ALL": 1}, WAIT_S, "the one that fits")
    wait_for(lambda: condition(plane, namespace, "Ready")["status"] == "True", WAIT_S, "the service")
    plane.kubectl("delete", "node", "gpu-small")


def test_a_service_that_is_deleted_in_a_rollout_leaves_nothing(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    old = names_of(plane, namespace)
    plane.apply(service(namespace, demand, worker={"resources": {"cpu": "2"}}))
    wait_for(lambda: names_of(plane, namespace) - old, WAIT_S, "a new pod")
    plane.kubectl("delete", "dsvc", "images", "-n", namespace, "--timeout=20s")
    kinds = "deployments,services,configmaps,roles,rolebindings,sa,pdb,pods"
    what = (kinds, "-n", namespace, "-l", "hadis.dev/service=images")
    wait_for(lambda: not plane.get(*what)["items"], 90, "the children to go")


def test_an_address_where_no_prometheus_is(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    before = settled(plane, namespace)
    wrong = {"prometheus": {"address": f"http://127.0.0.1:{free_port()}"}}
    plane.apply(service(namespace, demand, metrics=wrong))
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["reason"] == "Unreachable", WAIT_S, "the reason")
    assert workers(plane, namespace) == before
    plane.apply(service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "MetricsAvailable")["status"] == "True", WAIT_S, "the metrics")
