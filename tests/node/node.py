"""A real Kubernetes node on this machine, without a container engine: containerd, kubelet, kube-proxy, CoreDNS, and
kube-router, which enforces NetworkPolicies.

Needs root, and Debian's packages of `make e2e`. `python tests/node/node.py` starts one to play with.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

from binaries import binary, cache_folder
from control_plane import SERVICES, ControlPlane, free_port, wait_for
from images import OTHER_TAG, TAG
from leftovers import FOLDER, INTERFACE, clean, command

NAME = "hadis-e2e"
ADDRESS = "10.87.0.1"
PODS, DOMAIN = "10.88.0.0/24", "cluster.local"
DRIVER = "dra-example-kubeletplugin"
"""Gives devices to those who claim them, once it is started."""
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_START_S = 90.0
_NETWORK = {
    "cniVersion": "1.0.0",
    "name": NAME,
    # One wire a pod, routed by the host: behind a bridge, answers of a Service on the same node would bypass the host.
    "plugins": [{
        "type": "ptp", "ipMasq": True,
        "ipam": {"type": "host-local", "subnet": PODS, "dataDir": str(FOLDER / "addresses"),
                 "routes": [{"dst": "0.0.0.0/0"}]},
    }, {"type": "portmap", "capabilities": {"portMappings": True}}],
}  # fmt: skip


class Node(ControlPlane):
    """A control plane with one node that runs containers."""

    address = ADDRESS
    after_the_api = ("kube-controller-manager", "kube-scheduler")

    def _start_all(self) -> None:
        command("ip", "link", "add", INTERFACE, "type", "bridge")
        command("ip", "addr", "add", f"{ADDRESS}/32", "dev", INTERFACE)
        command("ip", "link", "set", INTERFACE, "up")
        _FORWARD.write_text("1")
        super()._start_all()
        self.start("containerd")
        wait_for(lambda: self.containers("version", check=False) is not None, _START_S, "containerd")
        for name in ("coredns", "kube-proxy", "kubelet"):
            self.start(name)
        wait_for(self._node_is_ready, _START_S, "the node")
        self.start("kube-router")  # it ends where there is no node yet
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        assert not ended, f"{ended[0]} has ended: {(self.folder / f'{ended[0]}.log').read_text()[-2000:]}"

    def __exit__(self, *_: object) -> None:
        """End the pods, so that containerd and CNI put away what is theirs; stop everything; `clean` does the rest."""
        if "kube-controller-manager" in self.processes:
            self.stop("kube-controller-manager")  # it would make them again
            self.kubectl("delete", "pods", "--all", "-A", "--grace-period=1", "--timeout=30s", check=False)
        super().__exit__()
        clean()

    def add_gpus(self, count: int) -> None:
        """Give the node GPUs that no device plugin offers."""
        amount = {"nvidia.com/gpu": str(count)}
        patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
        self.kubectl("patch", "node", NAME, "--subresource=status", "--type=merge", "-p", patch)

    def load(self, archives: dict[str, Path]) -> None:
        """Bring images into containerd, which keeps them between runs; those it has are left, others go."""
        there, kept = self._images(), set()
        for name, path in archives.items():
            marked = f"localhost/{name}:{path.stem.rsplit('-', 1)[1]}"
            if marked not in there:
                print(f"loading the image {name}", file=sys.stderr, flush=True)
                self.containers("images", "import", "--local", "--discard-unpacked-layers", str(path))
                self.containers("images", "tag", "--force", f"localhost/{name}:{TAG}", marked)
            for tag in (TAG, OTHER_TAG):
                self.containers("images", "tag", "--force", marked, f"localhost/{name}:{tag}")
            kept.add(self._images()[marked])
        for name, digest in self._images().items():
            if digest not in kept:
                self.containers("images", "remove", name)

    def _images(self) -> dict[str, str]:
        """Return the digests of containerd's images by name."""
        rows = [line.split() for line in (self.containers("images", "list") or "").splitlines()[1:]]
        return {row[0]: row[2] for row in rows}

    def containers(self, *words: str, check: bool = True) -> str | None:
        """Run containerd's `ctr`; return what it prints, None where it fails and need not work."""
        ctr = [str(binary("ctr")), "--address", str(FOLDER / "containerd.sock"), "-n", "k8s.io"]
        done = subprocess.run([*ctr, *words], capture_output=True, text=True, timeout=600, check=False)
        if done.returncode and check:
            raise AssertionError(f"ctr {' '.join(words)}: {done.stderr}")
        return None if done.returncode else done.stdout

    def start(self, name: str, *arguments: str) -> None:
        """Start one program; containerd finds its shim, and CNI's programs iptables, by the path."""
        if name == "containerd":
            folder = binary("containerd-shim-runc-v2").parent
            if str(folder) not in os.environ["PATH"]:
                os.environ["PATH"] += f":{folder}:/usr/sbin:/sbin"
        super().start(name, *arguments)

    def _node_is_ready(self) -> bool:
        nodes = self.get("nodes")["items"]
        return any(c["type"] == "Ready" and c["status"] == "True" for n in nodes for c in n["status"]["conditions"])

    def _write_files(self) -> None:
        super()._write_files()
        for name, text in _settings(self.folder).items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def _arguments(self, name: str) -> list[str]:
        f = self.folder
        own = {
            "containerd": ["--config", str(f / "containerd.toml")],
            "coredns": ["-conf", str(f / "Corefile")],
            "kubelet": [
                "--config", str(f / "kubelet.yaml"), "--kubeconfig", str(self.kubeconfig),
                "--root-dir", str(f / "kubelet"), "--cert-dir", str(f / "kubelet-certificates"),
                "--node-ip", ADDRESS, "--hostname-override", NAME,
            ],
            "kube-proxy": [
                "--kubeconfig", str(self.kubeconfig), "--proxy-mode", "iptables", "--hostname-override", NAME,
                "--conntrack-max-per-core", "0", "--cluster-cidr", PODS,
                "--healthz-bind-address", f"{ADDRESS}:{free_port()}",
                "--metrics-bind-address", f"{ADDRESS}:{free_port()}",
            ],
            "kube-router": [
                "--kubeconfig", str(self.kubeconfig), "--hostname-override", NAME, "--health-port", "0",
                "--run-router=false", "--run-service-proxy=false", "--enable-cni=false",
                "--service-cluster-ip-range", SERVICES,
            ],
            DRIVER: [
                "--kubeconfig", str(self.kubeconfig), "--node-name", NAME, "--num-devices", "4",
                "--cdi-root", str(f / "cdi"),
                "--kubelet-registrar-directory-path", str(f / "kubelet/plugins_registry"),
                "--kubelet-plugins-directory-path", str(f / "kubelet/plugins"),
            ],
        }  # fmt: skip
        if name in own:
            return own[name]
        extra = {"kube-apiserver": ["--advertise-address", ADDRESS, "--kubelet-preferred-address-types", "InternalIP"]}
        return super()._arguments(name) + extra.get(name, [])


