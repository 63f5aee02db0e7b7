"""Whether files hold the same weights: the same file elsewhere, or the same tensors in other shards."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_BLOB = re.compile(r"[0-9a-f]{64}")
_LENGTH_BYTES = 8
"""Of the length of a safetensors file's header, which comes first."""
_MOST_FILES = 1024


class Contents:
    """What files hold, each read once."""

    def __init__(self) -> None:
        """Have read none yet."""
        self._of_file = functools.lru_cache(_MOST_FILES)(_digest)
        self._of_tensors = functools.lru_cache(_MOST_FILES)(_tensors_digest)

    def same(self, mine: Sequence[Path], theirs: Sequence[Path]) -> bool:
        """Return whether two modules' files hold the same."""
        one, other = tuple(path.resolve() for path in mine), tuple(path.resolve() for path in theirs)
        if one == other:
            return True
        if _sizes(one) == _sizes(other):
            return all(map(self._same_file, one, other))
        if any(path.suffix != ".safetensors" for path in (*one, *other)):
            return False
        try:
            return _shapes(one) == _shapes(other) and self._of_tensors(one) == self._of_tensors(other)
        except ValueError:  # one is broken, which is told when it is loaded
            return False

    def _same_file(self, one: Path, other: Path) -> bool:
        return one == other or self._of_file(one) == self._of_file(other)


def _sizes(files: Sequence[Path]) -> list[int]:
    return [path.stat().st_size for path in files]


def _digest(path: Path) -> str:
    # Those of the hub's cache are named by it.
    if _BLOB.fullmatch(path.name):
        return path.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return what a safetensors file says of its tensors by name, and where their bytes begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        document: dict[str, Any] = json.loads(file.read(length))
    document.pop("__metadata__", None)
    return document, _LENGTH_BYTES + length


def _shapes(files: Sequence[Path]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (t["dtype"], tuple(t["shape"])) for path in files for name, t in _header(path)[0].items()}


def _tensors_digest(files: tuple[Path, ...]) -> str:
    """Return a digest of tensors by name, whichever file each is in."""
    digests: dict[str, bytes] = {}
    for path in files:
        document, start = _header(path)
        with path.open("rb") as file:
            for name, tensor in document.items():
                first, end = tensor["data_offsets"]
                file.seek(start + first)
                digests[name] = hashlib.sha256(file.read(end - first)).digest()
    return hashlib.sha256(b"".join(digests[name] for name in sorted(digests))).hexdigest()
