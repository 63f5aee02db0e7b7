"""What a team adds to pods, in the children: for routers and workers alike, and that a changed value rolls them."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.api.pods import ROUTER, WORKER
from hadis.planning.profile import Profile
from hadis_operator import children
from hadis_operator.children.common import Owner, propagated
from hadis_operator.children.strategic_merge import merged
from hadis_operator.settings import OperatorSettings
from test_children import OWNER, make_spec, remote_profile

Template = dict[str, Any]
LINKS = {
    "publicUrl": "https://a.example",
    "rootPath": "/a",
    "bucket": {"name": "b", "endpoint": "http://s", "secret": "s"},
}
JOBS = {"redisSecret": "r", "webhooks": {"hosts": ["a.example"], "secret": "w"}}


def templates(profile: Profile, spec: dict[str, Any], owner: Owner = OWNER, **settings: Any) -> dict[str, Template]:
    """Return the Deployments' templates: the router's, and each pool's."""
    made = children.make(owner, make_spec(**spec), OperatorSettings(**settings), profile, shared=True)
    [router] = [child for child in made.fixed if child["kind"] == "Deployment"]
    return {"router": router["spec"]["template"]} | {n: d["spec"]["template"] for n, d in made.workers.items()}


FIELDS: dict[str, Any] = {
    "env": [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}},
        {"name": "EMPTY", "value": ""},
    ],
    "envFrom": [{"configMapRef": {"name": "proxy"}}],
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}, {"name": "ca", "mountPath": "/ca"}],
    "podLabels": {"team": "pictures"},
    "podAnnotations": {"prometheus.io/scrape": "true"},
    "priorityClassName": "high",
    "affinity": {"nodeAffinity": {"x": {}}},
    "topologySpreadConstraints": [{"topologyKey": "zone", "minDomains": 2}],
    "serviceAccountName": "pictures",
    "imagePullSecrets": [{"name": "ours"}, {"name": "pull"}],
}


@pytest.mark.parametrize(("part", "pool"), [("router", "router"), ("worker", "ALL")])
def test_every_field_stands_in_the_pods_of_its_part_alone(profile: Profile, part: str, pool: str) -> None:
    before = templates(profile, {}, image_pull_secrets=["pull"])
    made = templates(profile, {part: FIELDS}, image_pull_secrets=["pull"])
    other = {"router": "ALL", "ALL": "router"}[pool]
    assert made[other] == before[other]
    spec, meta = made[pool]["spec"], made[pool]["metadata"]
    [only], [bare] = spec["containers"], before[pool]["spec"]["containers"]
    assert only["env"] == [*bare["env"], FIELDS["env"][0], {"name": "EMPTY"}]
    assert only["envFrom"] == FIELDS["envFrom"]
    assert spec["volumes"] == [*before[pool]["spec"]["volumes"], *FIELDS["volumes"]]
    mounts = [FIELDS["volumeMounts"][0], {"name": "ca", "mountPath": "/ca"}]
    assert only["volumeMounts"] == [*bare["volumeMounts"], *mounts]
    assert meta["labels"]["team"] == "pictures"
    assert meta["annotations"] == FIELDS["podAnnotations"]
    assert spec["priorityClassName"] == "high"
    assert spec["affinity"] == FIELDS["affinity"]
    [spread] = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= meta["labels"].items()
    assert (spread["minDomains"], spread["whenUnsatisfiable"], spread["maxSkew"]) == (2, "ScheduleAnyway", 1)
    assert spec["serviceAccountName"] == "pictures"
    assert spec["imagePullSecrets"] == [{"name": "pull"}, {"name": "ours"}]


def test_routers_with_an_account_of_the_teams_may_read_the_service(profile: Profile) -> None:
    spec = make_spec(router={"serviceAccountName": "pictures"})
    made = children.make(OWNER, spec, OperatorSettings(), profile, shared=True)
    [binding] = [child for child in made.fixed if child["kind"] == "RoleBinding"]
    assert [subject["name"] for subject in binding["subjects"]] == ["images-router", "pictures"]


def test_pods_of_remote_tiers_have_the_fields_but_go_to_any_node() -> None:
    profile = remote_profile(apiKeySecret={"name": "engine", "key": "token"}, apiKeyEnv="HF_TOKEN")
    spec = templates(profile, {"worker": FIELDS})["heavy"]["spec"]
    assert not {"affinity", "topologySpreadConstraints"} & spec.keys()
    [only] = spec["containers"]
    [token] = [each for each in only["env"] if each["name"] == "HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"]["name"] == "engine", "the profile's key is that of its endpoint"
    assert only["envFrom"] == FIELDS["envFrom"]


def worker(profile: Profile, **fields: Any) -> Template:
    spec: Template = templates(profile, {"worker": fields})["ALL"]["spec"]
    return spec


