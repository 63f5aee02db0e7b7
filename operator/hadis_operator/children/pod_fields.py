"""What a team adds to pods of ours (`hadis.api.pods`), put into the template of a Deployment. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hadis.api.fields import Fields
from hadis.api.pod_template import PodTemplate
from hadis.api.pods import PodFields, Spread, VolumeMount

from hadis_operator.children.common import Manifest
from hadis_operator.children.strategic_merge import merged


def with_fields(pod: Manifest, fields: PodFields, selector: dict[str, str]) -> Manifest:
    """Return a pod's spec, whose first container is ours, with what is added to it.

    `selector` are the labels of the pods of its kind, which spreads count. Fields that are not set change nothing.
    """
    only, *others = pod["containers"]
    patch: Manifest = {
        "containers": [_container(only, fields), *others],
        "initContainers": [_container(each, fields) for each in pod.get("initContainers", ())],
        "volumes": pod["volumes"] + _documents(fields.volumes),
        "imagePullSecrets": _once(pod.get("imagePullSecrets", []) + _documents(fields.image_pull_secrets)),
        "priorityClassName": fields.priority_class_name,
        "affinity": fields.affinity and _document(fields.affinity),
        "topologySpreadConstraints": [_spread(each, selector) for each in fields.topology_spread_constraints],
        "serviceAccountName": fields.service_account_name,
    }
    result = pod | {name: value for name, value in patch.items() if value}
    return _templated(result, fields.pod_template)


def pod_metadata(fields: PodFields, labels: Mapping[str, str]) -> Manifest:
    """Return the metadata of pods whose labels of ours are these, with the labels and annotations that are added."""
    template = (fields.pod_template or PodTemplate()).metadata
    annotations = fields.pod_annotations | template.annotations
    result: Manifest = {"labels": {**fields.pod_labels, **template.labels, **labels}}
    return result | ({"annotations": annotations} if annotations else {})


def _container(container: Manifest, fields: PodFields) -> Manifest:
    # A variable that a profile names for an endpoint's key is there already.
    taken = {variable["name"] for variable in container["env"]}
    env = [_document(each) for each in fields.env if each.name not in taken]
    mounts = [_mount(each) for each in fields.volume_mounts]
    result = container | {"env": container["env"] + env, "volumeMounts": container["volumeMounts"] + mounts}
    return result | ({"envFrom": _documents(fields.env_from)} if fields.env_from else {})


def _mount(mount: VolumeMount) -> Manifest:
    document = _document(mount)
    if not mount.read_only:  # the API server leaves it out, and what it leaves out would look like a change
        del document["readOnly"]
    return document


def _spread(spread: Spread, selector: dict[str, str]) -> Manifest:
    return {"labelSelector": {"matchLabels": selector}} | _document(spread)


def _templated(pod: Manifest, template: PodTemplate | None) -> Manifest:
    result: Manifest = pod if template is None else merged(pod, template.spec)
    return result | {"containers": [_without_empty_values(each) for each in result["containers"]]}


def _without_empty_values(container: Manifest) -> Manifest:
    """Return a container whose variables have no empty value: the API server leaves that out, as of a change."""
    if "env" not in container:
        return container
    env = [{k: v for k, v in each.items() if (k, v) != ("value", "")} for each in container["env"]]
    return container | {"env": env}


def _once(references: list[Manifest]) -> list[Manifest]:
    return list({each["name"]: each for each in references}.values())


def _documents(parts: tuple[Fields, ...]) -> list[Manifest]:
    return [_document(part) for part in parts]


def _document(part: Fields) -> Manifest:
    return part.model_dump(mode="json", by_alias=True, exclude_none=True)
