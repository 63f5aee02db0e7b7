"""What all children have in common: names, labels, owner, and how a pod of ours looks."""

from __future__ import annotations

import gzip
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from hadis.api.resources import API_VERSION
from hadis.api.workload import Resources
from hadis.protocol.labels import COMPONENT, LONGEST, SERVICE, digest, label

from hadis_operator.settings import OperatorSettings

Manifest = dict[str, Any]
CONFIG_FILE = "manifest.yaml"
SECRET_KEY = "token"
APPLIED = "hadis.dev/applied"
"""Annotation of a child: the hash of what was applied, without a count that plans change."""


@dataclass(frozen=True)
class Owner:
    """The service that children belong to."""

    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the service that its children and their pods have too."""


def child_name(service: str, suffix: str) -> str:
    """Return a DNS label for a child; long service names are cut, with a hash that keeps them apart."""
    plain = service.replace(".", "-")
    whole = f"{plain}-{suffix}"
    if len(whole) <= LONGEST and plain == service and plain[0].isalpha():
        return whole
    mark = digest(service)[:6]
    return f"h-{plain[: LONGEST - len(suffix) - 10].rstrip('-')}-{mark}-{suffix}"


def labels(owner: Owner, component: str, **more: str) -> dict[str, str]:
    """Return the labels of a child."""
    return {
        **owner.labels,
        "app.kubernetes.io/name": "hadis",
        "app.kubernetes.io/instance": label(owner.name),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "hadis-operator",
        SERVICE: label(owner.name),
        COMPONENT: component,
        **more,
    }


def propagated(labels: Mapping[str, str], prefixes: Iterable[str]) -> dict[str, str]:
    """Return the labels of a service that begin with one of the prefixes."""
    return {name: value for name, value in labels.items() if name.startswith(tuple(prefixes))}


def meta(owner: Owner, name: str, component: str, **more: str) -> Manifest:
    """Return a child's metadata; `more` are labels."""
    reference = {"apiVersion": API_VERSION, "kind": "DiffusionService", "name": owner.name, "uid": owner.uid}
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels(owner, component, **more),
        "ownerReferences": [reference | {"controller": True, "blockOwnerDeletion": True}],
    }


def stamped(document: Manifest) -> Manifest:
    """Return a document with its own hash, so that an object that has fields which we want no more is seen to differ.

    Others may add fields: what is there beyond the document tells nothing. What a ConfigMap holds is in its name.
    """
    mark = digest({part: value for part, value in document.items() if part not in ("data", "binaryData")})
    return document | {"metadata": document["metadata"] | {"annotations": {APPLIED: mark}}}


def config_map(owner: Owner, component: str, content: str | bytes, mark: str) -> Manifest:
    """Return a ConfigMap; its name has its content's hash, so that pods go on with what they started with.

    Bytes are what `packed` returns.
    """
    data = {"data": content} if isinstance(content, str) else {"binaryData": b64encode(content).decode()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(owner, child_name(owner.name, f"{component}-{mark}"), component),
        "immutable": True,
        **{kind: {CONFIG_FILE: text} for kind, text in data.items()},
    }


def packed(text: str) -> bytes:
    """Return a text as `hadis.api.manifest` reads it from a file: as gzip, the same each time."""
    return gzip.compress(text.encode(), mtime=0)


def unpacked(document: Manifest) -> str:
    """Return the text that a ConfigMap of `config_map` holds; raise KeyError, ValueError or OSError for another."""
    if data := document.get("data"):
        return str(data[CONFIG_FILE])
    return gzip.decompress(b64decode(document["binaryData"][CONFIG_FILE])).decode()


def service_secret(owner: Owner) -> Manifest:
    """Return the Secret by which the parts of a service know each other, without what it holds."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta(owner, child_name(owner.name, "secret"), "secret"),
        "type": "Opaque",
    }


def secret_variable(owner: Owner, variable: str) -> Manifest:
    """Return the variable of a container that has what the service's Secret holds."""
    source = {"name": child_name(owner.name, "secret"), "key": SECRET_KEY}
    return {"name": variable, "valueFrom": {"secretKeyRef": source}}


def as_yaml(document: Manifest) -> str:
    """Return a document's text."""
    return str(yaml.dump(document, sort_keys=False, width=1000, Dumper=_Dumper))


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where it was built with it: ten times faster."""


def container(
    name: str,
    image: str,
    settings: OperatorSettings,
    port: int,
    env: dict[str, str],
    mounts: list[Manifest],
    *,
    started: str,
    startup_s: int,
) -> Manifest:
    """Return the container of a pod of ours, which may write to its mounts alone.

    Until the path `started` answers, for at most `startup_s` seconds, it is not asked whether it lives.
    """
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        # Every second, the shortest that there is: each is added to what a pod takes until it serves.
        "startupProbe": _probe(started, period=1, failures=startup_s),
        "readinessProbe": _probe("/readyz", period=1, failures=6),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "volumeMounts": [
            {"name": "manifest", "mountPath": "/etc/hadis", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *mounts,
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod(settings: OperatorSettings, only: Manifest, volumes: list[Manifest], grace_s: int) -> Manifest:
    """Return the spec of a pod with one container, which ends within `grace_s` of being told to.

    `volumes` has one that is named "manifest".
    """
    spec: Manifest = {
        "terminationGracePeriodSeconds": grace_s,
        "containers": [only],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            *volumes,
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec


def disruption_budget(meta: Manifest, selector: dict[str, str], most: int | str) -> Manifest:
    """Return a PodDisruptionBudget that lets drains take `most` pods at a time, and those that are not ready anyway."""
    spec = {
        "maxUnavailable": most,
        "selector": {"matchLabels": selector},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}


def service_port(number: int) -> Manifest:
    """Return a Service's port to the container's."""
    return {"name": "http", "port": number, "targetPort": "http", "protocol": "TCP"}


def resources(needs: Resources) -> Manifest:
    """Return what a container requests and may use; memory is limited to what is requested."""
    requests = {k: v for k, v in (("cpu", needs.cpu), ("memory", needs.memory)) if v}
    limits = {"memory": needs.memory} if needs.memory else {}
    return {k: v for k, v in (("requests", requests), ("limits", limits)) if v}


def _probe(path: str, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
