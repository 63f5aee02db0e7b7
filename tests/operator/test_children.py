"""A service's objects: names, what pods may do, and what the router and the workers read."""

from __future__ import annotations

import copy
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from documents import profile_document
from hadis.api.images_api import ImagesApi
from hadis.api.manifest import read_manifest, write_profile
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.api.tier import TierSettings
from hadis.planning.profile import Profile
from hadis_operator import children
from hadis_operator.children.common import Owner, child_name
from hadis_operator.differences import differs
from hadis_operator.settings import OperatorSettings
from hadis_worker.settings import WorkerSettings, read_models

OWNER = Owner("images", "default", "uid")


def changed(document: dict[str, Any]) -> Profile:
    return Profile(CascadeProfile.read(document))


def make_spec(**fields: Any) -> ServiceSpec:
    return ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, **fields})


@pytest.mark.parametrize("name", ["images", "a" * 63, "1.2.3", "a.b", "x" * 62 + "y", "9" * 63])
def test_names_of_children_are_dns_labels_that_differ(name: str) -> None:
    made = [child_name(name, suffix) for suffix in ("router", "worker-0123456789", "workers-abcdef")]
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", each) for each in made)
    assert len(set(made)) == 3
    assert child_name(name + "b" if len(name) < 63 else name[:-1] + "z", "router") not in made


def test_pods_are_safe_and_workers_ask_for_one_gpu(profile: Profile) -> None:
    spec = make_spec(worker={"gpuResource": "amd.com/gpu", "nodeSelector": {"a": "b"}})
    made = children.make(OWNER, spec, OperatorSettings(), profile, shared=True)
    deployments = [*made.workers.values(), *(c for c in made.fixed if c["kind"] == "Deployment")]
    assert len(deployments) == 2
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        container = pod["containers"][0]["securityContext"]
        assert container["readOnlyRootFilesystem"]
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert not container["allowPrivilegeEscalation"]
    worker = deployments[0]["spec"]["template"]["spec"]
    assert worker["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "1"}
    assert worker["nodeSelector"] == {"a": "b"}
    threads = next(e for e in worker["containers"][0]["env"] if e["name"] == "HADIS_WORKER_THREADS")
    assert threads["valueFrom"]["resourceFieldRef"]["resource"] == "requests.cpu"
    assert worker["terminationGracePeriodSeconds"] > profile.latency_s("heavy", 4)
    assert worker["automountServiceAccountToken"] is False


def remote_profile(tier: int = 1, **remote: Any) -> Profile:
    document = profile_document()
    fields = {"url": "http://engine/v1", "slots": 3, "timeout": "90s", **remote}
    document["spec"]["tiers"][tier] |= {"remote": fields, "tunable": False}
    return Profile(CascadeProfile.read(document))


@pytest.mark.parametrize(("shared", "pool"), [(True, "ALL"), (False, "light")])
def test_a_remote_tier_has_small_pods_without_a_gpu_that_get_the_key(shared: bool, pool: str) -> None:
    profile = remote_profile(apiKeySecret={"name": "engine", "key": "token"})
    spec = make_spec(worker={"nodeSelector": {"gpu": "yes"}, "modelCache": {"claim": "models"}})
    made = children.make(OWNER, spec, OperatorSettings(), profile, shared=shared)
    assert list(made.workers) == [pool, "heavy"]
    local, remote = (made.workers[name]["spec"]["template"] for name in (pool, "heavy"))
    assert "hadis.dev/remote" not in local["metadata"]["labels"]
    assert remote["metadata"]["labels"]["hadis.dev/remote"] == "true"
    assert made.workers["heavy"]["metadata"]["labels"]["hadis.dev/remote"] == "true"
    pod = remote["spec"]
    [container] = pod["containers"]
    assert container["resources"] == {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}
    assert not {"nodeSelector", "tolerations"} & pod.keys()
    assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "manifest"}
    env = {item["name"]: item for item in container["env"]}
    assert env["HADIS_WORKER_TIERS"]["value"] == "heavy"
    assert env["HADIS_WORKER_API_KEY"]["valueFrom"] == {"secretKeyRef": {"name": "engine", "key": "token"}}
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz", "the endpoint may be away when it starts"
    assert pod["terminationGracePeriodSeconds"] > 90
    services = [c for c in made.fixed if c["kind"] == "Service" and "hadis.dev/pool" in c["spec"]["selector"]]
    assert {service["spec"]["selector"]["hadis.dev/pool"] for service in services} == {pool, "heavy"}


