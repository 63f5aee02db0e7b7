"""The CustomResourceDefinitions, generated from the models: `python -m hadis.api.crd FOLDER` writes one file per kind.

Kubernetes wants a structural schema: no references, no `additionalProperties: false`, null as `nullable`, exclusive
bounds as booleans. What spans several fields is a CEL rule, said once more here in the API server's language.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from hadis.api.images_api import ImagesApi
from hadis.api.remote import EXTRA_OF, Remote
from hadis.api.resources import CascadeProfile, DiffusionService, Gpus, Objective, Optimize, ProfileSpec, ServiceSpec
from hadis.api.status import ServiceStatus
from hadis.api.tier import Tier
from hadis.api.workload import ModelCache

GROUP, VERSION = "hadis.dev", "v1alpha1"
_NEED_QUALITY = [optimize.value for optimize in Optimize if optimize.needs_quality]
Rule = tuple[str, str]
"""In CEL, and the message where it does not hold."""
_WITH_ITEMS = ("components", "loras", "quantization")


def _of_remote_tiers() -> tuple[Rule, ...]:
    """Return what `check_remote` says of the fields that the API server can tell from their defaults."""
    plain = ("revision", "variant", "pipeline", "trueGuidance", "maxSequenceLength")
    unset = {name: f"!has(self.{name})" for name in plain}
    unset |= {name: f"(!has(self.{name}) || size(self.{name}) == 0)" for name in _WITH_ITEMS}
    alone = " && ".join(unset.values())
    names = ", ".join(unset)
    return (
        (
            f"!has(self.remote) || ({alone})",
            f"remote: {names} are for tiers whose weights a worker loads; leave them out",
        ),
        *(
            (
                f"!(has(self.remote) && has(self.{field})) || '{extra}' in self.remote.accepts",
                f"{field}: the endpoint is not told; write {extra} in remote.accepts, if it takes that",
            )
            for field, extra in EXTRA_OF.items()
        ),
    )


RULES: dict[str, tuple[Rule, ...]] = {
    Gpus.__name__: (("self.min <= self.max", "min must not be over max"),),
    Objective.__name__: (
        (
            " && ".join(f"self.optimize != '{name}'" for name in _NEED_QUALITY) + " || has(self.quality)",
            f"optimize: {' or '.join(_NEED_QUALITY)} needs a quality to reach; write objective.quality",
        ),
    ),
    ImagesApi.__name__: (
        (
            "!has(self.modelAliases) || !('auto' in self.modelAliases)",
            "modelAliases: auto always means that the plan decides; leave it out",
        ),
    ),
    ModelCache.__name__: (("!(has(self.claim) && has(self.hostPath))", "write claim or hostPath, not both"),),
    Remote.__name__: (
        (
            "!has(self.apiKeyEnv) || has(self.apiKeySecret)",
            "apiKeyEnv: pods get an API key from a Secret alone; write apiKeySecret too",
        ),
    ),
    Tier.__name__: _of_remote_tiers(),
}
"""By model's name."""
_KEPT = (
    *("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "maxProperties", "default"),
)
_DURATION = r"^([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?$"
_DURATIONS = ("latency", "planEvery", "scaleDownAfter", "timeout", "for")


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
    converted = {key: node[key] for key in _KEPT if key in node}
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
        if name in _DURATIONS and part.get("type") == "string":
            part["pattern"] = _DURATION
            part["minLength"] = 2
        optional = any(option.get("type") == "null" for option in node["properties"][name].get("anyOf", ()))
        if part.get("type") == "object" and "required" not in part and "properties" in part and not optional:
            part.setdefault("default", {})  # so that the defaults below it are filled in
    if "required" in node:
        converted["required"] = node["required"]
    if rules := RULES.get(node.get("title", "")):
        converted["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
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
    """Return the properties of a kind: API server's own fields, spec, and the status where there is one."""
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": structural(ServiceSpec if model is DiffusionService else ProfileSpec),
    }
    if model is DiffusionService:
        properties["status"] = structural(ServiceStatus)
    return properties


def definitions() -> dict[str, dict[str, Any]]:
    """Return both definitions by plural."""
    service = {
        "subresources": {"status": {}},
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
        "additionalPrinterColumns": [
            _column("GPU", ".spec.gpuProduct"),
            _column("Tiers", ".spec.tiers[*].name"),
            _column("Age", ".metadata.creationTimestamp", "date"),
        ]
    }
    return {
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
