"""A real Kubernetes node on this machine, without a container engine: containerd, kubelet, kube-proxy, CoreDNS.

Needs root, and Debian's packages of `make e2e`. What it adds to the machine (an interface, rules of iptables, control
groups, mounts) it takes away again, also what a run that was killed has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

from binaries import binary, cache_folder
from control_plane import ControlPlane, free_port, wait_for
from images import OTHER_TAG, TAG

NAME = "hadis-e2e"
INTERFACE, ADDRESS = "hadis-e2e", "10.87.0.1"
PODS, SERVICES, DOMAIN = "10.88.0.0/24", "10.96.0.0/16", "cluster.local"
FOLDER = Path("/run/hadis-e2e")
"""Sockets lie in it, whose paths may not be long."""
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_GROUPS = Path("/sys/fs/cgroup")
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

    def __enter__(self) -> Node:
        """Start everything and wait until the node is ready."""
        _command("ip", "link", "add", INTERFACE, "type", "bridge")
        _command("ip", "addr", "add", f"{ADDRESS}/32", "dev", INTERFACE)
        _command("ip", "link", "set", INTERFACE, "up")
        _FORWARD.write_text("1")
        super().__enter__()
        self.start("containerd")
        wait_for(lambda: self.containers("version", check=False) is not None, _START_S, "containerd")
        for name in ("coredns", "kube-proxy", "kubelet"):
            self.start(name)
        wait_for(self._node_is_ready, _START_S, "the node")
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        assert not ended, f"{ended[0]} has ended: {(self.folder / f'{ended[0]}.log').read_text()[-2000:]}"
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything; `clean` does the rest."""
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
        command = [str(binary("ctr")), "--address", str(FOLDER / "containerd.sock"), "-n", "k8s.io", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode and check:
            raise AssertionError(f"ctr {' '.join(words)}: {done.stderr}")
        return None if done.returncode else done.stdout

    def start(self, name: str) -> None:
        """Start one program; containerd finds its shim, and CNI's programs iptables, by the path."""
        for program in ("containerd-shim-runc-v2",) if name == "containerd" else ():
            folder = str(binary(program).parent)
            if folder not in os.environ["PATH"]:
                os.environ["PATH"] += f":{folder}:/usr/sbin:/sbin"
        super().start(name)

    def _node_is_ready(self) -> bool:
        found = self.get("nodes")["items"]
        return any(c["type"] == "Ready" and c["status"] == "True" for n in found for c in n["status"]["conditions"])

    def _write_files(self) -> None:
        super()._write_files()
        for name, text in _settings(self.folder).items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def _arguments(self, name: str) -> list[str]:
        f = self.folder
        if name in ("containerd", "coredns", "kubelet", "kube-proxy"):
            return {
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
            }[name]  # fmt: skip
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


def clean() -> None:
    """Take away what a node has left on this machine, however it ended."""
    _end_processes()
    for _ in range(5):  # mounts lie upon mounts
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            where = line.split()[1]
            if where.startswith(f"{FOLDER}/"):
                _command("umount", "-l", where, check=False)
    for space in _command("ip", "netns", "list", check=False).split("\n"):
        if space.startswith("cni-"):
            _command("ip", "netns", "delete", space.split()[0], check=False)
    _command("ip", "link", "delete", INTERFACE, check=False)
    _clean_rules()
    for path in sorted(_GROUPS.glob("*/kubepods*/**/"), key=lambda p: -len(p.parts)):
        with contextlib.suppress(OSError):
            path.rmdir()
    shutil.rmtree(FOLDER, ignore_errors=True)


def left() -> list[str]:
    """Return what of a node is on this machine: processes, mounts, interfaces, rules and control groups."""
    found = [f"process {pid}: {line}" for pid, line in _processes().items()]
    found += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if str(FOLDER) in line]
    links = _command("ip", "-o", "link")
    found += [f"interface {line}" for line in links.splitlines() if INTERFACE in line or " veth" in line]
    found += [f"rule {line}" for line in _rules() if "KUBE-" in line or "CNI-" in line]
    found += [f"control group {path}" for path in _GROUPS.glob("*/kubepods*")]
    return found + ([str(FOLDER)] if FOLDER.exists() else [])


def _processes() -> dict[int, str]:
    """Return the processes whose command names the node's folder, or that a shim of its containerd has started."""
    found, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            pid = int(path.name)
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            parents[pid] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if f"{FOLDER}/" in line and pid != os.getpid():
                found[pid] = line
    for _ in range(8):
        found |= {pid: f"of {parent}" for pid, parent in parents.items() if parent in found and pid not in found}
    return found


def _end_processes() -> None:
    end = time.monotonic() + 30
    while (pids := _processes()) and time.monotonic() < end:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


def _rules() -> list[str]:
    return [line for table in ("nat", "filter", "mangle")
            for line in _command("iptables-save", "-t", table, check=False).splitlines()]  # fmt: skip


def _clean_rules() -> None:
    """Take out the chains of kube-proxy, kubelet and CNI, and what jumps into them."""
    for table in ("nat", "filter", "mangle"):
        lines = _command("iptables-save", "-t", table, check=False).splitlines()
        kept = [line for line in lines if not re.search(r"\b(KUBE|CNI)-", line)]
        if len(kept) != len(lines):
            subprocess.run(["iptables-restore", "-T", table], input="\n".join([*kept, ""]), text=True, check=True,
                           capture_output=True, timeout=30)  # fmt: skip


def _command(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


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