def test_a_worker_may_span_gpus_share_memory_and_claim_devices(profile: Profile) -> None:
    template = templates(profile, {"worker": {"gpusPerWorker": 4}})["ALL"]
    assert template["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert template["metadata"]["labels"]["hadis.dev/gpus"] == "4"
    claim = {"name": "gpus", "resourceClaimTemplateName": "two-h100"}
    spec = worker(profile, gpusPerWorker=2, shmSize="8Gi", resourceClaims=[claim | {"request": "gpu"}])
    [only] = spec["containers"]
    assert only["resources"] == {"claims": [{"name": "gpus", "request": "gpu"}]}
    assert spec["resourceClaims"] == [claim]
    assert {"name": "shm", "mountPath": "/dev/shm"} in only["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in spec["volumes"]


def test_a_template_is_merged_as_kubectl_patch_merges(profile: Profile) -> None:
    patch = {
        "hostNetwork": True,
        "securityContext": {"fsGroup": None, "supplementalGroups": [5]},
        "containers": [
            {"name": "worker", "resources": {"limits": {"rdma/hca": "1"}}},
            {"name": "sidecar", "image": "s"},
        ],
    }
    template = {"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}, "spec": patch}
    made = templates(profile, {"worker": {"podTemplate": template}})["ALL"]
    assert made["metadata"]["annotations"] == {"a": "b"} and made["metadata"]["labels"]["c"] == "d"
    spec = made["spec"]
    only, sidecar = spec["containers"]
    assert only["resources"]["limits"] == {"nvidia.com/gpu": "1", "rdma/hca": "1"}
    assert sidecar == {"name": "sidecar", "image": "s"}
    assert spec["hostNetwork"] is True
    assert "fsGroup" not in spec["securityContext"] and spec["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize(
    ("base", "patch", "result"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}),
        ({"args": [1, 2]}, {"args": [3]}, {"args": [3]}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B"}]},
            {"env": [{"name": "C"}, {"name": "A", "value": "2"}, {"name": "B", "$patch": "delete"}]},
            {"env": [{"name": "A", "value": "2"}, {"name": "C"}]},
        ),
        ({}, {"volumes": [{"name": "v", "emptyDir": {}}]}, {"volumes": [{"name": "v", "emptyDir": {}}]}),
    ],
)
def test_strategic_merge(base: Any, patch: Any, result: Any) -> None:
    assert merged(base, patch) == result


@pytest.mark.parametrize(
    "fields",
    [*({name: value} for name, value in FIELDS.items()), {"gpusPerWorker": 2}, {"shmSize": "1Gi"}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_changed_value_is_another_deployment(profile: Profile, fields: dict[str, Any]) -> None:
    def name(**worker: Any) -> str:
        made = children.make(OWNER, make_spec(worker=worker), OperatorSettings(), profile, shared=True)
        return str(made.workers["ALL"]["metadata"]["name"])

    assert name(**fields) == name(**fields) != name()


def test_labels_of_the_service_that_match_go_to_children_and_pods_and_not_to_selectors(profile: Profile) -> None:
    labels = {"kueue.x-k8s.io/queue-name": "gpus", "cost": "7", "hadis.dev/service": "other"}
    passed = propagated(labels, ["kueue.x-k8s.io/", "hadis.dev/"])
    assert passed == {"kueue.x-k8s.io/queue-name": "gpus", "hadis.dev/service": "other"}
    assert propagated(labels, []) == {}
    owner = Owner("images", "default", "uid", passed)
    made = children.make(owner, make_spec(), OperatorSettings(), profile, shared=True)
    for child in (*made.fixed, *made.workers.values(), made.secret):
        metas = [child["metadata"], *([child["spec"]["template"]["metadata"]] if child["kind"] == "Deployment" else [])]
        for meta in metas:
            assert meta["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
            assert meta["labels"]["hadis.dev/service"] == "images", "ours are ours"
        assert "kueue" not in str(child.get("spec", {}).get("selector"))
    plain = children.make(OWNER, make_spec(), OperatorSettings(), profile, shared=True)
    assert {d["metadata"]["name"] for d in made.workers.values()}.isdisjoint(
        {d["metadata"]["name"] for d in plain.workers.values()}
    )


def test_what_is_refused_to_teams_is_what_the_operator_sets() -> None:
    profile = remote_profile(apiKeySecret={"name": "engine", "key": "token"})
    spec = {
        "router": {"links": LINKS, "jobs": JOBS},
        "access": {"keys": {"secret": {"name": "k", "key": "k"}}},
        "worker": {"shmSize": "1Gi"},
    }
    made = templates(profile, spec)
    for ours, pods in ((ROUTER, (made["router"],)), (WORKER, (made["ALL"], made["heavy"]))):
        containers = [pod["spec"]["containers"][0] for pod in pods]
        assert {each["name"] for each in containers} == {ours.container}
        assert {each["name"] for one in containers for each in one["env"]} == set(ours.variables)
        assert {each["mountPath"] for one in containers for each in one["volumeMounts"]} == set(ours.paths)
        assert {each["name"] for pod in pods for each in pod["spec"]["volumes"]} == set(ours.volumes)
