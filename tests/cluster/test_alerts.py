"""Dashboard and alerts on a real Prometheus, scraped as teams scrape: every query sees data, of the right service.

What is scraped is what router and operator expose, with counters that rise; targets have the labels that the Prometheus
operator gives to those of a ServiceMonitor, or those of the scrape configuration that the documents name.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from control_plane import wait_for
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis_operator import children, metrics
from hadis_operator.children.common import Owner
from hadis_operator.credentials import Credentials
from hadis_operator.prometheus import default_query, from_prometheus
from hadis_operator.sample_clock import SampleClock
from hadis_operator.settings import OperatorSettings
from prometheus_client import REGISTRY, generate_latest
from prometheus_server import Exposition, prometheus, query
from router_scrape import router_exposition
from test_chart import render

ROOT = Path(__file__).parents[2]
TEAM, NAME, SYSTEM = "team", "images", "ns"
SLOW = Plan("light", "heavy", 0.1, 0.5, (TierPlan("light", 1, 4), TierPlan("heavy", 1, 4)), 1.0, 25.0, 1.0, 2.0, False)
Labels = dict[str, str]


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Exposition]]:
    """The router of a service in TEAM, and an operator in SYSTEM that fails and finds too few GPUs for it."""
    gpus = {"ready": 1, "existing": 1, "budget": 2}
    metrics.record(TEAM, NAME, Decision(Memory(), (), True, SLOW), gpus, None)
    metrics.RECONCILES.labels("error").inc()
    expositions = {
        "router": Exposition(asyncio.run(router_exposition())),
        "operator": Exposition(generate_latest(REGISTRY).decode()),
    }
    metrics.forget(TEAM, NAME)
    yield expositions
    for each in expositions.values():
        each.close()


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The chart's manifests by kind and name."""
    values = {"prometheus": {"serviceMonitor": True, "rules": True}, "grafana": {"dashboard": True}}
    texts = render(tmp_path_factory.mktemp("chart"), values)
    return {name: yaml.safe_load(text) for name, text in texts.items()}


def of_service(kind: str) -> dict[str, Any]:
    """Return the router's object of a kind, as the operator makes it."""
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}})
    profile = Profile(CascadeProfile.read(profile_document()))
    made = children.make(Owner(NAME, TEAM, "u"), spec, OperatorSettings(), profile, shared=True)
    components = [each for each in made.fixed if each["metadata"]["labels"]["hadis.dev/component"] == "router"]
    return next(each for each in components if each["kind"] == kind)


def meta(prefix: str, labels: Labels) -> Labels:
    """Return labels as service discovery calls them."""
    return {f"__meta_kubernetes_{prefix}_label_{re.sub('[^a-zA-Z0-9_]', '_', k)}": v for k, v in labels.items()}


def of_monitor(monitor: dict[str, Any], service: dict[str, Any], namespace: str, target: str) -> dict[str, Any]:
    """Return the job that the Prometheus operator makes of a ServiceMonitor, with one target of one Service."""
    endpoint, labels = monitor["spec"]["endpoints"][0], service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    name = service["metadata"]["name"]
    fixed = {"namespace": namespace, "service": name, "pod": f"{name}-1", "container": "c", "job": name}
    own = [
        {"target_label": label, "replacement": value}
        for label, value in (fixed | {"endpoint": endpoint["port"]}).items()
    ]
    rules = [
        {"source_labels": each["sourceLabels"], "target_label": each["targetLabel"]}
        for each in endpoint.get("relabelings", [])
    ]
    return {
        "job_name": f"{namespace}/{name}",
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": [{"targets": [target], "labels": meta("service", labels)}],
        "relabel_configs": own + rules,
    }


def by_monitors(chart: dict[str, dict[str, Any]], targets: dict[str, Exposition]) -> list[dict[str, Any]]:
    operator, services = chart["ServiceMonitor/x-hadis"], chart["ServiceMonitor/x-hadis-services"]
    return [
        of_monitor(operator, chart["Service/x-hadis"], SYSTEM, targets["operator"].address),
        of_monitor(services, of_service("Service"), TEAM, targets["router"].address),
    ]


