"""The CustomResourceDefinitions, generated from the models: `python -m hadis.api.crd FOLDER` writes one file per kind.

Kubernetes wants a structural schema: no references, no `additionalProperties: false`, null as `nullable`, exclusive
bounds as booleans. What a type cannot say is a rule in CEL: see `hadis.api.rules`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from hadis.api.cascade_profile import CascadeProfile, ProfileSpec
from hadis.api.gpu_pool import GpuPool, GpuPoolSpec, GpuPoolStatus
from hadis.api.metadata import Metadata
from hadis.api.profile_status import ProfileStatus
from hadis.api.resources import DiffusionService, ServiceSpec
from hadis.api.status import ServiceStatus

GROUP, VERSION = "hadis.dev", "v1alpha1"
_KEPT = (
    *("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "maxProperties", "default"),
)
_PARTS: dict[type[BaseModel], tuple[type[BaseModel], type[BaseModel]]] = {
    DiffusionService: (ServiceSpec, ServiceStatus),
    CascadeProfile: (ProfileSpec, ProfileStatus),
    GpuPool: (GpuPoolSpec, GpuPoolStatus),
}
"""The spec and the status of each kind."""


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's structural schema."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        rest = {k: v for k, v in node.items() if k != "$ref"}
        return _convert(models[node["$ref"].rsplit("/", 1)[1]] | rest, models)
    if "anyOf" in node:  # an optional field: in Kubernetes it is simply left out
        inner = next(option for option in node["anyOf"] if option.get("type") != "null")
        rest = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
        return _convert(inner | rest, models)
    converted = {key: value for key, value in node.items() if key in _KEPT or key.startswith("x-kubernetes-")}
    if "const" in node:
        converted["enum"] = [node["const"]]
    for bound in ("Minimum", "Maximum"):
        if (value := node.get(f"exclusive{bound}")) is not None:
            converted |= {bound.lower(): value, f"exclusive{bound}": True}
    if text := node.get("description"):
        converted["description"] = " ".join(text.split())
    if "items" in node:
        converted["items"] = _convert(node["items"], models)
    if "properties" in node:
        converted |= _object(node, models)
    elif converted.get("type") == "object":
        values = node.get("additionalProperties")
        if isinstance(values, dict):
            converted["additionalProperties"] = _convert(values, models)
        else:
            converted["x-kubernetes-preserve-unknown-fields"] = True
    return converted


def _object(node: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {
        "properties": {name: _convert(part, models) for name, part in node["properties"].items()}
    }
    for name, part in converted["properties"].items():
        optional = any(option.get("type") == "null" for option in node["properties"][name].get("anyOf", ()))
        if part.get("type") == "object" and "required" not in part and "properties" in part and not optional:
            part.setdefault("default", {})  # so that the defaults below it are filled in
    if "required" in node:
        converted["required"] = node["required"]
    if node.get("additionalProperties") is True:
        converted["x-kubernetes-preserve-unknown-fields"] = True
    return converted


def _column(name: str, path: str, kind: str = "string", text: str = "") -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, "description": text or name}


def _definition(
    kind: str, plural: str, short: list[str], versions: dict[str, Any], model: type[BaseModel]
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["hadis"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    **versions,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": " ".join((model.__doc__ or "").split()),
                            "required": ["spec"],
                            "properties": _version_schema(model),
                        }
                    },
                }
            ],
        },
    }


def _version_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the properties of a kind: API server's own fields, spec and status."""
    spec, status = _PARTS[model]
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": _longest_name()}}},
        "spec": structural(spec),
    }
    return properties | {"status": structural(status)}


def _longest_name() -> int:
    """Return what the API server may check of a name beside its own rules; labels and DNS take no longer one."""
    longest: int = structural(Metadata)["properties"]["name"]["maxLength"]
    return longest


def definitions() -> dict[str, dict[str, Any]]:
    """Return the definitions by plural."""
    service = {
        "subresources": {
            "status": {},
            # What others may set is the budget: how many of its GPUs serve is decided here alone.
            "scale": {
                "specReplicasPath": ".spec.gpus.max",
                "statusReplicasPath": ".status.workers",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            _column("Plan", ".status.plan.summary"),
            _column("Light", ".status.plan.active.light"),
            _column("Heavy", ".status.plan.active.heavy"),
            _column("GPUs", ".status.gpus", text="Ready / existing / allowed."),
            _column("Demand", ".status.demand.observedRps", "number", "Requests per second."),
            _column("Quality", ".status.plan.quality", text="Predicted distance; lower is better."),
            _column("Age", ".metadata.creationTimestamp", "date"),
        ],
    }
    profile = {
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            _column("Valid", '.status.conditions[?(@.type=="Valid")].status'),
            _column("GPU", ".spec.gpuProduct"),
            _column("Tiers", ".status.tiers", text="From light to heavy."),
            _column("Rows", ".status.rows", "integer", "Measured configurations."),
            _column("Front", ".status.front.size", "integer", "Those that no other beats on both quality and cost."),
            _column("Users", ".status.users", "integer", "Services that name it."),
            _column("Age", ".metadata.creationTimestamp", "date"),
        ],
    }
    pool = {
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            _column("GPUs", ".spec.gpus", "integer"),
            _column("Taken", ".status.taken", "integer", "GPUs that services hold."),
            _column("Age", ".metadata.creationTimestamp", "date"),
        ],
    }
    return {
        "gpupools": _definition("GpuPool", "gpupools", ["gpool"], pool, GpuPool),
        "diffusionservices": _definition("DiffusionService", "diffusionservices", ["dsvc"], service, DiffusionService),
        "cascadeprofiles": _definition("CascadeProfile", "cascadeprofiles", ["cprof"], profile, CascadeProfile),
    }


def texts() -> dict[str, str]:
    """Return the files' texts by plural."""
    head = "# Written by `make crds` from core/hadis/api.\n"
    return {name: head + yaml.safe_dump(crd, sort_keys=False, width=120) for name, crd in definitions().items()}


def chart_text(text: str) -> str:
    """Return a definition as a template of the chart, which may leave it out or keep it at the end."""
    keep = "metadata:\n  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    return "{{- if .Values.crds.enabled }}\n" + text.replace("metadata:\n", keep, 1) + "{{- end }}\n"


if __name__ == "__main__":
    for plural, text in texts().items():
        Path(sys.argv[1], f"crds/{plural}.yaml").write_text(text, "utf-8")
        Path(sys.argv[1], f"helm/hadis/templates/crd-{plural}.yaml").write_text(chart_text(text), "utf-8")
