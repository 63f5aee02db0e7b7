"""Whether an object lacks something of what we want; what others added is left alone. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
_SCALE: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** n for n, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{f"{unit}i": Decimal(1024) ** n for n, unit in enumerate(("K", "M", "G", "T"), 1)},
}


def differs(desired: Any, observed: Any) -> bool:
    """Return whether an object lacks something of what is desired."""
    if isinstance(desired, dict):
        if not isinstance(observed, dict):
            return bool(desired)
        return any(differs(value, observed.get(name)) for name, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(observed, list) or len(desired) != len(observed):
            return bool(desired or observed)
        return any(differs(a, b) for a, b in zip(desired, observed, strict=True))
    return bool(desired != observed and (observed is None or _amount(desired) != _amount(observed)))


def _amount(value: Any) -> Any:
    """Return a quantity as a number: the API server writes 1000m as 1."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    match = _QUANTITY.match(str(value))
    return Decimal(match[1]) * _SCALE[match[2]] if match else value
