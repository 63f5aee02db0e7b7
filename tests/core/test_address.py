"""Addresses as URLs and as names."""

import pytest
from hadis.protocol.address import http_url, worker_name


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


def test_a_workers_name_says_nothing_of_its_address_and_is_always_the_same() -> None:
    urls = [http_url(f"10.0.0.{i}", 8100) for i in range(200)]
    names = {worker_name(url) for url in urls}
    assert len(names) == 200
    assert worker_name("http://10.0.0.1:8100") == "worker-4dd34e2e"
