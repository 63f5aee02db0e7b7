"""Modules with every weight that they have: one that its file lacks would be random, and paint noise without a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from safetensors import safe_open

from hadis_worker.errors import LoadError


def load_whole(kind: Any, home: Path | str, **options: Any) -> torch.nn.Module:
    """Load a module of a class from a folder (or repository); raise LoadError where weights lack or do not fit.

    Raises what the class raises too.
    """
    if issubclass(kind, transformers.PreTrainedModel):
        # It raises for weights of other shapes as well, but names them in its log only, which is muted.
        options["ignore_mismatched_sizes"] = True
    module, report = kind.from_pretrained(home, output_loading_info=True, **options)
    if other := sorted(key for key, *_ in report.get("mismatched_keys", ())):
        raise LoadError(f"has {_count(other, f'of another shape than its {kind.__name__}')}")
    check_whole(module, report["missing_keys"])
    return cast(torch.nn.Module, module)


def check_whole(module: torch.nn.Module, missing: Iterable[str] = ()) -> None:
    """Raise LoadError where weights are `missing` that were looked for, or were left without values."""
    empty = (name for name, weight in module.state_dict().items() if weight.is_meta)
    if lacking := sorted({*missing, *empty}):
        raise LoadError(f"lacks {_count(lacking)}")


def lacking(file: Path, kind: Any, config: Mapping[str, Any]) -> str:
    """Return which weights of a class a safetensors file lacks; empty where it is none of that class."""
    with torch.device("meta"):
        names = set(kind.from_config(config).state_dict())
    with safe_open(file, "pt") as weights:
        missing = sorted(names - set(weights.keys()))
    return f"lacks {_count(missing)}" if 0 < len(missing) <= len(names) / 2 else ""


def _count(names: list[str], what: str = "") -> str:
    number = f"{len(names)} weight{'s' if len(names) > 1 else ''}"
    return f"{number}{what and f' {what}'}, such as {names[0]}"
