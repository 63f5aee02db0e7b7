"""What the API server itself refuses and explains, by the CustomResourceDefinitions."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_documents import service
from control_plane import ControlPlane


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": {"min": 5, "max": 2}}, "min must not be over max"),
        ({"objective": {"latency": "4s", "optimize": "Cost"}}, "write objective.quality"),
        ({"objective": {"latency": "soon"}}, "spec.objective.latency"),
        ({"objective": {"latency": "4s", "attainment": 1.0}}, "attainment"),
        ({"api": {"modelAliases": {"auto": "light"}}}, "auto always means that the plan decides"),
        ({"api": {"sizePolicy": "closest"}}, "supported values"),
        ({"mode": "Manual"}, "supported values"),
        ({"gpuz": {}}, "unknown field"),
    ],
)
def test_a_wrong_manifest_is_refused_with_what_to_write(
    plane: ControlPlane, namespace: str, demand: Any, change: dict[str, Any], words: str
) -> None:
    done = plane.apply(service(namespace, demand, **change), check=False)
    assert done.returncode != 0
    assert words.lower() in done.stderr.lower()


def test_explain_teaches(plane: ControlPlane) -> None:
    text = plane.kubectl("explain", "dsvc.spec.objective").stdout
    assert "Latency objective from request to image" in text
