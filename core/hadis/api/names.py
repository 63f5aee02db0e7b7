"""Names as Kubernetes wants them in the objects that a service's pods refer to."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from hadis.api.rules import Rule, matching

_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN = rf"{_PART}([.]{_PART})*"
_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = matching(f"({_DOMAIN}/)?{_NAME}", "write a label's key, such as accelerator or nvidia.com/gpu.product")

Subdomain = Annotated[
    str, Field(max_length=253), matching(_DOMAIN, "write the name of an object: small letters, digits, - and .")
]
LabelKey = Annotated[str, Field(max_length=317), _KEY]
LabelValue = Annotated[
    str, Field(max_length=63), matching(f"({_NAME})?", "write a label's value: letters, digits, -, _ and .")
]
ExtendedResource = Annotated[
    str,
    Field(max_length=317),
    matching(f"{_DOMAIN}/{_NAME}", "write the extended resource that is one GPU, DOMAIN/NAME, such as nvidia.com/gpu"),
    Rule(
        "!self.matches(r'(^|[.])kubernetes[.]io/')",
        lambda name: not f".{name}".split("/")[0].endswith(".kubernetes.io"),
        "kubernetes.io is Kubernetes' own; write the extended resource that is one GPU, such as nvidia.com/gpu",
    ),
]


def _check_keys(selector: dict[str, str]) -> dict[str, str]:
    # Not a rule: keys have no bound that CEL's cost could be told by.
    for key in selector:
        try:
            _KEY.check(key)
        except ValueError as error:
            raise ValueError(f"{key!r}: {error}") from None
    return selector


Selector = Annotated[dict[str, LabelValue], AfterValidator(_check_keys)]
"""Labels that a node must have."""