def _settings(folder: Path) -> dict[str, str]:
    """Return the files of the node's programs."""
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "address": ADDRESS,
        "healthzPort": 0,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "containerRuntimeEndpoint": f"unix://{FOLDER}/containerd.sock",
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "podLogsDir": str(folder / "logs"),
    }
    return {
        "network/10-hadis.conflist": json.dumps(_NETWORK),
        "kubelet.yaml": yaml.safe_dump(kubelet),
        "Corefile": f"""\
.:53 {{
    bind {ADDRESS}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {folder / "kubeconfig"}
    }}
    cache 5
}}
""",
        # Without restrict_oom_score_adj runc fails in a machine that is itself confined.
        "containerd.toml": f"""\
version = 3
root = "{cache_folder() / "containerd"}"
state = "{FOLDER / "containerd"}"
[grpc]
address = "{FOLDER / "containerd.sock"}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "localhost/pause:{TAG}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
cdi_spec_dirs = ["{folder / "cdi"}"]
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{folder / "network"}"
""",
    }


@contextlib.contextmanager
def running() -> Iterator[Node]:
    """Yield a node; it ends, and what it put on the machine goes, with the context."""
    clean()
    FOLDER.mkdir()
    forward = _FORWARD.read_text()
    try:
        with Node(FOLDER) as node:
            yield node
    finally:
        clean()
        _FORWARD.write_text(forward)


def main() -> None:
    """Start a node to play with."""
    from images import Images

    with running() as node:
        node.load(Images().archives())
        node.add_gpus(4)
        print(f"a node with 4 GPUs runs; Ctrl-C ends it\n\n  export KUBECONFIG={node.kubeconfig}")
        print(f"  alias kubectl={binary('kubectl')}")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
