"""Where the pods of a service send their traces."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.planning.profile import Profile
from hadis_operator import children
from hadis_operator.settings import OperatorSettings
from test_children import OWNER, make_spec

SERVICE, OPERATOR = "http://service:4318", "http://operator:4318"


@pytest.mark.parametrize(
    ("spec", "settings", "endpoint", "ratio"),
    [
        ({}, {}, None, None),
        ({"tracing": {"endpoint": SERVICE}}, {}, SERVICE, "1"),
        ({}, {"tracing_endpoint": OPERATOR, "tracing_sample_ratio": 0.25}, OPERATOR, "0.25"),
        ({"tracing": {"endpoint": SERVICE, "sampleRatio": 0.5}}, {"tracing_endpoint": OPERATOR}, SERVICE, "0.5"),
    ],
)
def test_the_service_says_where_traces_go_or_else_the_operator(
    profile: Profile, spec: dict[str, Any], settings: dict[str, Any], endpoint: str | None, ratio: str | None
) -> None:
    made = children.make(OWNER, make_spec(**spec), OperatorSettings(**settings), profile, shared=True)
    deployments = [d for d in (*made.fixed, *made.workers.values()) if d["kind"] == "Deployment"]
    assert len(deployments) == 2
    for deployment in deployments:
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        env = {item["name"]: item.get("value") for item in container["env"]}
        shown = env.get("OTEL_EXPORTER_OTLP_ENDPOINT"), env.get("OTEL_TRACES_SAMPLER_ARG")
        assert shown == (endpoint, ratio)
        if endpoint:
            assert env["OTEL_RESOURCE_ATTRIBUTES"] == f"k8s.namespace.name={OWNER.namespace},hadis.service={OWNER.name}"
