"""The objects of a service, from its spec and plan: pure functions to plain manifests."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import yaml
from hadis.profile import Profile
from hadis.resources import API_VERSION, ServiceSpec
from hadis.workload import Resources

from hadis_operator.settings import Settings

Manifest = dict[str, Any]
SERVICE_LABEL, COMPONENT_LABEL = "hadis.dev/service", "hadis.dev/component"
POOL_LABEL = "hadis.dev/pool"
"""The tier of a pool's workers, or "all"; hadis_router.cluster reads it off the EndpointSlices."""
ROUTER_PORT, WORKER_PORT = 8080, 8100
_LONGEST_NAME = 63
_GRACE_S = 15
"""Seconds on top of the longest batch in which a worker ends after SIGTERM."""
MODELS = "/models"


@dataclass(frozen=True)
class Owner:
    """The service that children belong to."""

    name: str
    namespace: str
    uid: str


def child_name(service: str, suffix: str) -> str:
    """Return a DNS label for a child; long service names are cut, with a hash that keeps them apart."""
    plain = service.replace(".", "-")
    whole = f"{plain}-{suffix}"
    if len(whole) <= _LONGEST_NAME and plain == service and plain[0].isalpha():
        return whole
    mark = digest(service)[:6]
    return f"h-{plain[: _LONGEST_NAME - len(suffix) - 10].rstrip('-')}-{mark}-{suffix}"


def digest(value: object) -> str:
    """Return a short hash of JSON data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def label(value: str) -> str:
    """Return a label's value: at most 63 characters, like the name it is made from."""
    return value if len(value) <= _LONGEST_NAME else f"{value[:50]}-{digest(value)}"


def _meta(owner: Owner, name: str, component: str, **labels: str) -> Manifest:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {
            "app.kubernetes.io/name": "hadis",
            "app.kubernetes.io/instance": label(owner.name),
            "app.kubernetes.io/component": component,
            "app.kubernetes.io/managed-by": "hadis-operator",
            SERVICE_LABEL: label(owner.name),
            COMPONENT_LABEL: component,
            **labels,
        },
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "DiffusionService",
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def config_map(owner: Owner, component: str, documents: list[Manifest]) -> Manifest:
    """Return a ConfigMap with a manifest; its name has the content's hash, so that pods get what they started with."""
    name = child_name(owner.name, f"{component}-{digest(documents)}")
    text = yaml.safe_dump_all(documents, sort_keys=False, width=1000)
    meta = _meta(owner, name, component)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "immutable": True,
        "data": {"manifest.yaml": text},
    }


def router_documents(owner: Owner, spec: ServiceSpec, profile: Profile) -> list[Manifest]:
    """Return what the router reads: the service without what only the operator needs, and the profile."""
    told = {"profile", "objective", "gpus", "queue", "plan_every", "placement"}
    service = {
        "apiVersion": API_VERSION,
        "kind": "DiffusionService",
        "metadata": {"name": owner.name},
        "spec": spec.model_dump(mode="json", by_alias=True, include=told, exclude_none=True),
    }
    return [service, profile_document(profile)]


def profile_document(profile: Profile) -> Manifest:
    """Return the profile as a document."""
    return profile.resource.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"metadata"}) | {
        "apiVersion": API_VERSION,
        "kind": "CascadeProfile",
        "metadata": {"name": profile.resource.metadata.name},
    }


def router_children(owner: Owner, spec: ServiceSpec, settings: Settings, config: str) -> list[Manifest]:
    """Return the router's ServiceAccount, Role, RoleBinding, Deployment, Service and what guards it."""
    name = child_name(owner.name, "router")
    meta = _meta(owner, name, "router")
    selector = {SERVICE_LABEL: label(owner.name), COMPONENT_LABEL: "router"}
    rules = [
        # The plan in force stands in the service's status.
        {"apiGroups": ["hadis.dev"], "resources": ["diffusionservices"], "resourceNames": [owner.name],
         "verbs": ["get", "list", "watch"]},
        # Workers that are ready are the addresses of the workers' Services.
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
    ]  # fmt: skip
    found: list[Manifest] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": owner.namespace}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _meta(owner, service_name(owner), "router"),
            "spec": {"selector": selector, "ports": [_port(80)]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta,
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
        },
    ]  # fmt: skip
    found.append(_router_deployment(owner, spec, settings, config, name, selector))
    if spec.router.autoscaling:
        found.append(_autoscaler(spec, meta, name))
    if not spec.router.allow_from_anywhere:
        found.append(_network_policy(meta, selector))
    return found


