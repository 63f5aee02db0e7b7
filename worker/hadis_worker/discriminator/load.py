"""A discriminator from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hadis_worker.discriminator.base import CONFIG, Discriminator
from hadis_worker.discriminator.clip import ClipDiscriminator
from hadis_worker.discriminator.expected import ExpectedDiscriminator
from hadis_worker.discriminator.small import SmallDiscriminator
from hadis_worker.errors import LoadError


def load_judge(folder: Path, device: str) -> Discriminator:
    """Return the discriminator that a folder holds, on a device; raise LoadError."""
    try:
        return load_discriminator(folder).to(device)
    except (OSError, ValueError) as error:
        raise LoadError(f"the discriminator cannot be loaded: {' '.join(str(error).split())}") from error


def load_discriminator(folder: Path) -> Discriminator:
    """Return the discriminator that a folder holds, ready to judge; raise OSError or ValueError."""
    path = folder / CONFIG
    try:
        values: Any = json.loads(path.read_text("utf-8"))
        kind = values.pop("features", "small")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is no discriminator's configuration: {error}") from None
    kinds: dict[str, type[Discriminator]] = {
        "small": SmallDiscriminator,
        "clip": ClipDiscriminator,
        "expected": ExpectedDiscriminator,
    }
    if kind not in kinds:
        raise ValueError(f"{path}: features is {kind!r}; write {' or '.join(kinds)}")
    try:
        return kinds[kind].load(folder, values).eval()
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: is no discriminator's configuration: {error}") from None
    except RuntimeError as error:
        raise ValueError(f"{folder}: the weights do not fit {CONFIG}: {error}") from None
