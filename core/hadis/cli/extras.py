"""Which extras of the distribution each command needs, and which of them are not installed.

What an extra is made of says the installed package's metadata, so that it is told before anything of it is imported.
"""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, requires
from importlib.util import find_spec

from packaging.requirements import Requirement

_STARTS = {"up": ("router", "worker")}
"""By command, the components that it runs as processes."""


def missing_extras(entry: EntryPoint) -> tuple[str, ...]:
    """Return the extras that a command needs and that are not wholly installed."""
    package = entry.module.split(".")[0]
    own = () if package == "hadis" else (package.removeprefix("hadis_"),)  # a component's package is hadis_EXTRA
    return tuple(extra for extra in _STARTS.get(entry.name, own) if not _is_installed(extra))


def _is_installed(extra: str) -> bool:
    requirements = map(Requirement, requires("hadis") or ())
    return all(_can_be_imported(requirement.name) for requirement in requirements if _is_of(requirement, extra))


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement is of an extra, here: some are of one operating system alone."""
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _can_be_imported(name: str) -> bool:
    try:
        return all(find_spec(module) is not None for module in _modules(distribution(name)))
    except (PackageNotFoundError, ImportError):
        return False


def _modules(installed: Distribution) -> set[str]:
    """Return the names by which a distribution is imported."""
    listed = (installed.read_text("top_level.txt") or "").split()
    files = [line.split(",")[0] for line in (installed.read_text("RECORD") or "").splitlines()]
    names = listed or [path.split("/")[0].removesuffix(".py") for path in files if path.endswith(".py")]
    return {name for name in names if name.isidentifier()}
