"""The scenes example as a stranger would serve it: chart, service, an application in another namespace, Prometheus."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from control_plane import CHART, ROOT, wait_for
from images import TAG
from node import Node

CLAIM = "one-gpu"
"""Name of the ResourceClaimTemplate of `claimed_devices`."""
RELEASE, PICTURES, APPS, MONITORING = "hadis-system", "pictures", "apps", "monitoring"
ADDRESS = f"http://scenes.{PICTURES}.svc.cluster.local"
MODELS = Path("/var/lib/hadis/scenes")
"""Where the example says that nodes hold its models."""
HERE = Path(__file__).parent
OPERATOR = "app.kubernetes.io/name=hadis-operator"
READY_S = 180.0
VALUES = (
    "--set", "image.registry=localhost", "--set", "worker.allowHostPath=true", "--set", f"prometheus.address=http://prometheus.{MONITORING}:9090",
    "--set", "operator.replicas=2",
)  # fmt: skip
Object = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A node on which the example is served."""

    node: Node

    def install(self) -> None:
        """Do what the documentation says, from an empty cluster."""
        shutil.copytree(ROOT / "examples/scenes", MODELS, dirs_exist_ok=True)
        self.node.kubectl("apply", "-f", str(HERE / "prometheus.yaml"))
        self.node.helm("install", "hadis", str(CHART), "-n", RELEASE, "--create-namespace", *VALUES, "--set",
                       f"image.tag={TAG}")  # fmt: skip
        for name in (PICTURES, APPS):
            self.node.kubectl("create", "namespace", name)
        self.node.kubectl("apply", "-n", PICTURES, "-f", str(ROOT / "examples/kubernetes/scenes.yaml"))
        script = (HERE / "client.py").read_text()
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "client", "namespace": APPS}}
        self.node.apply(config | {"data": {"client.py": script}}, application("client", "sleep", "infinity"))
        self.wait_until_ready()
        wait_for(lambda: self.pod(APPS, "client")["status"]["phase"] == "Running", READY_S, "the application")

    def change(self, **spec: Any) -> None:
        """Change fields of the service."""
        patch = json.dumps({"spec": spec})
        self.node.kubectl("patch", "dsvc", "scenes", "-n", PICTURES, "--type=merge", "-p", patch)

    def wait_until_ready(self) -> None:
        """Wait until the service, its pods and the operator are as they should be, and nothing is on its way."""
        wait_for(self.is_settled, READY_S, "the service to be ready")

    def is_settled(self) -> bool:
        """Return whether what is there is what should be."""
        service = self.node.get("dsvc", "scenes", "-n", PICTURES)
        true = {c["type"] for c in service["status"]["conditions"] if c["status"] == "True"}
        observed = service["status"]["observedGeneration"] == service["metadata"]["generation"]
        deployments = [*self.deployments(PICTURES), *self.deployments(RELEASE)]
        return observed and {"Ready", "PlanApplied"} <= true and all(map(_is_complete, deployments))

    def deployments(self, namespace: str) -> list[Object]:
        """Return the Deployments of a namespace."""
        deployments: list[Object] = self.node.get("deployments", "-n", namespace)["items"]
        return deployments

    def pods(self, component: str, namespace: str = PICTURES) -> list[Object]:
        """Return a component's pods."""
        pods: list[Object] = self.node.get("pods", "-n", namespace, "-l", f"hadis.dev/component={component}")["items"]
        return pods

    def pod(self, namespace: str, name: str) -> Object:
        """Return a pod."""
        pod: Object = self.node.get("pod", name, "-n", namespace)
        return pod

    def replace(self, component: str) -> str:
        """Delete a component's pod; return the name of the one that comes for it, once all is ready."""
        before = {pod["metadata"]["name"] for pod in self.pods(component)}
        gone = min(before)
        self.node.kubectl("delete", "pod", gone, "-n", PICTURES, "--wait=false")

        def names() -> set[str]:
            return {pod["metadata"]["name"] for pod in self.pods(component)}

        wait_for(lambda: gone not in names() and self.is_settled(), READY_S, f"another {component}")
        return min(names() - before)

    def application(self, *command: str, seconds: float = 120) -> str:
        """Return what a command prints in the application's pod."""
        return self.node.kubectl("exec", "-n", APPS, "client", "--", *command, seconds=seconds).stdout

    def reaches(self, namespace: str, pod: str, url: str) -> bool:
        """Return whether a pod, or one of a Deployment (`deploy/NAME`), gets an answer from a URL."""
        code = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=3)"
        done = self.node.kubectl("exec", "-n", namespace, pod, "--", "python", "-c", code, check=False)
        return done.returncode == 0

    def query(self, text: str) -> list[Object]:
        """Return what Prometheus answers to a query, asked by the application."""
        url = f"http://prometheus.{MONITORING}:9090/api/v1/query"
        code = f"import httpx; print(httpx.get({url!r}, params={{'query': {text!r}}}).text)"
        samples: list[Object] = json.loads(self.application("python", "-c", code))["data"]["result"]
        return samples

    def operators(self) -> set[str]:
        """Return the names of the operator's pods."""
        return {pod["metadata"]["name"] for pod in self.node.get("pods", "-n", RELEASE, "-l", OPERATOR)["items"]}

    def leader(self) -> str:
        """Return the name of the operator's pod that leads."""
        return str(self.node.get("lease", "hadis", "-n", RELEASE)["spec"].get("holderIdentity", ""))

    def keep_logs(self, target: Path) -> None:
        """Write what people look at when something went wrong: all objects' descriptions, and every log."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        described = self.node.kubectl("describe", "pods,deployments,dsvc,nodes", "-A", check=False)
        (target / "objects.txt").write_text(described.stdout)
        logs = [*self.node.folder.glob("*.log"), *self.node.folder.glob("logs/*/*/*.log")]
        for path in logs:
            shutil.copy(path, target / str(path.relative_to(self.node.folder)).replace("/", "_"))

    def remove(self) -> None:
        """Do what the documentation says to get rid of it all."""
        self.node.kubectl("delete", "-n", PICTURES, "-f", str(ROOT / "examples/kubernetes/scenes.yaml"))
        children = ("all,cm,pdb,role,rolebinding,sa", "-n", PICTURES, "-l", "app.kubernetes.io/name=hadis")
        wait_for(lambda: not self.node.get(*children)["items"], READY_S, "the children to go")
        self.node.helm("uninstall", "hadis", "-n", RELEASE)
        kinds = ("diffusionservices", "cascadeprofiles", "gpupools")
        self.node.kubectl("delete", "crd", *(f"{kind}.hadis.dev" for kind in kinds))
        shutil.rmtree(MODELS)
        with contextlib.suppress(OSError):
            MODELS.parent.rmdir()


def application(name: str, *command: str) -> Object:
    """Return a pod in the applications' namespace that has the client's program."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": APPS},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "client", "configMap": {"name": "client"}}],
            "containers": [{
                "name": name, "image": f"localhost/hadis-client:{TAG}", "imagePullPolicy": "Never",
                "command": list(command), "volumeMounts": [{"name": "client", "mountPath": "/client"}],
            }],
        },
    }  # fmt: skip


