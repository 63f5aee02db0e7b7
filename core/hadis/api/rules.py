"""Rules: what a value of a resource must fulfil, said once for pydantic and, with the same message, for the API server.

A rule stands beside the field or model that it belongs to. The CustomResourceDefinitions take its CEL over, so that a
wrong value is refused where it is written; where CEL would cost the API server too much, the operator's condition
tells it (`InvalidSpec`, `ProfileInvalid`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

VALIDATIONS = "x-kubernetes-validations"
LONGEST_PATH = 512


@dataclass(frozen=True)
class Rule:
    """What must hold of a model, or (as metadata of an `Annotated` type) of a field's value."""

    cel: str
    """In the API server's language; `self` is the value. What it reads needs bounds: the API server takes no rule that
    might cost too much."""
    holds: Callable[[Any], bool]
    """The same in Python."""
    message: str
    """What to write instead."""

    def check(self, value: Any) -> Any:
        """Return the value; raise ValueError where the rule does not hold."""
        if not self.holds(value):
            raise ValueError(self.message)
        return value

    @property
    def document(self) -> dict[str, str]:
        """The rule as a CustomResourceDefinition holds it."""
        return {"rule": self.cel, "message": self.message}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Check a field's value after its type."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the rule to a field's schema."""
        json = handler(schema)
        return json | {VALIDATIONS: [*json.get(VALIDATIONS, []), self.document]}


def matching(pattern: str, message: str) -> Rule:
    """Return the rule that a text matches a pattern of RE2 (no quotes in it) as a whole."""
    whole = re.compile(pattern)
    return Rule(f"self.matches(r'^({pattern})$')", lambda text: whole.fullmatch(text) is not None, message)


def in_kubernetes(cel: str, message: str) -> Rule:
    """Return a rule that the API server alone checks: on one machine the value is right."""
    return Rule(cel, lambda value: True, message)


INSIDE = Rule(
    "!self.matches(r'(^|/)[.][.](/|$)')",
    lambda path: ".." not in path.split("/"),
    "write a path without ..: what it names must lie in the manifest's folder or the model cache",
)
RELATIVE = Rule(
    "!self.startsWith('/')",
    lambda path: not path.startswith("/"),
    "write a path that does not begin with /: it is relative to the manifest's folder or the model cache",
)
RELATIVE_IN_KUBERNETES = in_kubernetes(RELATIVE.cel, RELATIVE.message)
