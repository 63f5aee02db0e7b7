"""Results of stages as JSON files, replaced atomically, each with a hash of its inputs so that no stale one is used."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def mark(*parts: object) -> str:
    """Return a short hash of JSON data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def write(path: Path, data: bytes) -> None:
    """Replace a file atomically; a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)


def save(path: Path, made_from: str, value: Any) -> None:
    """Keep a stage's result."""
    write(path, json.dumps({"madeFrom": made_from, "value": value}, indent=1).encode())


def load(path: Path, made_from: str) -> Any | None:
    """Return a stage's result; None where there is none, or one that was made from something else."""
    try:
        document = json.loads(path.read_text("utf-8"))
        return document["value"] if document["madeFrom"] == made_from else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
