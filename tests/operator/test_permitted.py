"""What the platform lets services ask for."""

from __future__ import annotations

from hadis.planning.snapshot import Problem
from hadis_operator.permitted import permitted
from hadis_operator.settings import OperatorSettings
from test_children import make_spec


def test_a_folder_of_the_node_needs_the_platforms_leave() -> None:
    spec = make_spec(worker={"modelCache": {"hostPath": "/models"}})
    refusal = permitted(spec, OperatorSettings())
    assert isinstance(refusal, Problem)
    assert refusal.reason == "HostPathNotAllowed"
    assert permitted(spec, OperatorSettings(allow_host_path=True)) is spec


def test_what_needs_no_leave_is_passed_on() -> None:
    claim = make_spec(worker={"modelCache": {"claim": "models"}})
    wrong = Problem("InvalidSpec", "no")
    assert [permitted(spec, OperatorSettings()) for spec in (claim, wrong)] == [claim, wrong]
