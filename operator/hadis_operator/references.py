"""What a child is made to work with: rights and Secrets of another's must not come into our pods by a name. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hadis_operator.children.common import Manifest
from hadis_operator.workload_views import config_maps

Reference = tuple[str, str]
"""Kind and name of an object."""


def references(document: Manifest) -> Iterator[Reference]:
    """Yield the objects that a RoleBinding or a Deployment names."""
    if document["kind"] == "RoleBinding":
        yield "Role", document["roleRef"]["name"]
        yield from ((subject["kind"], subject["name"]) for subject in document["subjects"])
    if document["kind"] == "Deployment":
        pod = document["spec"]["template"]["spec"]
        yield from (("ConfigMap", name) for name in config_maps(document["spec"]))
        if "serviceAccountName" in pod:
            yield "ServiceAccount", pod["serviceAccountName"]
        for container in pod.get("containers", ()):
            for variable in container.get("env") or ():
                secret = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
                if "name" in secret:  # without one the API server refuses the pod, in its own words
                    yield "Secret", secret["name"]
