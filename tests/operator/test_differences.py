"""What counts as a difference between an object as we want it and as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hadis_operator.differences import Path, differences, differs, restricted


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
        # Lists with a merge key: the entries of others count as little as their order.
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, False),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}, True),
        ({"env": [{"name": "A"}, {"name": "B"}]}, {"env": [{"name": "A"}]}, True),
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 80, "protocol": "UDP"}]}, True),
        (
            {"ports": [{"port": 1, "protocol": "TCP"}]},
            {"ports": [{"port": n, "protocol": "TCP"} for n in (1, 2)]},
            False,
        ),
        # Lists without one are whole, and so is what is in them.
        ({"rules": [{"verbs": ["get"]}]}, {"rules": [{"verbs": ["get"]}, {"verbs": ["list"]}]}, True),
        (
            {"ingress": [{"ports": [{"port": 1, "protocol": "TCP"}]}]},
            {"ingress": [{"ports": [{"port": n, "protocol": "TCP"} for n in (1, 2)]}]},
            True,
        ),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a", "effect": "NoSchedule"}]}, False),
    ],
)
def test_only_what_is_desired_counts(desired: Any, observed: Any, different: bool) -> None:
    assert differs(desired, observed) is different


@pytest.mark.parametrize(
    ("desired", "observed", "where"),
    [
        ({"spec": {"replicas": 2}}, {"spec": {"replicas": 3}}, ("f:spec", "f:replicas")),
        (
            {"containers": [{"name": "r", "env": [{"name": "A", "value": "1"}]}]},
            {"containers": [{"name": "r", "env": [{"name": "A", "value": "2"}]}]},
            ("f:containers", 'k:{"name":"r"}', "f:env", 'k:{"name":"A"}', "f:value"),
        ),
        ({"env": [{"name": "A"}]}, {}, ("f:env", 'k:{"name":"A"}')),
        ({"rules": [{"verbs": ["get"]}]}, {"rules": []}, ("f:rules",)),
        ({"selector": {"a": "b"}}, {}, ("f:selector",)),
    ],
)
def test_a_difference_is_where_managed_fields_say_that_it_is(desired: Any, observed: Any, where: Path) -> None:
    assert list(differences(desired, observed)) == [where]


def test_what_was_granted_is_as_the_answer_has_it_and_no_more() -> None:
    desired = {"spec": {"env": [{"name": "A", "value": "1"}, {"name": "B"}], "rules": [1], "gone": 1, "grace": 15}}
    answer = {"spec": {"env": [{"name": "X"}, {"name": "A", "value": "9"}], "rules": [1, 2], "grace": 77, "more": 1}}
    assert restricted(desired, answer) == {"spec": {"env": [{"name": "A", "value": "9"}], "rules": [1, 2], "grace": 77}}