def service_name(owner: Owner) -> str:
    """Return the name of the Service that applications talk to: the service's own, where DNS allows it."""
    plain = owner.name
    return plain if plain[0].isalpha() and "." not in plain else child_name(owner.name, "images")


def _router_deployment(
    owner: Owner, spec: ServiceSpec, settings: Settings, config: str, name: str, selector: dict[str, str]
) -> Manifest:
    env = {
        "HADIS_ROUTER_MANIFEST": "/etc/hadis/manifest.yaml",
        "HADIS_ROUTER_KUBERNETES": f"{owner.namespace}/{owner.name}",
        "HADIS_ROUTER_HOST": "0.0.0.0",
        "HADIS_ROUTER_PORT": str(ROUTER_PORT),
    }
    container = {
        "name": "router",
        "image": settings.router_image,
        "imagePullPolicy": settings.image_pull_policy,
        "ports": [{"name": "http", "containerPort": ROUTER_PORT, "protocol": "TCP"}],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "readinessProbe": _probe("/readyz", period=2),
        "livenessProbe": _probe("/healthz", period=10),
        "startupProbe": _probe("/healthz", period=2, failures=60),
        # A pod is taken from the Service's addresses while it stops; until that is known everywhere it goes on.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": [
            {"name": "manifest", "mountPath": "/etc/hadis", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "securityContext": _SAFE,
        **_resources(spec.router.resources),
    }  # fmt: skip
    pod = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": 60,
        "containers": [container],
        "volumes": [{"name": "manifest", "configMap": {"name": config}}, {"name": "tmp", "emptyDir": {}}],
        **_pod(settings),
    }
    body: Manifest = {
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": _meta(owner, name, "router")["labels"]}, "spec": pod},
    }
    if not spec.router.autoscaling:  # else the count is the autoscaler's
        body["replicas"] = spec.router.replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(owner, name, "router"), "spec": body}


def _autoscaler(spec: ServiceSpec, meta: Manifest, name: str) -> Manifest:
    auto = spec.router.autoscaling
    assert auto is not None
    goal = {"type": "Utilization", "averageUtilization": auto.cpu_percent}
    use = {"type": "Resource", "resource": {"name": "cpu", "target": goal}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min(spec.router.replicas, auto.max_replicas),
            "maxReplicas": auto.max_replicas,
            "metrics": [use],
        },
    }


def _network_policy(meta: Manifest, selector: dict[str, str]) -> Manifest:
    inside: Manifest = {"from": [{"podSelector": {}}], "ports": [{"port": ROUTER_PORT, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta,
        "spec": {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress"], "ingress": [inside]},
    }


@dataclass(frozen=True)
class Pool:
    """Workers that have the same tiers: a Deployment, and a Service by which the router finds them."""

    name: str
    """The tier, or "all"."""
    tiers: tuple[str, ...]


def pools(profile: Profile, *, shared: bool) -> list[Pool]:
    """Return one pool for all tiers, or one a tier."""
    if shared:
        return [Pool("all", tuple(profile.tiers))]
    return [Pool(name, (name,)) for name in profile.tiers]


def worker_service(owner: Owner, pool: Pool) -> Manifest:
    """Return a pool's headless Service. Its EndpointSlices carry its labels, so that the router knows the tiers."""
    meta = _meta(
        owner, child_name(owner.name, f"workers-{digest(pool.name)[:6]}"), "worker", **{POOL_LABEL: label(pool.name)}
    )
    selector = {SERVICE_LABEL: label(owner.name), COMPONENT_LABEL: "worker", POOL_LABEL: label(pool.name)}
    port = _port(WORKER_PORT)
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"clusterIP": "None", "selector": selector, "ports": [port]}}  # fmt: skip


def worker_deployment(
    owner: Owner, spec: ServiceSpec, settings: Settings, profile: Profile, pool: Pool, config: str, replicas: int
) -> Manifest:
    """Return a pool's Deployment. Its name has its pods' hash: other pods are another Deployment.

    So the operator moves GPUs from old pods to new ones as it moves them between tiers, freed before they are taken,
    which no strategy of a Deployment does.
    """
    template = _worker_template(owner, spec, settings, profile, pool, config)
    name = child_name(owner.name, f"worker-{digest([pool.name, template])}")
    labels = template["metadata"]["labels"]
    revision = {"hadis.dev/revision": name.rsplit("-", 1)[1]}
    template = template | {"metadata": {"labels": labels | revision}}
    meta = _meta(owner, name, "worker", **{POOL_LABEL: label(pool.name)}, **revision)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {SERVICE_LABEL: label(owner.name), POOL_LABEL: label(pool.name), **revision}},
            "strategy": {"type": "Recreate"},
            "template": template,
        },
    }


