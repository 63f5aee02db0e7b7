"""Field types of the custom resources: durations as Kubernetes writes them, and errors that name the nearest field.

Every model's `rules` hold of it, for pydantic and for the API server alike: see `hadis.api.rules`.
"""

from __future__ import annotations

import difflib
import re
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

from hadis.api.rules import VALIDATIONS, Rule

# As many digits as fit into CEL's durations, which are 64 bits of nanoseconds.
_DURATION = (
    r"(?:([0-9]{1,5})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)ms)?"
)
_HOW = "write it as 30s, 1m30s or 500ms"


@lru_cache(maxsize=256)
def parse_duration_s(text: str) -> float:
    """Return the seconds in a duration such as "30s", "1m30s" or "500ms"; raise ValueError for anything else."""
    match = re.fullmatch(_DURATION, text.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration; {_HOW}")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no duration; {_HOW}")
    parse_duration_s(value)
    return value


def between(least: str, most: str) -> Rule:
    """Return the rule that a duration is between two others."""
    least_s, most_s = parse_duration_s(least), parse_duration_s(most)
    return Rule(
        f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')",
        lambda text: least_s <= parse_duration_s(text) <= most_s,
        f"write a time from {least} to {most}, as 30s, 1m30s or 500ms",
    )


def _off(value: Any) -> Any:
    return "off" if value is False else value


Off = BeforeValidator(_off)
"""For fields that may be off: YAML reads the word without quotes as false."""
Duration = Annotated[
    str,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$", "minLength": 2, "maxLength": 32}),
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
PositiveDuration = Annotated[Duration, between("1ms", "24h")]


class Fields(BaseModel):
    """Base of every part of a resource: camelCase names, unknown fields refused, no NaN or infinity, immutable."""

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold beside the fields' own types, and what its base has."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    @cache
    def every_rule(cls) -> tuple[Rule, ...]:
        """Return the rules of the model and of its bases."""
        return tuple(rule for base in reversed(cls.__mro__) for rule in vars(base).get("rules", ()))

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        for rule in self.every_rule():
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Put the rules into the schema."""
        json = handler(schema)
        if rules := cls.every_rule():
            handler.resolve_ref_schema(json)[VALIDATIONS] = [rule.document for rule in rules]
        return json

    @classmethod
    def read(cls, document: Any) -> Self:
        """Validate a document; raise ValueError with one line per fault: its path, what is wrong, the nearest name."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise ValueError("\n".join(_explain(cls, item) for item in error.errors())) from None


def _explain(model: type[BaseModel], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(document)"
    if item["type"] != "extra_forbidden":
        return f"{path}: {item['msg'].removeprefix('Value error, ')}"
    near = difflib.get_close_matches(str(item["loc"][-1]), _names(model), n=1, cutoff=0.5)
    return f"{path}: unknown field" + (f"; did you mean {near[0]!r}?" if near else "")


def _names(model: type[BaseModel], seen: frozenset[type[BaseModel]] = frozenset()) -> list[str]:
    """Return every field name in a model and the models below it."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    for field in model.model_fields.values():
        for part in _models_in(field.annotation):
            if part not in seen:
                names += _names(part, seen | {model})
    return names


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
