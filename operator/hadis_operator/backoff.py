"""How often an object is written again while nothing that we want of it changes.

Somebody who undoes our writes, or an API server that refuses them, would else be answered by an endless row of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

_LONGEST_S = 30.0
_FORGOTTEN_S = 60.0
"""An object that needed no write for this long begins anew."""
_CONTESTED = 3
"""Writes again within that time from which on somebody else is at work, and no hand that slipped."""


@dataclass(frozen=True)
class _Try:
    content: Any
    at_s: float
    again: int
    """How often the same was written before, each time within `_FORGOTTEN_S`."""


class WriteBackoff:
    """The last try of each object, by its path; times are the event loop's."""

    def __init__(self) -> None:
        """Begin with nothing tried."""
        self._tries: dict[str, _Try] = {}

    def due(self, path: str, content: Any) -> bool:
        """Return whether an object may be written: at once for another content, and for the same once more.

        After that it waits 1 s, 2 s, 4 s, and so on up to 30 s.
        """
        last = self._tries.get(path)
        if last is None or last.content != content or not last.again:
            return True
        return self._age_s(last) >= min(_LONGEST_S, 2.0 ** (last.again - 1))

    def tried(self, path: str, content: Any) -> None:
        """Remember that an object is written now."""
        last = self._tries.get(path)
        same = last is not None and last.content == content and self._age_s(last) < _FORGOTTEN_S
        self._tries[path] = _Try(content, asyncio.get_running_loop().time(), last.again + 1 if last and same else 0)

    def contested(self, path: str) -> bool:
        """Return whether an object was written again and again lately."""
        last = self._tries.get(path)
        return last is not None and last.again >= _CONTESTED and self._age_s(last) < _FORGOTTEN_S

    def begin_anew(self, path: str) -> None:
        """Count no longer what was tried at an object: it was refused, and is not any more."""
        self._tries[path] = replace(self._tries[path], again=0)

    def keep(self, paths: Collection[str]) -> None:
        """Forget all others."""
        self._tries = {path: last for path, last in self._tries.items() if path in paths}

    @staticmethod
    def _age_s(last: _Try) -> float:
        return asyncio.get_running_loop().time() - last.at_s
