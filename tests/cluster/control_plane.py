"""A real control plane on this machine: etcd, API server, controllers, scheduler, and kwok in the kubelet's place.

`python tests/cluster/control_plane.py` (or `make cluster`) starts one with GPU nodes, installs the chart, runs the
operator, and prints a KUBECONFIG to play with until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from binaries import binary

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
CHART, TOKEN = ROOT / "helm/hadis", "admin-token"
START_S, COMMAND_S = 180.0, 60.0
LEASE_S = 6
SERVICES = "10.96.0.0/16"
"""Addresses of Services."""


class ControlPlane:
    """Runs the programs in a folder of their own; a context manager."""

    address = "127.0.0.1"
    after_the_api: tuple[str, ...] = ("kube-controller-manager", "kube-scheduler", "kwok")

    def __init__(self, folder: Path) -> None:
        """Choose ports; start nothing."""
        self.folder = folder
        self.ports = {name: free_port() for name in ("etcd", "peer", "api")}
        self.url = f"https://{self.address}:{self.ports['api']}"
        self.kubeconfig = folder / "kubeconfig"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        """Start everything and wait until the API server and the controllers work; else nothing is left."""
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start_all(self) -> None:
        self._write_files()
        self.start("etcd")
        self.start("kube-apiserver")
        wait_for(self._ready, START_S, "the API server")
        for name in self.after_the_api:
            self.start(name)
        wait_for(
            lambda: self.kubectl("get", "serviceaccount", "default", check=False).returncode == 0,
            START_S,
            "the controllers",
        )

    def __exit__(self, *_: object) -> None:
        """Stop everything, the latest first."""
        for name in reversed(list(self.processes)):
            self.stop(name)

    def start(self, name: str, *arguments: str) -> None:
        """Start one program, with arguments of its own where it is no part of every control plane."""
        log = (self.folder / f"{name}.log").open("ab")
        command = [str(binary(name)), *(arguments or self._arguments(name))]
        with log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop one program."""
        process = self.processes.pop(name)
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kubectl(
        self, *words: str, text: str | None = None, check: bool = True, seconds: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as admin; raise with what it said where it fails."""
        return self._run([str(binary("kubectl")), "--kubeconfig", str(self.kubeconfig), *words], text, check, seconds)

    def helm(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run helm as admin."""
        command = [str(binary("helm")), "--kubeconfig", str(self.kubeconfig), *words]
        return self._run(command, None, check)

    def get(self, *words: str) -> Any:
        """Return `kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    def apply(self, *documents: dict[str, Any], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Apply documents."""
        return self.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(documents), check=check)

    def create(self, document: dict[str, Any], **query: str) -> tuple[int, dict[str, Any]]:
        """Post a custom resource of ours, without kubectl's start; return the HTTP status and the answer."""
        plural, namespace = f"{document['kind'].lower()}s", document["metadata"]["namespace"]
        path = f"/apis/{document['apiVersion']}/namespaces/{namespace}/{plural}?{urllib.parse.urlencode(query)}"
        head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(document).encode(), head)
        try:
            context = ssl._create_unverified_context()
            with urllib.request.urlopen(request, timeout=COMMAND_S, context=context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def add_gpu_node(self, name: str, gpus: int) -> None:
        """Add a node that kwok plays."""
        amount = {"cpu": "64", "memory": "512Gi", "pods": "250", "nvidia.com/gpu": str(gpus)}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": name, "nvidia.com/gpu.product": "test"},
            },
            "status": {"capacity": amount, "allocatable": amount},
        }
        self.kubectl("create", "-f", "-", text=yaml.safe_dump(node))
        self.kubectl(
            "patch",
            "node",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps({"status": {"capacity": amount, "allocatable": amount}}),
        )

    def requests_of(self, namespace: str, account: str = "hadis") -> list[tuple[str, str]]:
        """Return (verb, URI) of every request that a ServiceAccount has made, but for the Lease by which it leads."""
        events = self.audited(namespace, account)
        return [(e["verb"], e["requestURI"]) for e in events if "/leases" not in e["requestURI"]]

    def audited(self, namespace: str, account: str = "hadis") -> list[dict[str, Any]]:
        """Return the audit event of every request that a ServiceAccount has made."""
        user, events = f"system:serviceaccount:{namespace}:{account}", []
        for line in (self.folder / "audit.log").read_text().splitlines():
            event = json.loads(line)
            began = event["stage"] == ("ResponseStarted" if event["verb"] == "watch" else "ResponseComplete")
            if began and event["user"]["username"] == user:
                events.append(event)
        return events

    def account_config(self, namespace: str, account: str, port: int | None = None) -> Path:
        """Return a kubeconfig with a ServiceAccount's token, and the API server's or another port."""
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration=24h").stdout.strip()
        path = self.folder / f"{namespace}-{account}-{next(self._numbers)}.kubeconfig"
        self._write_kubeconfig(path, token, port)
        return path

    def _run(
        self, command: list[str], text: str | None, check: bool, seconds: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command[:6])}: {done.stderr.strip()}")
        return done

    def _ready(self) -> bool:
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _write_files(self) -> None:
        key = self.folder / "account.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=30)
        (self.folder / "audit.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "audit.k8s.io/v1",
                    "kind": "Policy",
                    "omitStages": ["RequestReceived"],
                    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
                }
            )
        )
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self._write_kubeconfig(self.kubeconfig, TOKEN)

    def _write_kubeconfig(self, path: Path, token: str, port: int | None = None) -> None:
        cluster = {"server": f"https://{self.address}:{port or self.ports['api']}", "insecure-skip-tls-verify": True}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "test", "user": {"token": token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )

    def _arguments(self, name: str) -> list[str]:
        f, p = self.folder, self.ports
        etcd = f"http://127.0.0.1:{p['etcd']}"
        peer = f"http://127.0.0.1:{p['peer']}"
        return {
            "etcd": [
                "--data-dir", str(f / "etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"default={peer}", "--unsafe-no-fsync",
            ],
            "kube-apiserver": [
                "--etcd-servers", etcd, "--cert-dir", str(f / "certificates"), "--secure-port", str(p["api"]),
                "--bind-address", self.address, "--token-auth-file", str(f / "tokens.csv"),
                "--authorization-mode", "RBAC,Node", "--service-account-issuer", "https://kubernetes.default.svc",
                "--service-account-key-file", str(f / "account.key"),
                "--service-account-signing-key-file", str(f / "account.key"),
                "--service-cluster-ip-range", SERVICES,
                "--audit-policy-file", str(f / "audit.yaml"), "--audit-log-path", str(f / "audit.log"),
            ],
            "kube-controller-manager": [
                "--kubeconfig", str(self.kubeconfig), "--leader-elect=false", "--secure-port=0",
                "--service-account-private-key-file", str(f / "account.key"),
                "--root-ca-file", str(f / "certificates/apiserver.crt"),
            ],
            "kube-scheduler": ["--kubeconfig", str(self.kubeconfig), "--leader-elect=false", "--secure-port=0"],
            "kwok": [
                "--kubeconfig", str(self.kubeconfig), "--config", str(HERE / "stages.yaml"),
                "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                "--node-lease-duration-seconds=8", "--cidr=10.0.0.1/16",
            ],
        }[name]  # fmt: skip


class Operator:
    """The operator as a process, under the chart's ServiceAccount."""

    def __init__(self, config: Path, log: Path, *options: str, **env: str) -> None:
        """`options` are kopf's; `env` is added to the environment."""
        self._config, self._log, self._options, self._env = config, log, options, env
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        env = os.environ | {"KUBECONFIG": str(self._config), "HADIS_OPERATOR_METRICS_PORT": "0"} | self._env
        command = [sys.executable, "-m", "hadis_operator", "--standalone", *self._options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=self._log.parent)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Release:
    """The chart installed for its own namespace, and operators that run under its ServiceAccount."""

    def __init__(self, plane: ControlPlane, namespace: str, log: Path, watched: Sequence[str] | None = None) -> None:
        """Install it; `watched` are its namespaces: by default its own, and none for every one."""
        self._plane, self._namespace, self._log = plane, namespace, log
        self._watched = [namespace] if watched is None else list(watched)
        self._operators: list[Operator] = []
        plane.helm(
            "install",
            "hadis",
            str(CHART),
            "-n",
            namespace,
            "--set",
            f"watchNamespaces={{{','.join(self._watched)}}}" if self._watched else "watchNamespaces=null",
            "--set",
            "crds.enabled=false",
        )
        self._was_led()

    def start(self, *options: str, port: int | None = None, **env: str) -> Operator:
        """Start an operator; `port` is where it reaches the API server, where that is not its own."""
        config = self._plane.account_config(self._namespace, "hadis", port)
        operator = Operator(config, self._log, *options, **(self._env() | env))
        operator.start()
        self._operators.append(operator)
        return operator

    def _env(self) -> dict[str, str]:
        """Return what the chart tells an operator, with a Lease that is short, so that tests are."""
        return {
            "HADIS_OPERATOR_WATCH_NAMESPACES": json.dumps(self._watched),
            "HADIS_OPERATOR_NAMESPACE": self._namespace,
            "HADIS_OPERATOR_RELEASE": "hadis",
            "HADIS_OPERATOR_LEASE_S": str(LEASE_S),
        }

    def _was_led(self) -> None:
        """Leave a Lease that a former operator gave back: where there is none, the first one waits."""
        spec = {"leaseDurationSeconds": LEASE_S, "renewTime": "2026-01-01T00:00:00.000000Z"}
        self._plane.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {
                    "name": "hadis",
                    "namespace": self._namespace,
                    "labels": {"hadis.dev/component": "operator"},
                    "annotations": {"hadis.dev/namespaces": ",".join(self._watched) or "*"},
                },
                "spec": spec,
            }
        )

    def end(self) -> None:
        """Stop the operators and uninstall the chart."""
        for operator in self._operators:
            operator.stop()
        self._plane.helm("uninstall", "hadis", "-n", self._namespace)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def wait_for(done: Callable[[], object], seconds: float, what: str, every_s: float = 0.2) -> Any:
    """Return what `done` returns once it is true; raise with the last answer or error after so many seconds."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = done()
            if last:
                return last
        except (AssertionError, LookupError) as error:
            last = error
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {seconds:g} s; last: {last!r}")


@contextlib.contextmanager
def running() -> Iterator[ControlPlane]:
    """Yield a control plane in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="hadis-cluster-"))
    try:
        with ControlPlane(folder) as plane:
            yield plane
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_with_gpus() -> Iterator[ControlPlane]:
    """Yield a control plane with two nodes of eight GPUs and the CRDs."""
    with running() as plane:
        for i in range(2):
            plane.add_gpu_node(f"gpu-{i}", 8)
        for path in sorted((ROOT / "crds").iterdir()):
            plane.kubectl("apply", "-f", str(path))
        wait_for(lambda: plane.kubectl("get", "dsvc", check=False).returncode == 0, 20, "the CRDs")
        yield plane


def main() -> None:
    """Start a cluster to play with."""
    with running() as plane:
        for i in range(2):
            plane.add_gpu_node(f"gpu-{i}", 8)
        plane.helm("install", "hadis", str(CHART))
        env = {"HADIS_OPERATOR_RELEASE": "hadis", "HADIS_OPERATOR_ALLOW_HOST_PATH": "true"}  # as the example needs
        operator = Operator(plane.account_config("default", "hadis"), plane.folder / "operator.log", **env)
        operator.start()
        print(f"a control plane with 16 GPUs runs; Ctrl-C ends it\n\n  export KUBECONFIG={plane.kubeconfig}")
        print(f"  alias kubectl={binary('kubectl')}\n  kubectl apply -f examples/kubernetes/scenes.yaml\n")
        print("  kubectl get diffusionservices\n\nNo container runs: pods are played by kwok, so no image is made.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            operator.stop()


if __name__ == "__main__":
    main()
