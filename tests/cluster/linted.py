"""What the public linters are given: the chart with each of its value sets, and a service's children with all fields.

kubeconform looks for JSON schemas on the network; here they are made from what the API server itself publishes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from binaries import binary
from control_plane import CHART, ROOT, ControlPlane
from hadis.api.manifest import read_manifest
from hadis.api.resources import ServiceSpec
from hadis.planning.fleet import is_shared
from hadis.planning.profile import Profile
from hadis_operator import children
from hadis_operator.children.common import Owner
from hadis_operator.settings import OperatorSettings

Manifest = dict[str, Any]
EXAMPLES = ("examples/engines.yaml", "examples/kubernetes/scenes.yaml")
RESOURCES = {"cpu": "2", "memory": "8Gi"}
CLAIMS = {"resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "two"}], "gpusPerWorker": 2}
_SETTINGS = OperatorSettings(router_image="example.com/router:0.1.0", worker_image="example.com/worker:0.1.0")
_RUN_S = 60


def chart(values: Path | None = None) -> list[Manifest]:
    """Return the chart's manifests with a file of values."""
    command = [str(binary("helm")), "template", "x", str(CHART), "-n", "ns"]
    command += ["-f", str(values)] if values else []
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_RUN_S).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def children_of(example: str, **fields: Any) -> list[Manifest]:
    """Return the children of an example; `fields` are of routers and workers alike but for those of `worker`."""
    manifest = read_manifest(ROOT / example)
    document = manifest.service.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    of_workers = fields.pop("worker", {})
    document["router"] = document.get("router", {}) | fields
    document["worker"] = document.get("worker", {}) | {"resources": RESOURCES} | fields | of_workers
    spec, profile = ServiceSpec.read(document), Profile(manifest.profile)
    owner = Owner(manifest.service.metadata.name, "default", "uid")
    made = children.make(owner, spec, _SETTINGS, profile, shared=is_shared(spec, profile))
    secret = made.secret | {"stringData": {"token": "t"}}
    return [*made.fixed, *made.workers.values(), secret]


def scored(manifests: list[Manifest]) -> dict[str, set[str]]:
    """Return kube-score's checks that found something, each with the objects (Kind/name) that they found it in."""
    command = [str(binary("kube-score")), "score", "--output-format", "json", "-"]
    text = _documents(manifests)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_RUN_S)
    objects_by_check: dict[str, set[str]] = {}
    for each in json.loads(done.stdout):
        for check in each["checks"]:
            if check["grade"] < 10 and not check["skipped"]:
                name = f"{each['type_meta']['kind']}/{each['object_meta']['name']}"
                objects_by_check.setdefault(check["check"]["id"], set()).add(name)
    return objects_by_check


def _documents(manifests: list[Manifest]) -> str:
    """Return manifests as JSON: Go reads 294955e013 as a number where PyYAML wrote it as text, without quotes."""
    return "\n---\n".join(map(json.dumps, manifests))


def conforms(manifests: list[Manifest], schemas: Path) -> str:
    """Return what kubeconform finds; empty where all is right."""
    location = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = [str(binary("kubeconform")), "-strict", "-schema-location", location, "-"]
    text = _documents(manifests)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_RUN_S)
    return done.stdout + done.stderr


def write_schemas(plane: ControlPlane, kinds: set[tuple[str, str]], folder: Path) -> None:
    """Write the schemas of kinds (apiVersion, kind) as kubeconform looks for them."""
    definitions = json.loads(plane.kubectl("get", "--raw", "/openapi/v2").stdout)["definitions"]
    for name, definition in definitions.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            version = f"{gvk['group']}/{gvk['version']}".lstrip("/")
            if (version, gvk["kind"]) in kinds:
                suffix = "-".join(["", *gvk["group"].split(".")[:1], gvk["version"]]).replace("--", "-")
                needed = {each: _strict(definitions[each]) for each in _reached(name, definitions)}
                document = {"$ref": f"#/definitions/{name}", "definitions": needed}
                (folder / f"{gvk['kind'].lower()}{suffix}.json").write_text(json.dumps(document))


def _reached(name: str, definitions: Mapping[str, Any]) -> set[str]:
    reached, waiting = set[str](), [name]
    while waiting:
        if (each := waiting.pop()) not in reached:
            reached.add(each)
            waiting += [ref.rsplit("/", 1)[1] for ref in _references(definitions[each])]
    return reached


def _references(node: Any) -> Iterator[str]:
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        yield node["$ref"]
    for part in parts:
        yield from _references(part)


def _strict(node: Any) -> Any:
    """Return a definition that takes no unknown field, and that says of numbers or texts what JSON schemas can say."""
    if isinstance(node, list):
        return [_strict(part) for part in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string" or node.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    result = {name: _strict(part) for name, part in node.items() if name not in ("format", "default", "properties")}
    if "properties" in node:
        result["properties"] = {name: _strict(part) for name, part in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    return result
