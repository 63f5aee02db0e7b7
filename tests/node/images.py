"""The images of the end-to-end test: ours from the Dockerfile, on a base made of Debian's packages; no registry.

`python tests/node/images.py` makes what is missing and prints the sizes; archives are kept in the cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/cluster"))

from binaries import binary, cache_folder  # noqa: E402

TAG, OTHER_TAG = "e2e", "e2e-again"
"""Two tags of each image, so that one can be changed for the other."""
COMPONENTS = ("operator", "router", "worker")
_MIRROR, _RELEASE = "http://deb.debian.org/debian", "bookworm"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
_SOURCES = ("Dockerfile", ".dockerignore", "pyproject.toml", "core", "operator", "router", "worker", "profiler")
_STEP_S = 2400
# A machine that reaches its registries with a certificate of its own needs that, and pip's settings, in builds too.
_FROM_HOST = ("/etc/ssl/certs", "/etc/pip.conf")


class Images:
    """Builds images in a store of its own, and archives of them that containerd imports."""

    def __init__(self) -> None:
        """Build nothing yet."""
        self._folder = cache_folder() / "images"
        self._folder.mkdir(parents=True, exist_ok=True)

    def archives(self) -> dict[str, Path]:
        """Return an archive for each image by its name; make those that are missing, one process at a time."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._archives()

    def sizes(self) -> str:
        """Return a table of the sizes of our images, as they are kept."""
        kept = {path.stem.rsplit("-", 1)[0]: path.stat().st_size / 1e6 for path in self._folder.glob("*.tar")}
        base = kept["python-base"]
        lines = ["| image | MB | over its base |", "| --- | --- | --- |"]
        lines += [
            f"| {part} | {kept[f'hadis-{part}']:.0f} | {kept[f'hadis-{part}'] - base:.0f} |" for part in COMPONENTS
        ]
        return "\n".join(lines)

    def _archives(self) -> dict[str, Path]:
        self._base()
        archives = {f"hadis-{part}": self._component(part) for part in COMPONENTS}
        archives["hadis-client"] = self._client(archives["hadis-router"])
        archives["prometheus"] = self._program("prometheus", binary("prometheus"))
        archives["pause"] = self._program("pause", self._pause())
        return archives

    def _base(self) -> Path:
        """Return the base image: Debian's Python, in the place of `python:3.11-slim`."""
        archive = self._kept("python-base", _digest(_PACKAGES, _RELEASE))
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix="hadis-base-") as text:
                root = Path(text) / "root"
                _say("bootstrapping the base image (2 minutes)")
                _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _RELEASE, str(root), _MIRROR)
                (root / "usr/bin/python").symlink_to("python3")
                for path in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                    path.unlink()  # the image is for one program
                for name in ("var/cache/apt", "var/lib/apt/lists"):
                    shutil.rmtree(root / name)
                (Path(text) / "Dockerfile").write_text("FROM scratch\nCOPY root /\n")
                self._build("python-base", archive, Path(text))
        return archive

    def _component(self, part: str) -> Path:
        base = self._base()
        archive = self._kept(f"hadis-{part}", _digest(base.name, part, *_texts(_SOURCES)))
        if not archive.exists():
            from_base = f"--build-arg=PYTHON_IMAGE={_image('python-base')}"
            self._build(f"hadis-{part}", archive, ROOT, "--layers", *_mounts(), from_base, f"--target={part}")
        return archive

    def _client(self, router: Path) -> Path:
        text = HERE / "Dockerfile.client"
        archive = self._kept("hadis-client", _digest(router.name, text.read_text()))
        if not archive.exists():
            options = [*_mounts(), f"--build-arg=ROUTER={_image('hadis-router')}", f"--file={text}"]
            self._build("hadis-client", archive, HERE, *options)
        return archive

    def _program(self, name: str, program: Path) -> Path:
        """Return an image of one static program."""
        archive = self._kept(name, _digest(hashlib.sha256(program.read_bytes()).hexdigest()))
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix="hadis-image-") as text:
                shutil.copy(program, Path(text) / name)
                (Path(text) / "Dockerfile").write_text(f'FROM scratch\nCOPY {name} /{name}\nENTRYPOINT ["/{name}"]\n')
                self._build(name, archive, Path(text))
        return archive

    def _pause(self) -> Path:
        program = self._folder / "pause"
        _run("cc", "-O2", "-static", "-o", str(program), str(HERE / "pause.c"))
        return program

    def _kept(self, name: str, mark: str) -> Path:
        return self._folder / f"{name}-{mark}.tar"

    def _build(self, name: str, target: Path, context: Path, *options: str) -> None:
        """Build an image, keep its archive, and forget the archives that it had before."""
        _say(f"building the image {name}")
        self._buildah("bud", "--isolation=chroot", *options, "-t", _image(name), str(context))
        draft = target.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        self._buildah("push", _image(name), f"docker-archive:{draft}:{_image(name)}")
        self._buildah("rmi", "--prune", "--force")  # what had the name before
        for old in self._folder.glob(f"{name}-{'?' * 12}.tar"):
            old.unlink()
        draft.replace(target)

    def _buildah(self, *words: str) -> None:
        store = self._folder / "store"
        _run("buildah", f"--root={store}", f"--runroot={store}.run", "--storage-driver=overlay", *words)


def _image(name: str) -> str:
    return f"localhost/{name}:{TAG}"


def _mounts() -> list[str]:
    return [f"--volume={path}:{path}:ro" for path in _FROM_HOST if Path(path).exists()]


def _texts(names: tuple[str, ...]) -> list[str]:
    """Return the files that an image is made of, each behind its path."""
    texts = []
    for name in names:
        path = ROOT / name
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and "__pycache__" not in each.parts:
                texts.append(f"{each.relative_to(ROOT)}\n{hashlib.sha256(each.read_bytes()).hexdigest()}")
    return texts


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(*command: str) -> None:
    """Run a command; raise SystemExit with the end of what it said where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_STEP_S,
                          check=False)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{done.stdout[-4000:]}")


if __name__ == "__main__":
    images = Images()
    images.archives()
    print(images.sizes())
