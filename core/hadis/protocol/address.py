"""Addresses of components as URLs."""


def http_url(host: str, port: int) -> str:
    """Return the URL of a port on a host: a name, an IPv4 address or an IPv6 one, which takes brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
