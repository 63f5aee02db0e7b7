"""What counts as a difference between an object as we want it and as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hadis_operator.differences import differs


@pytest.mark.parametrize(
    ("desired", "observed", "different"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": 1}, None, True),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}, False),
        ({"a": {"b": 1}}, {"a": 1}, True),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}, False),
        ({"a": {}}, {}, False),
        ({"a": []}, {}, False),
        ({"a": []}, {"a": [1]}, True),
        ({"a": ""}, {}, True),
        ({"cpu": "1000m"}, {"cpu": "1"}, False),
        ({"memory": "1.5Gi"}, {"memory": "1536Mi"}, False),
        ({"memory": "1Gi"}, {"memory": "1G"}, True),
        ({"x": True}, {"x": 1}, False),
        ({"x": True}, {"x": "true"}, True),
    ],
)
def test_only_what_is_desired_counts(desired: Any, observed: Any, different: bool) -> None:
    assert differs(desired, observed) is different
