"""What the API server itself refuses and explains, by the CustomResourceDefinitions."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane

KEY = {"name": "engine", "key": "token"}
BASIC = {"username": KEY, "password": KEY}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": {"min": 5, "max": 2}}, "min must not be over max"),
        ({"objective": {"latency": "4s", "optimize": "Cost"}}, "write objective.quality"),
        ({"objective": {"latency": "4s", "optimize": "Money", "quality": 25}}, "write objective.gpuPrice"),
        ({"objective": {"latency": "soon"}}, "spec.objective.latency"),
        ({"objective": {"latency": "4s", "attainment": 1.0}}, "attainment"),
        ({"api": {"modelAliases": {"auto": "light"}}}, "auto always means that the plan decides"),
        ({"api": {"sizePolicy": "closest"}}, "supported values"),
        ({"mode": "Manual"}, "supported values"),
        ({"gpuz": {}}, "unknown field"),
        ({"metrics": {"prometheus": {"address": "http://a:s3cret@b:9090"}}}, "write no user and no password"),
        ({"metrics": {"prometheus": {"address": "http://b:9090?token=s3cret"}}}, "metrics.prometheus.address"),
        (
            {"metrics": {"prometheus": {"address": "http://b", "bearerToken": KEY, "basicAuth": BASIC}}},
            "write basicAuth or bearerToken, not both",
        ),
        ({"metrics": {"prometheus": {"address": "https://b", "tls": {"key": KEY}}}}, "belong together"),
        (
            {"metrics": {"prometheus": {"address": "http://b", "bearerToken": KEY | {"name": "../x"}}}},
            "metrics.prometheus.bearerToken.name",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_what_to_write(
    plane: ControlPlane, namespace: str, demand: Any, change: dict[str, Any], words: str
) -> None:
    done = plane.apply(service(namespace, demand, **change), check=False)
    assert done.returncode != 0
    assert words.lower() in done.stderr.lower()


REMOTE = {"url": "http://engine/v1", "slots": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"remote": REMOTE}, None),
        ({"remote": REMOTE | {"apiKeyEnv": "KEY", "apiKeySecret": KEY}}, None),
        ({"remote": REMOTE | {"apiKeyEnv": "KEY"}}, "write apiKeySecret too"),
        ({"remote": REMOTE, "components": {"unet": {"model": "a/b"}}}, "for tiers whose weights a worker loads"),
        (
            {"remote": REMOTE, "loras": [{"model": "a/b", "file": "l.safetensors"}]},
            "for tiers whose weights a worker loads",
        ),
        ({"remote": REMOTE, "revision": "main"}, "for tiers whose weights a worker loads"),
        ({"remote": REMOTE, "guidance": 3.0}, "write guidance_scale in remote.accepts"),
        ({"remote": REMOTE | {"accepts": ["guidance_scale"]}, "guidance": 3.0}, None),
        ({"remote": REMOTE, "negativePrompt": "blurry"}, "write negative_prompt in remote.accepts"),
        ({"components": {"unet": {"model": "a/b"}}, "revision": "main", "guidance": 3.0}, None),
    ],
)
def test_a_tier_whose_settings_do_not_go_together_is_refused(
    plane: ControlPlane, namespace: str, change: dict[str, Any], words: str | None
) -> None:
    document = profile(namespace)
    document["spec"]["tiers"][0] |= change
    done = plane.apply(document, check=False)
    assert (done.returncode == 0) == (words is None), done.stderr
    assert (words or "") in done.stderr


def test_explain_teaches(plane: ControlPlane) -> None:
    text = plane.kubectl("explain", "dsvc.spec.objective").stdout
    assert "Latency objective from request to image" in text
