"""Views of the objects that routers follow, parsed once where they come in."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from hadis.api.status import ServiceStatus, read_status
from hadis.kube.client import Object, key
from hadis.protocol.address import http_url
from hadis.protocol.labels import COMPONENT, EVERY_TIER, POOL

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EndpointSliceView:
    """An EndpointSlice of a Service of ours."""

    component: str
    """Empty where it is of none of ours."""
    pool: str
    urls: tuple[str, ...]
    """Where its pods that are ready answer, on the first port."""


def endpoint_slice_view(item: Object) -> EndpointSliceView:
    """Return the view of an EndpointSlice."""
    labels = item["metadata"].get("labels") or {}
    ports, endpoints = item.get("ports") or [], item.get("endpoints") or []
    port = ports[0].get("port") if ports else None
    ready = [endpoint for endpoint in endpoints if (endpoint.get("conditions") or {}).get("ready")]
    addresses = [address for endpoint in ready for address in (endpoint.get("addresses") or [])[:1]]
    urls = () if port is None else tuple(http_url(address, port) for address in addresses)
    return EndpointSliceView(labels.get(COMPONENT, ""), labels.get(POOL, EVERY_TIER), urls)


def service_status(item: Object) -> ServiceStatus:
    """Return the status of a DiffusionService; what cannot be read is left out and logged."""

    def leave_out(part: str, why: str) -> None:
        log.warning("status.%s of DiffusionService %s cannot be read and is left out: %s", part, key(item), why)

    return read_status(item.get("status") or {}, leave_out)