def by_documents(chart: dict[str, dict[str, Any]], targets: dict[str, Exposition]) -> list[dict[str, Any]]:
    """Return the documented job, with pods in place of their discovery."""
    parts = list(yaml.safe_load_all((ROOT / "tests/node/prometheus.yaml").read_text()))
    text = next(part["data"]["prometheus.yml"] for part in parts if part["kind"] == "ConfigMap")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    pods = []
    for component, namespace, deployment in (
        ("operator", SYSTEM, chart["Deployment/x-hadis"]),
        ("router", TEAM, of_service("Deployment")),
    ):
        template = deployment["spec"]["template"]
        port = template["spec"]["containers"][0]["ports"][-1]["name"]
        known = {"namespace": namespace, "pod_name": f"{component}-1", "pod_container_port_name": port}
        labels = {f"__meta_kubernetes_{name}": value for name, value in known.items()}
        pods.append(
            {
                "targets": [targets[component].address],
                "labels": labels | meta("pod", template["metadata"]["labels"]),
            }
        )
    return [job | {"static_configs": pods}]


@pytest.fixture(scope="module", params=[by_monitors, by_documents])
def address(
    request: pytest.FixtureRequest,
    chart: dict[str, dict[str, Any]],
    targets: dict[str, Exposition],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A Prometheus that has scraped everything three times and more, and has loaded the alerts."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text(yaml.safe_dump(chart["PrometheusRule/x-hadis"]["spec"]))
    interval = {"scrape_interval": "400ms", "scrape_timeout": "400ms", "evaluation_interval": "400ms"}
    config = {"global": interval, "rule_files": ["rules.yml"], "scrape_configs": request.param(chart, targets)}
    with prometheus(folder, config) as url:
        before = {name: each.scrapes for name, each in targets.items()}
        wait_for(lambda: all(each.scrapes > before[name] + 3 for name, each in targets.items()), 20, "scrapes")
        yield url


def rules_of(chart: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for group in chart["PrometheusRule/x-hadis"]["spec"]["groups"] for rule in group["rules"]]


def test_every_query_of_the_dashboard_sees_the_service(address: str, chart: dict[str, dict[str, Any]]) -> None:
    dashboard = json.loads(chart["ConfigMap/x-hadis-dashboard"]["data"]["hadis.json"])
    for label, value in (("namespace", TEAM), ("service", NAME)):
        variable = next(each for each in dashboard["templating"]["list"] if each["name"] == label)["query"]
        series = re.fullmatch(rf"label_values\((.+), {label}\)", variable)
        assert series is not None
        samples = query(address, series[1].replace("$namespace", TEAM))
        assert {each["metric"][label] for each in samples} == {value}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$namespace", TEAM).replace("$service", NAME)
            samples = query(address, expression)
            assert samples, f"{panel['title']}: {expression}"
            assert "NaN" not in [each["value"][1] for each in samples], f"{panel['title']}: {expression}"


def test_every_alert_is_raised_for_the_service_that_it_is_of(address: str, chart: dict[str, dict[str, Any]]) -> None:
    for rule in (rule for rule in rules_of(chart) if "alert" in rule):
        samples = query(address, rule["expr"])
        assert samples, rule["alert"]
        labels = samples[0]["metric"]
        named = {"namespace": labels["namespace"], "service": labels.get("hadis_service") or labels.get("service")}
        if rule["alert"] == "HadisOperatorFails":
            assert named["namespace"] == SYSTEM
        else:
            assert named == {"namespace": TEAM, "service": NAME}, rule["alert"]


async def test_the_operator_reads_the_demand_of_the_service(address: str) -> None:
    clock = asyncio.get_running_loop().time
    async with aiohttp.ClientSession() as http:
        selector = default_query(TEAM, NAME)
        reading = await from_prometheus(http, address, selector, SampleClock(), clock(), Credentials())
    assert set(reading.sizes.values()) >= {"auto"}
    assert all(value > 0 for value in reading.series.values())
    assert clock() - 10 < reading.at_s <= clock()


def test_alerts_are_of_our_metrics(chart: dict[str, dict[str, Any]]) -> None:
    known = (ROOT / "docs/reference/metrics.md").read_text()  # a test holds that they are the code's
    for rule in rules_of(chart):
        for name in re.findall(r"hadis_(?:router|operator)_\w+", rule["expr"]):
            assert re.sub(r"_bucket$", "", name) in known, f"{rule}: {name}"