def test_a_remote_tier_whose_images_are_judged_has_the_discriminator_at_hand() -> None:
    spec = make_spec(worker={"resources": {"cpu": "16", "memory": "64Gi"}, "modelCache": {"claim": "models"}})
    made = children.make(OWNER, spec, OperatorSettings(), remote_profile(tier=0), shared=True)
    pod = made.workers["light"]["spec"]["template"]["spec"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models"}} in pod["volumes"]
    [container] = pod["containers"]
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}
    threads = next(entry for entry in container["env"] if entry["name"] == "HADIS_WORKER_THREADS")
    assert threads["valueFrom"]["resourceFieldRef"]["resource"] == "requests.cpu"
    assert "HADIS_WORKER_API_KEY" not in {item["name"] for item in pod["containers"][0]["env"]}


def test_a_remote_heavy_tier_has_the_discriminator_where_the_better_of_two_images_is_kept(tmp_path: Path) -> None:
    for best_of_two in (False, True):
        document = remote_profile(tier=1).resource.model_dump(by_alias=True, mode="json")
        document["spec"]["configurations"].append(
            {"light": "light", "heavy": "heavy", "directRatio": 0, "deferralRatio": 0.5, "quality": 20, "cost": 1}
            | ({"bestOfTwo": True} if best_of_two else {})
        )
        made = children.make(OWNER, make_spec(), OperatorSettings(), changed(document), shared=True)
        pod = made.workers["heavy"]["spec"]["template"]["spec"]
        [config] = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "manifest"]
        [text] = [c["data"]["manifest.yaml"] for c in made.fixed if c["metadata"]["name"] == config]
        (tmp_path / "manifest.yaml").write_text(text)
        settings = WorkerSettings(manifest=tmp_path / "manifest.yaml", tiers="heavy", models=tmp_path)
        assert (read_models(settings).discriminator is not None) is best_of_two
        assert any(volume["name"] == "models" for volume in pod["volumes"]) is best_of_two


def test_pods_of_remote_tiers_ask_for_what_the_spec_says_of_them() -> None:
    spec = make_spec(worker={"resources": {"cpu": "16"}, "remoteResources": {"cpu": "3", "memory": "6Gi"}})
    for tier, name in ((0, "light"), (1, "heavy")):
        made = children.make(OWNER, spec, OperatorSettings(), remote_profile(tier=tier), shared=True)
        [container] = made.workers[name]["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == {"cpu": "3", "memory": "6Gi"}


def test_workers_keep_models_and_what_they_compile_on_the_model_volume(profile: Profile) -> None:
    made = children.make(OWNER, make_spec(), OperatorSettings(), profile, shared=True)
    [container] = [d["spec"]["template"]["spec"]["containers"][0] for d in made.workers.values()]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    [volume] = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "models"]
    assert Path(env["HF_HOME"]).is_relative_to(volume)
    assert Path(env["HADIS_WORKER_COMPILE_CACHE"]).is_relative_to(volume)


def test_a_pod_that_serves_is_seen_within_a_second_and_may_take_long_to_start(profile: Profile) -> None:
    made = children.make(OWNER, make_spec(), OperatorSettings(), profile, shared=True)
    for deployment in (*made.workers.values(), next(c for c in made.fixed if c["kind"] == "Deployment")):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        startup, ready = container["startupProbe"], container["readinessProbe"]
        # A worker that loads is not asked whether it lives; a router may wait for workers.
        path, limit_s = {"worker": ("/readyz", 4 * 3600), "router": ("/healthz", 120)}[container["name"]]
        assert startup["httpGet"]["path"] == path
        assert (startup["periodSeconds"], startup["failureThreshold"]) == (1, limit_s)
        assert (ready["httpGet"]["path"], ready["periodSeconds"]) == ("/readyz", 1)


