"""Addresses of components: as URLs, and as names that say nothing of the network."""

from __future__ import annotations

from hashlib import blake2b


def http_url(host: str, port: int) -> str:
    """Return the URL of a port on a host: a name, an IPv4 address or an IPv6 one, which takes brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def worker_name(url: str) -> str:
    """Return the name of a worker for those who need not know its address: short, and the same in every process."""
    return f"worker-{blake2b(url.encode(), digest_size=4).hexdigest()}"
