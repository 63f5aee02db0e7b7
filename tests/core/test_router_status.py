"""The router's status: strict where it is written, of any version where it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from documents import router_status
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.router_status import Latency, RouterStatus
from pydantic import ValidationError

PLAN = Plan("light", "heavy", 0.25, 0.5, (TierPlan("light", 1, 4),), 3.5, 22.5, 0.5, 3.5)


def test_it_is_read_as_it_was_written() -> None:
    status = router_status(plan=PLAN, batch_time_ratios={"light": {4: 1.5}})
    assert RouterStatus.read(status.json_text()) == status
    assert json.loads(status.json_text())["plan"]["directRatio"] == 0.25, "as in a DiffusionService's status"


def test_what_another_version_says_besides_is_left_out() -> None:
    status = router_status(plan=PLAN)
    document = json.loads(status.json_text()) | {"new": 1}
    document["latency"]["p99_s"] = document["plan"]["new"] = 2
    assert RouterStatus.read(json.dumps(document)) == status


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"slo_s": "x"}, "slo_s: "), ({"latency": {}}, "latency.p50_s: "), ({"plan": {"light": "x"}}, "plan.heavy: ")],
)
def test_another_document_is_said_to_be_none_in_one_line(change: dict[str, Any], fault: str) -> None:
    document = json.loads(router_status().json_text()) | change
    with pytest.raises(ValueError, match=f"^this is no router's status: {fault}[^\n]+$"):
        RouterStatus.read(json.dumps(document))
    with pytest.raises(ValueError, match="no router's status"):
        RouterStatus.read("<html>")


def test_nothing_else_may_be_written() -> None:
    with pytest.raises(ValidationError, match="p99_s"):
        Latency(p50_s=1.0, p95_s=2.0, p99_s=3.0)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="finite"):
        Latency(p50_s=float("nan"), p95_s=2.0)