def test_other_pods_are_another_deployment(profile: Profile) -> None:
    def names(of: Profile = profile, image: str = "w:1", shared: bool = False) -> set[str]:
        made = children.make(OWNER, make_spec(), OperatorSettings(worker_image=image), of, shared=shared)
        return {d["metadata"]["name"] for d in made.workers.values()}

    assert len(names()) == 2
    assert names() == names()
    steps = profile_document()
    steps["spec"]["tiers"][1]["steps"] = 2
    judge = profile_document(discriminator="another")
    others = names(changed(steps)), names(changed(judge)), names(image="w:2"), names(shared=True)
    assert len(set().union(names(), *others)) == 2 + 1 + 2 + 2 + 1


@pytest.mark.parametrize("shared", [False, True])
def test_what_no_worker_reads_of_a_profile_replaces_none(profile: Profile, shared: bool) -> None:
    """Of a remote tier that is judged, and of tiers on GPUs."""
    remote = remote_profile(0).resource.model_dump(by_alias=True, mode="json")
    for plain in (profile_document(), remote):
        names = []
        for change in ({}, {"gpuProduct": "x", "software": {"torch": "9"}, "source": "measured anew"}):
            document = copy.deepcopy(plain)
            document["spec"] |= change
            if change:
                document["metadata"]["name"] = "another"
                document["spec"]["configurations"][0]["quality"] = 99.0
                document["spec"]["tiers"][0]["latency"][0]["seconds"] = 0.11
                document["spec"]["tiers"][0] |= {
                    "memoryBytes": 1,
                    "loadSeconds": 1.0,
                    "confidenceQuantiles": [0.0, 1.0],
                }
            made = children.make(OWNER, make_spec(), OperatorSettings(), changed(document), shared=shared)
            names.append([d["metadata"]["name"] for d in made.workers.values()])
        assert names[0] == names[1]


@pytest.mark.parametrize("remote", [None, 0, 1])
def test_workers_read_the_settings_of_their_tiers_and_judge_as_before(
    profile: Profile, tmp_path: Path, remote: int | None
) -> None:
    whole = profile if remote is None else remote_profile(remote)
    write_profile(tmp_path / "whole.yaml", whole.resource)
    made = children.make(OWNER, make_spec(), OperatorSettings(), whole, shared=False)
    configs = {c["metadata"]["name"]: c for c in made.fixed if c["kind"] == "ConfigMap"}
    for deployment in made.workers.values():
        pod = deployment["spec"]["template"]["spec"]
        [config] = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "manifest"]
        (tmp_path / "manifest.yaml").write_text(configs[config]["data"]["manifest.yaml"])
        [tiers] = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "HADIS_WORKER_TIERS"]
        mounted, read = (
            read_models(WorkerSettings(manifest=tmp_path / name, tiers=tiers, models=tmp_path))
            for name in ("whole.yaml", "manifest.yaml")
        )
        fields = set(TierSettings.model_fields)
        assert [t.model_dump(include=fields) for t in mounted.tiers] == [
            t.model_dump(include=fields) for t in read.tiers
        ]
        assert (mounted.discriminator, mounted.remote) == (read.discriminator, read.remote)


