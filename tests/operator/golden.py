"""The children of the examples as they were written down: a field that nobody sets must change nothing in them.

`PYTHONPATH=tests:tests/operator python tests/operator/golden.py` writes them anew, after a change that is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hadis.api.manifest import read_manifest
from hadis.planning.fleet import is_shared
from hadis.planning.profile import Profile
from hadis.protocol.labels import digest
from hadis_operator import children
from hadis_operator.children.common import Owner
from hadis_operator.settings import OperatorSettings

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "golden"
EXAMPLES = ("examples/engines.yaml", "examples/kubernetes/scenes.yaml")
"""Between them they have every kind of child."""


def manifests(example: str) -> Iterator[dict[str, Any]]:
    """Yield the children of an example; of a ConfigMap's data the digest alone, for a profile is long."""
    manifest = read_manifest(ROOT / example)
    spec, profile = manifest.service.spec, Profile(manifest.profile)
    owner = Owner(manifest.service.metadata.name, "default", "uid")
    made = children.make(owner, spec, OperatorSettings(), profile, shared=is_shared(spec, profile))
    for child in (*made.fixed, *made.workers.values(), made.secret):
        yield child | {"data": digest(child["data"])} if "data" in child else child


def text(example: str) -> str:
    """Return an example's children as the file holds them."""
    return yaml.safe_dump_all(list(manifests(example)), sort_keys=False, width=120)


def golden_file(example: str) -> Path:
    """Return where an example's children are written down."""
    return FOLDER / example.replace("/", "-")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in EXAMPLES:
        golden_file(each).write_text(text(each), "utf-8")