def claimed_devices(namespace: str) -> list[Object]:
    """Return the class of the test driver's devices, and a template of claims of one of them."""
    driver = "gpu.example.com"
    request = {"name": "gpu", "exactly": {"deviceClassName": driver}}
    version = "resource.k8s.io/v1"
    return [
        {"apiVersion": version, "kind": "DeviceClass", "metadata": {"name": driver},
         "spec": {"selectors": [{"cel": {"expression": f"device.driver == '{driver}'"}}]}},
        {"apiVersion": version, "kind": "ResourceClaimTemplate", "metadata": {"name": CLAIM, "namespace": namespace},
         "spec": {"spec": {"devices": {"requests": [request]}}}},
    ]  # fmt: skip


def profile() -> Object:
    """Return the example's profile."""
    documents = yaml.safe_load_all((ROOT / "examples/kubernetes/scenes.yaml").read_text())
    cascade_profile: Object = next(each for each in documents if each["kind"] == "CascadeProfile")
    return cascade_profile


def say(text: str) -> None:
    """Tell how far the run is."""
    print(f"e2e: {text}", file=sys.stderr, flush=True)


def _is_complete(deployment: Object) -> bool:
    desired, status = deployment["spec"]["replicas"], deployment.get("status", {})
    observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    counts = (status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas"))
    return observed and all(count == desired for count in counts) and not status.get("terminatingReplicas")
