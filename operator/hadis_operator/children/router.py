"""The router's objects: its rights, Deployment, Service, and what guards it."""

from __future__ import annotations

from hadis.api.resources import API_VERSION, ServiceSpec
from hadis.protocol.labels import COMPONENT, SERVICE, digest, label

from hadis_operator.children.common import (
    CONFIG_FILE,
    Manifest,
    Owner,
    as_yaml,
    child_name,
    config_map,
    container,
    disruption_budget,
    labels,
    meta,
    pod,
    resources,
    secret_variable,
    service_port,
)
from hadis_operator.children.pod_fields import pod_metadata, with_fields
from hadis_operator.children.router_links import links_env
from hadis_operator.children.tracing import trace_env
from hadis_operator.settings import OperatorSettings

PORT = 8080
_GRACE_S = 60
_KEYS = "/etc/hadis-keys"


def service_config(owner: Owner, spec: ServiceSpec) -> Manifest:
    """Return the ConfigMap with the service as the router reads it: without what only the operator needs."""
    fields = {
        "profile",
        "objective",
        "queue",
        "api",
        "plan_every",
        "placement",
        "access",
        "cache",
        "quality_watch",
        "prompt_sample",
    }
    fields_read = spec.model_dump(mode="json", by_alias=True, include=fields, exclude_none=True)
    idle = {"idleAfter": spec.gpus.idle_after} if spec.gpus.idle_after else {}
    document: Manifest = {
        "apiVersion": API_VERSION,
        "kind": "DiffusionService",
        "metadata": {"name": owner.name},
        "spec": fields_read | {"gpus": {"max": 1, **idle}},  # a budget that is scaled restarts no router
    }
    text = as_yaml(document)
    return config_map(owner, "router", text, digest(text))


def service_name(owner: Owner) -> str:
    """Return the name of the Service that applications talk to: the service's own, where DNS allows it."""
    plain = owner.name
    return plain if plain[0].isalpha() and "." not in plain else child_name(owner.name, "images")


def children(
    owner: Owner, spec: ServiceSpec, settings: OperatorSettings, config: str, profile: tuple[str, str]
) -> list[Manifest]:
    """Return everything else of the router.

    `config` is the name of its ConfigMap; `profile` are the names of the profile's ConfigMap and of the profile.
    """
    name = child_name(owner.name, "router")
    common = meta(owner, name, "router")
    selector = {SERVICE: label(owner.name), COMPONENT: "router"}
    manifests: list[Manifest] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": common},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": common, "rules": _rules(owner)},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": common,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [
                {"kind": "ServiceAccount", "name": account, "namespace": owner.namespace}
                # While routers change their account, those of the former go on.
                for account in dict.fromkeys((name, spec.router.service_account_name or name))
            ],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta(owner, service_name(owner), "router"),
            "spec": {"selector": selector, "ports": [service_port(80)]},
        },
        disruption_budget(common, selector, 1),
        _deployment(owner, spec, settings, _manifest(config, *profile), name, selector),
    ]
    if spec.router.autoscaling:
        manifests.append(_autoscaler(spec, common, name))
    return manifests


def _rules(owner: Owner) -> list[Manifest]:
    return [
        # The plan in force stands in the service's status.
        {
            "apiGroups": ["hadis.dev"],
            "resources": ["diffusionservices"],
            "resourceNames": [owner.name],
            "verbs": ["get", "list", "watch"],
        },
        # Workers and routers that are ready are the addresses of their Services.
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
    ]


def _manifest(config: str, profile_config: str, profile: str) -> Manifest:
    """Return the volume with the service's manifest and, where it is looked for, its profile."""
    beside = {"key": CONFIG_FILE, "path": f"{profile}/profile.yaml"}
    sources = [{"configMap": {"name": config}}, {"configMap": {"name": profile_config, "items": [beside]}}]
    return {"name": "manifest", "projected": {"sources": sources}}


def _deployment(
    owner: Owner, spec: ServiceSpec, settings: OperatorSettings, manifest: Manifest, name: str, selector: dict[str, str]
) -> Manifest:
    env = {
        "HADIS_ROUTER_MANIFEST": f"/etc/hadis/{CONFIG_FILE}",
        "HADIS_ROUTER_KUBERNETES": f"{owner.namespace}/{owner.name}",
        "HADIS_ROUTER_HOST": "0.0.0.0",
        "HADIS_ROUTER_PORT": str(PORT),
    }
    only = container("router", settings.router_image, settings, PORT, env, [], started="/healthz", startup_s=120)
    # Routers forward requests to each other.
    only["env"].append({"name": "HADIS_ROUTER_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    only["env"] += links_env(owner, spec.router.links, spec.router.jobs)
    only["env"].append(secret_variable(owner, "HADIS_ROUTER_SECRET"))
    only["env"] += trace_env(owner, spec, settings)
    volumes = [manifest, *_keys(spec, only)]
    only |= {
        # A pod is taken from the Service's addresses while it stops; until that is known everywhere it goes on.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": resources(spec.router.resources),
    }
    body: Manifest = {
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": pod_metadata(spec.router, labels(owner, "router")),
            "spec": with_fields(
                pod(settings, only, volumes, _GRACE_S) | {"serviceAccountName": name}, spec.router, selector
            ),
        },
    }
    if not spec.router.autoscaling:  # else the count is the autoscaler's
        body["replicas"] = spec.router.replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(owner, name, "router"), "spec": body}


def _keys(spec: ServiceSpec, container: Manifest) -> list[Manifest]:
    """Return the volume with the clients' API keys, if the service has any, and mount it.

    It follows its Secret, and the router reads it anew.
    """
    keys = spec.access.keys
    if keys is None or keys.secret is None:
        return []
    container["env"].append({"name": "HADIS_ROUTER_KEYS", "value": f"{_KEYS}/keys"})
    container["volumeMounts"].append({"name": "keys", "mountPath": _KEYS, "readOnly": True})
    item = {"key": keys.secret.key, "path": "keys"}
    return [{"name": "keys", "secret": {"secretName": keys.secret.name, "items": [item]}}]


def _autoscaler(spec: ServiceSpec, common: Manifest, name: str) -> Manifest:
    auto = spec.router.autoscaling
    assert auto is not None
    goal = {"type": "Utilization", "averageUtilization": auto.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": common,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min(spec.router.replicas, auto.max_replicas),
            "maxReplicas": auto.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": goal}}],
        },
    }
