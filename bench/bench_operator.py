"""Time one operator with many services on a real control plane: `python bench/bench_operator.py [SERVICES]`.

etcd, API server, controllers, scheduler, kwok and the stand-in for Prometheus share this machine's cores with it.
Every service has the scenes' profile, a router and two GPUs.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests/cluster")]

from cluster_documents import service
from control_plane import ControlPlane, Release, running, wait_for
from fakes import Demand

NAMESPACE, REST_S, CHANGES = "bench", 120.0, 60
SERVICES = f"/apis/hadis.dev/v1alpha1/namespaces/{NAMESPACE}/diffusionservices"


def main(count: int) -> None:
    """Print the figures as lines of a table."""
    with running() as plane, tempfile.TemporaryDirectory() as folder:
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)  # read when the client is imported
        for i in range(count // 50 + 1):
            plane.add_gpu_node(f"gpu-{i}", 128)
        plane.kubectl("create", "namespace", NAMESPACE)
        for path in sorted((ROOT / "crds").iterdir()):
            plane.kubectl("apply", "-f", str(path))
        wait_for(lambda: plane.kubectl("get", "dsvc", check=False).returncode == 0, 20, "the CRDs")
        release, demand = Release(plane, NAMESPACE, Path(folder) / "operator.log"), Demand()
        demand.rps = 1.0
        profile = next(yaml.safe_load_all((ROOT / "examples/scenes/profile.yaml").read_text()))
        profile["metadata"] = {"name": "scenes", "namespace": NAMESPACE}
        plane.apply(profile)
        operator = release.start()
        assert operator.process
        try:
            process = psutil.Process(operator.process.pid)
            asyncio.run(measure(plane, demand, process, count))
        finally:
            release.end()
            demand.close()


async def measure(plane: ControlPlane, demand: Demand, operator: psutil.Process, count: int) -> None:
    """Measure from the first service to the last change."""
    from hadis.kube.client import Kube, connect

    kube = Kube(await connect())
    print("| what | measured |\n|---|---|", flush=True)
    began = time.monotonic()
    names = [f"s{i:03}" for i in range(count)]
    changes = {"objective": {"latency": "4s"}, "gpus": {"max": 2}, "profile": "scenes", "planEvery": "2s",
               "router": {"replicas": 1}, "placement": "Shared", "scaleDownAfter": "300s"}  # fmt: skip
    for name in names:
        await kube.create(SERVICES, service(NAMESPACE, demand, name, **changes))
    await until(lambda: applied(kube, count), 600)
    print_row(f"{count} services from nothing to applied, s", time.monotonic() - began)
    await asyncio.sleep(30)
    cpu, requests = operator.cpu_times(), len(plane.requests_of(NAMESPACE))
    await asyncio.sleep(REST_S)
    spent = operator.cpu_times()
    minutes = REST_S / 60
    print_row("requests to the API server per minute and service, at rest", (len(plane.requests_of(NAMESPACE)) - requests) / minutes / count)  # fmt: skip  # noqa: E501
    print_row("share of a core, at rest, %", 100 * (spent.user + spent.system - cpu.user - cpu.system) / REST_S)
    print_row("memory, MB", operator.memory_info().rss / 1e6)
    waits = await child_waits(kube, names)
    print_row("from a change of spec to the child's change, median, s", statistics.median(waits))
    print_row("the same, p95, s", statistics.quantiles(waits, n=20)[18])
    waits = await router_waits(plane, kube, names[0])
    print_row("from a change of status to the router's use of the plan, worst of 20, s", max(waits))
    await kube.close()


async def applied(kube: Any, count: int) -> bool:
    """Return whether every service has its workers."""
    items = (await kube.get(SERVICES))["items"]
    good = [i for i in items for c in i.get("status", {}).get("conditions", [])
            if c["type"] == "PlanApplied" and c["status"] == "True"]  # fmt: skip
    return len(good) == count


async def child_waits(kube: Any, names: list[str]) -> list[float]:
    """Change the routers' count of some services; return the seconds until their Deployments ask for it."""
    deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    at: dict[str, float] = {}

    async def watch() -> None:
        async for objects in kube.follow(deployments, labelSelector="hadis.dev/component=router"):
            for item in objects.values():
                if item["spec"]["replicas"] == 2:
                    at.setdefault(item["metadata"]["labels"]["hadis.dev/service"], time.monotonic())

    watching = asyncio.create_task(watch())
    await asyncio.sleep(2)
    began = {}
    for i in range(CHANGES):
        name = names[i * len(names) // CHANGES]
        await kube.merge(f"{SERVICES}/{name}", {"spec": {"router": {"replicas": 2}}})
        began[name] = time.monotonic()
        await asyncio.sleep(0.5)
    await until(lambda: done(began.keys() <= at.keys()), 120)
    watching.cancel()
    return [at[name] - began[name] for name in began]


async def router_waits(plane: ControlPlane, kube: Any, name: str) -> list[float]:
    """Write plans into the status of a paused service; return the seconds until a router's source has them."""
    from hadis_router.plan_from_kubernetes import follow_cluster

    await kube.merge(f"{SERVICES}/{name}", {"spec": {"mode": "Paused"}})
    await asyncio.sleep(5)
    plan = (await kube.get(f"{SERVICES}/{name}"))["status"]["plan"]["active"]
    source = follow_cluster(NAMESPACE, name, [plan["light"], plan["heavy"]])
    state = await anext(source)
    waits = []
    for i in range(20):
        generation = 1000 + i
        change = {"status": {"plan": {"active": plan | {"generation": generation}}}}
        began = time.monotonic()
        await kube.merge(f"{SERVICES}/{name}/status", change)
        async with asyncio.timeout(30):
            while state.plan is None or state.plan.generation != generation:
                state = await anext(source)
        waits.append(time.monotonic() - began)
    await source.aclose()  # type: ignore[attr-defined]  # it is a generator
    return waits


async def done(value: bool) -> bool:
    """Return the value."""
    return value


async def until(check: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait for something; raise TimeoutError when it takes too long."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.5)


def print_row(what: str, value: float) -> None:
    """Print one row of the table."""
    print(f"| {what} | {value:.3g} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
