"""Kueue on the control plane, as its own chart installs it: CRDs, webhooks, and its controller as a process."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from binaries import module_folder
from control_plane import ControlPlane, free_port, wait_for

NAMESPACE, QUEUE = "kueue-system", "gpus"
GATE = "kueue.x-k8s.io/admission"
VERSION = "kueue.x-k8s.io/v1beta2"
_START_S = 300.0
_NOT_USED = ("VisibilityOnDemand", "MultiKueue", "TopologyAwareScheduling")
_SERVICE, _SECRET = "kueue-webhook-service", "kueue-webhook-server-cert"
_KINDS = ("CustomResourceDefinition", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


@contextlib.contextmanager
def kueue(plane: ControlPlane, folder: Path, namespace: str) -> Iterator[None]:
    """Have Kueue manage the pods and Deployments of a namespace that name a queue; keep its files in a folder."""
    ports = {name: free_port() for name in ("webhook", "health", "metrics")}
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.apply(_certificate(folder))
    plane.kubectl("create", "-f", "-", text=yaml.safe_dump_all(_documents(plane, ports["webhook"])))
    (folder / "kueue.yaml").write_text(yaml.safe_dump(_configuration(folder, ports, namespace)))
    gates = ",".join(f"{feature}=false" for feature in _NOT_USED)
    files = (f"--kubeconfig={plane.kubeconfig}", f"--config={folder / 'kueue.yaml'}")
    plane.start("kueue", *files, f"--feature-gates={gates}")
    try:
        wait_for(lambda: _is_ready(ports["health"]), _START_S, "Kueue")
        yield
    finally:
        plane.stop("kueue")
        print((plane.folder / "kueue.log").read_text()[-3000:])


def queue(namespace: str, gpus: int) -> list[dict[str, Any]]:
    """Return a queue of a namespace with a quota of GPUs, and enough of all else."""
    quota = {"nvidia.com/gpu": gpus, "cpu": 1000, "memory": "1000Gi"}
    group = {
        "coveredResources": list(quota),
        "flavors": [
            {"name": "any", "resources": [{"name": name, "nominalQuota": str(most)} for name, most in quota.items()]}
        ],
    }
    return [
        {"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
        {"apiVersion": VERSION, "kind": "ClusterQueue", "metadata": {"name": QUEUE},
         "spec": {"namespaceSelector": {}, "resourceGroups": [group]}},
        {"apiVersion": VERSION, "kind": "LocalQueue", "metadata": {"name": QUEUE, "namespace": namespace},
         "spec": {"clusterQueue": QUEUE}},
    ]  # fmt: skip


def is_gated(pod: dict[str, Any]) -> bool:
    """Return whether Kueue holds a pod back."""
    return GATE in [gate["name"] for gate in pod["spec"].get("schedulingGates", ())]


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _documents(plane: ControlPlane, port: int) -> list[dict[str, Any]]:
    """Return what of the chart an API server needs that calls the webhooks at a port of this machine."""
    chart = module_folder("kueue", "sigs.k8s.io/kueue") / "charts/kueue"
    text = plane.helm("template", "kueue", str(chart), "-n", NAMESPACE).stdout
    documents = [each for each in yaml.safe_load_all(text) if each and each["kind"] in _KINDS]
    for each in documents:
        conversion = each.get("spec", {}).get("conversion", {}).get("webhook")
        for called in (*each.get("webhooks", ()), *([conversion] if conversion else ())):
            path = called["clientConfig"].pop("service")["path"]
            called["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path}"
    return documents


def _certificate(folder: Path) -> dict[str, Any]:
    """Make a certificate, its own authority, where a kubelet would mount it; return the Secret that Kueue keeps it in.

    The one that Kueue makes where there is none is not valid for an address.
    """
    names = f"subjectAltName=IP:127.0.0.1,DNS:{_SERVICE}.{NAMESPACE}.svc,DNS:kueue-ca"  # it looks for the last two
    key_file, certificate_file = str(folder / "tls.key"), str(folder / "tls.crt")
    _openssl("genrsa", "-traditional", "-out", key_file, "2048")  # it reads no other form
    new = ("req", "-x509", "-new", "-days", "365", "-subj", "/CN=kueue", "-key", key_file, "-out", certificate_file)
    _openssl(*new, "-addext", names, "-addext", "extendedKeyUsage=serverAuth")
    key, certificate = (base64.b64encode((folder / f"tls.{part}").read_bytes()).decode() for part in ("key", "crt"))
    data = {"tls.key": key, "tls.crt": certificate, "ca.key": key, "ca.crt": certificate}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _SECRET, "namespace": NAMESPACE},
        "data": data,
    }


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)


def _configuration(folder: Path, ports: dict[str, int], namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{ports['health']}"},
        "metrics": {"bindAddress": f"127.0.0.1:{ports['metrics']}"},
        "webhook": {"host": "127.0.0.1", "port": ports["webhook"], "certDir": str(folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": True, "webhookServiceName": _SERVICE, "webhookSecretName": _SECRET},
        "integrations": {"frameworks": ["pod", "deployment"]},
        "managedJobsNamespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
