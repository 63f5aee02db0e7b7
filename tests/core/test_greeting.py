"""What `hadis up` says once it serves."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.cli import control_loop


@pytest.mark.parametrize("keyed", [False, True])
async def test_the_curl_shows_a_key_where_the_service_wants_one(monkeypatch: pytest.MonkeyPatch, keyed: bool) -> None:
    async def ready(*_: Any) -> bool:
        return True

    said: list[str] = []
    monkeypatch.setattr(control_loop, "is_ready", ready)
    await control_loop.greet("http://r", 1, lambda text, **_: said.append(text), keyed)
    assert ('-H "authorization: Bearer $HADIS_API_KEY"' in said[-1]) is keyed
    assert any("export HADIS_API_KEY" in text for text in said) is keyed