def _worker_template(
    owner: Owner, spec: ServiceSpec, settings: Settings, profile: Profile, pool: Pool, config: str
) -> Manifest:
    pods = spec.worker
    longest = max(profile.latency_s(t, profile.batch_sizes(t)[-1], True) for t in pool.tiers)
    grace = math.ceil(longest) + _GRACE_S
    env = {
        "HADIS_WORKER_MANIFEST": "/etc/hadis/manifest.yaml",
        "HADIS_WORKER_TIERS": ",".join(pool.tiers),
        "HADIS_WORKER_MODELS": MODELS,
        "HADIS_WORKER_HOST": "0.0.0.0",
        "HADIS_WORKER_PORT": str(WORKER_PORT),
        "HADIS_WORKER_DRAIN_TIMEOUT": f"{grace - 5}s",
        "HF_HOME": f"{MODELS}/.cache",
        "HOME": "/tmp",
    }
    resources = _resources(pods.resources).get("resources", {})
    limits = resources.get("limits", {}) | {pods.gpu_resource: "1"}
    container = {
        "name": "worker",
        "image": settings.worker_image,
        "imagePullPolicy": settings.image_pull_policy,
        "ports": [{"name": "http", "containerPort": WORKER_PORT, "protocol": "TCP"}],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "readinessProbe": _probe("/readyz", period=2),
        "livenessProbe": _probe("/healthz", period=10),
        # Models may have to be fetched first.
        "startupProbe": _probe("/healthz", period=5, failures=360),
        "volumeMounts": [
            {"name": "manifest", "mountPath": "/etc/hadis", "readOnly": True},
            {"name": "models", "mountPath": MODELS},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "securityContext": _SAFE,
        "resources": resources | {"limits": limits},
    }
    cache: Manifest = {"emptyDir": {}}
    if pods.model_cache.claim:
        cache = {"persistentVolumeClaim": {"claimName": pods.model_cache.claim}}
    elif pods.model_cache.host_path:
        cache = {"hostPath": {"path": pods.model_cache.host_path, "type": "Directory"}}
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": grace,
        "containers": [container],
        "volumes": [
            {"name": "manifest", "configMap": {"name": config}},
            {"name": "models", **cache},
            {"name": "tmp", "emptyDir": {}},
        ],
        **_pod(settings),
    }
    if pods.node_selector:
        pod["nodeSelector"] = pods.node_selector
    if pods.tolerations:
        pod["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in pods.tolerations]
    if pods.runtime_class_name:
        pod["runtimeClassName"] = pods.runtime_class_name
    labels = _meta(owner, "", "worker", **{POOL_LABEL: label(pool.name)})["labels"]
    return {"metadata": {"labels": labels}, "spec": pod}


_SAFE: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _pod(settings: Settings) -> Manifest:
    found: Manifest = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }
    if settings.image_pull_secrets:
        found["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return found


def _port(number: int) -> Manifest:
    return {"name": "http", "port": number, "targetPort": "http", "protocol": "TCP"}


def _probe(path: str, period: int, failures: int = 3) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _resources(asked: Resources) -> Manifest:
    requests = {k: v for k, v in (("cpu", asked.cpu), ("memory", asked.memory)) if v}
    limits = {"memory": asked.memory} if asked.memory else {}
    return {"resources": {k: v for k, v in (("requests", requests), ("limits", limits)) if v}} if requests else {}
