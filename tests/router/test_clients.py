"""Who a request's client is, and what is shown of it."""

from __future__ import annotations

import hashlib

import pytest
from hadis_router.http.clients import client_key, shown_key

TOKEN = "sk-secret"
DIGEST = "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("headers", "user", "key"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, "ann", DIGEST),
        ({"authorization": f"bearer  {TOKEN} "}, None, DIGEST),
        ({"authorization": "Bearer none"}, "ann", "user:ann"),
        ({"authorization": "Bearer "}, "ann", "user:ann"),
        ({"authorization": "Basic YTpi"}, "ann", "user:ann"),
        ({"authorization": TOKEN}, "ann", "user:ann"),
        ({"api-key": TOKEN}, "ann", DIGEST),
        ({"api-key": "none"}, "ann", "user:ann"),
        ({"authorization": f"Bearer {TOKEN}", "api-key": "other"}, "ann", DIGEST),
        ({}, "sha256:" + 16 * "0", "user:sha256:" + 16 * "0"),
        ({}, "", "address:10.0.0.7"),
        ({"x-forwarded-for": "1.2.3.4", "hadis-forwarded": "1"}, None, "address:10.0.0.7"),
    ],
)
def test_the_api_key_is_first_then_the_user_then_the_address(
    headers: dict[str, str], user: str | None, key: str
) -> None:
    assert client_key(headers, user, "10.0.0.7") == key


def test_without_an_address_there_is_still_a_key() -> None:
    assert client_key({}, None, None) == "address:unknown"


def test_no_name_is_shown_in_clear() -> None:
    assert shown_key(DIGEST) == DIGEST
    shown = [shown_key("user:ann"), shown_key("user:bob"), shown_key("address:10.0.0.7")]
    assert len(set(shown)) == 3
    assert [key.split(":")[:2] for key in shown] == [["user", "sha256"], ["user", "sha256"], ["address", "sha256"]]
    assert not any(name in key for key in shown for name in ("ann", "bob", "10.0"))
