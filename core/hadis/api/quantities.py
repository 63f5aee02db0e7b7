"""Quantities as Kubernetes writes them: CPU in cores, memory in bytes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import StringConstraints

from hadis.api.rules import Rule

_UNITS = {"": Decimal(1), "m": Decimal("0.001")}
_UNITS |= {unit: Decimal(1000) ** i for i, unit in enumerate(("k", "M", "G", "T"), 1)}
_UNITS |= {unit: Decimal(1024) ** i for i, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)}
_QUANTITY = re.compile(rf"([0-9]+(?:[.][0-9]+)?)({'|'.join(_UNITS)})")


def parse_quantity(text: str) -> Decimal:
    """Return the number that a quantity such as 500m or 1.5Gi is; raise ValueError for anything else."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity; write it as 2, 500m or 1.5Gi")
    return Decimal(match[1]) * _UNITS[match[2]]


def _within(least: str, most: str, examples: str) -> Rule:
    low, high = parse_quantity(least), parse_quantity(most)
    return Rule(
        f"quantity(self).compareTo(quantity('{least}')) >= 0 && quantity(self).compareTo(quantity('{most}')) <= 0",
        lambda text: low <= parse_quantity(text) <= high,
        f"write from {least} to {most}, as {examples}",
    )


Cpu = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]+([.][0-9]+|m)?$", max_length=20),
    _within("1m", "1024", "500m or 4"),
]
Memory = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]+([.][0-9]+)?(k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=20),
    _within("16Mi", "16Ti", "512Mi or 4Gi"),
]
