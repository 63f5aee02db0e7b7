"""Who may open connections to a service's pods: NetworkPolicies, which act where the cluster's network enforces them.

Whoever calls a pod of ours stands here; a test holds every way between our pods against these rules. kubelet's probes
come from the node, which no policy shuts out.
"""

from __future__ import annotations

from typing import Any

from hadis.api.resources import ServiceSpec
from hadis.protocol.labels import COMPONENT, SERVICE, label

from hadis_operator.children import router, worker_pool
from hadis_operator.children.common import Manifest, Owner, child_name, meta
from hadis_operator.settings import OperatorSettings, Peer

_NAMESPACE_PODS: Manifest = {"podSelector": {}}


def policies(owner: Owner, spec: ServiceSpec, settings: OperatorSettings) -> list[Manifest]:
    """Return the policy of the workers, and that of the routers where they are not open to everybody."""
    outside = [_peer(peer) for peer in (settings.operator_pods, *settings.scraper_pods) if peer is not None]
    routers: Manifest = {"podSelector": {"matchLabels": _labels(owner, "router")}}
    of_workers = _policy(owner, "worker", worker_pool.PORT, [routers, *outside])
    if spec.router.allow_from_anywhere:
        return [of_workers]
    # Other routers of the service are of its namespace, too.
    return [of_workers, _policy(owner, "router", router.PORT, [_NAMESPACE_PODS, *outside])]


def _policy(owner: Owner, component: str, port: int, peers: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(owner, child_name(owner.name, component), component),
        "spec": {
            "podSelector": {"matchLabels": _labels(owner, component)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"port": port, "protocol": "TCP"}]}],
        },
    }


def _labels(owner: Owner, component: str) -> dict[str, str]:
    return {SERVICE: label(owner.name), COMPONENT: component}


def _peer(peer: Peer) -> Manifest:
    return {"namespaceSelector": _selector(peer.namespace_labels), "podSelector": _selector(peer.pod_labels)}


def _selector(labels: dict[str, str]) -> dict[str, Any]:
    return {"matchLabels": labels} if labels else {}
