"""Addresses as URLs."""

import pytest
from hadis.protocol.address import http_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("10.0.0.1", "http://10.0.0.1:8100"),
        ("router.images", "http://router.images:8100"),
        ("fd00::1", "http://[fd00::1]:8100"),
    ],
)
def test_an_ipv6_address_takes_brackets(host: str, url: str) -> None:
    assert http_url(host, 8100) == url