def test_drains_take_a_quarter_of_a_pool_and_what_is_broken_anyway(profile: Profile) -> None:
    made = children.make(OWNER, make_spec(), OperatorSettings(), profile, shared=False)
    budgets = [c["spec"] for c in made.fixed if c["kind"] == "PodDisruptionBudget"]
    assert [b["maxUnavailable"] for b in budgets] == [1, "25%", "25%"]
    assert {b["unhealthyPodEvictionPolicy"] for b in budgets} == {"AlwaysAllow"}
    pods = [c for c in made.fixed if c["kind"] == "Deployment"] + list(made.workers.values())
    for pod in (d["spec"]["template"]["metadata"]["labels"] for d in pods):
        selected = [b for b in budgets if b["selector"]["matchLabels"].items() <= pod.items()]
        assert len(selected) == 1  # of two, none lets a pod go
    for deployment in made.workers.values():
        rolling = {"maxSurge": 0, "maxUnavailable": "25%"}
        assert deployment["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_a_field_that_is_wanted_no_more_is_a_difference(profile: Profile) -> None:
    def router(**fields: Any) -> Any:
        made = children.make(OWNER, make_spec(router=fields), OperatorSettings(), profile, shared=True)
        return next(c for c in made.fixed if c["kind"] == "Deployment")

    plain, linked = router(), router(links={"publicUrl": "https://pictures.example"})
    assert differs(plain, linked)
    assert not differs(router(), plain)
    scaled = router(autoscaling={"maxReplicas": 5})
    assert differs(scaled, plain)


def test_the_router_reads_the_manifest_that_is_mounted_for_it(profile: Profile, tmp_path: Path) -> None:
    api = {"strict": True, "modelAliases": {"dall-e-3": "light"}, "sizePolicy": "exact"}
    traffic = {"cache": {"memory": "64Mi"}, "qualityWatch": {"share": 0.2}, "promptSample": {"keep": 7}}
    spec = make_spec(api=api, **traffic)
    made = children.make(OWNER, spec, OperatorSettings(), profile, shared=True)
    configs = {
        c["metadata"]["name"]: {name: text.encode() for name, text in c.get("data", {}).items()}
        | {name: b64decode(text) for name, text in c.get("binaryData", {}).items()}
        for c in made.fixed
        if c["kind"] == "ConfigMap"
    }
    deployment = next(c for c in made.fixed if c["kind"] == "Deployment")
    volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
    for source in volumes["manifest"]["projected"]["sources"]:
        data = configs[source["configMap"]["name"]]
        for item in source["configMap"].get("items", [{"key": key, "path": key} for key in data]):
            path = tmp_path / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data[item["key"]])
    manifest = read_manifest(tmp_path / "manifest.yaml")
    assert manifest.service.spec.gpus.max == 1  # a budget that is scaled restarts no router
    mounted = manifest.service.spec
    assert mounted.api == ImagesApi.read(api)
    assert (mounted.cache, mounted.quality_watch, mounted.prompt_sample) == (
        spec.cache,
        spec.quality_watch,
        spec.prompt_sample,
    )
    assert manifest.profile.spec.tiers == profile.resource.spec.tiers
    assert sorted(manifest.profile.spec.configurations, key=str) == sorted(profile.configurations, key=str)


def test_a_router_knows_how_others_reach_it(profile: Profile) -> None:
    made = children.make(OWNER, make_spec(), OperatorSettings(), profile, shared=True)
    (router,) = (c for c in made.fixed if c["kind"] == "Deployment")
    env = {e["name"]: e for e in router["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["HADIS_ROUTER_ADDRESS"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
def test_an_autoscaler_takes_over_the_routers_count(profile: Profile, placement: str) -> None:
    spec = make_spec(router={"autoscaling": {"maxReplicas": 5}})
    made = children.make(OWNER, spec, OperatorSettings(), profile, shared=placement == "Shared")
    assert "HorizontalPodAutoscaler" in {c["kind"] for c in made.fixed}
    router = next(c for c in made.fixed if c["kind"] == "Deployment")
    assert "replicas" not in router["spec"]


def test_a_router_gets_links_keys_and_the_secret_and_every_worker_the_secret() -> None:
    keys = {"secret": {"name": "shop-keys", "key": "list"}}
    spec = make_spec(router={"links": {"publicUrl": "https://pictures.example"}}, access={"keys": keys})
    made = children.make(OWNER, spec, OperatorSettings(), remote_profile(), shared=True)
    [pod] = [c["spec"]["template"]["spec"] for c in made.fixed if c["kind"] == "Deployment"]
    [router] = pod["containers"]
    env = {item["name"]: item for item in router["env"]}
    assert env["HADIS_ROUTER_PUBLIC_URL"]["value"] == "https://pictures.example"
    [mount] = [each for each in router["volumeMounts"] if each["name"] == "keys"]
    assert env["HADIS_ROUTER_KEYS"]["value"] == f"{mount['mountPath']}/keys"
    [volume] = [each for each in pod["volumes"] if each["name"] == "keys"]
    assert volume["secret"] == {"secretName": "shop-keys", "items": [{"key": "list", "path": "keys"}]}
    secret = env["HADIS_ROUTER_SECRET"]["valueFrom"]
    assert len(made.workers) == 2
    for worker in made.workers.values():
        [container] = worker["spec"]["template"]["spec"]["containers"]
        assert {"name": "HADIS_WORKER_SECRET", "valueFrom": secret} in container["env"]
    [config] = [c for c in made.fixed if c["kind"] == "ConfigMap" and "access:" in str(c.get("data"))]
    assert "shop-keys" in str(config["data"])
