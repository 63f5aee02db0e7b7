"""Read a manifest file: YAML documents, of which one is a DiffusionService and one its CascadeProfile."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hadis.api.cascade_profile import CascadeProfile
from hadis.api.compact import compact_document
from hadis.api.images_api import check_aliases
from hadis.api.resources import DiffusionService

GZIP = b"\x1f\x8b"
MOST_BYTES = 64 * 2**20
"""Of a manifest that was packed."""
_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+")
"""In YAML 1.2; PyYAML reads and writes 1.1."""
_KINDS: dict[str, type[DiffusionService] | type[CascadeProfile]] = {
    "DiffusionService": DiffusionService,
    "CascadeProfile": CascadeProfile,
}


class ManifestError(ValueError):
    """A manifest that cannot be used; the message says where and what to write instead."""


@dataclass(frozen=True)
class Manifest:
    """A service, its profile, and the folder that relative model paths start from."""

    service: DiffusionService
    profile: CascadeProfile
    folder: Path


def _text(path: Path) -> str:
    """Return a file's text; one that begins as gzip does is packed, as the operator writes big profiles."""
    content = path.read_bytes()
    if content[:2] == GZIP:
        content = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(content, MOST_BYTES)
    return content.decode("utf-8")


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = _text(path)
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    for number, document in enumerate((d for d in documents if d is not None), 1):
        yield f"{path}, document {number}", document


def read_profile(path: Path) -> CascadeProfile:
    """Return the one CascadeProfile in a file; raise ManifestError."""
    profiles = [r for r in read_resources(path) if isinstance(r, CascadeProfile)]
    if len(profiles) != 1:
        raise ManifestError(f"{path}: needs one CascadeProfile, has {len(profiles)}")
    return profiles[0]


def write_profile(path: Path, profile: CascadeProfile) -> None:
    """Write a profile as YAML: in the compact form, and one line per row where that has rows."""
    document = compact_document(profile)
    if rows := document["spec"].get("configurations"):
        document["spec"]["configurations"] = [_Row(row) for row in rows]
    path.write_text(yaml.dump(document, Dumper=_Dumper, default_flow_style=None, sort_keys=False, width=200), "utf-8")


class _Row(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    pass


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Return a text as YAML, in quotes also where it is a number to kubectl alone, as the commit 12e34 is."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if _NUMBER.fullmatch(text) else None)


_Dumper.add_representer(str, _text_node)
_Dumper.add_representer(
    _Row, lambda dumper, row: dumper.represent_mapping("tag:yaml.org,2002:map", row, flow_style=True)
)


def read_resources(path: Path) -> list[DiffusionService | CascadeProfile]:
    """Return every resource in a file; raise ManifestError for one that is wrong."""
    resources: list[DiffusionService | CascadeProfile] = []
    for where, document in _documents(path):
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind not in _KINDS:
            raise ManifestError(f"{where}: kind is {kind!r}; write DiffusionService or CascadeProfile")
        try:
            resources.append(_KINDS[kind].read(document))
        except ValueError as error:
            raise ManifestError(f"{where}: {error}") from None
    return resources


def read_manifest(path: Path) -> Manifest:
    """Return the service and its profile from one file, or the profile from `<name>/profile.yaml` beside it."""
    resources = read_resources(path)
    services = [r for r in resources if isinstance(r, DiffusionService)]
    if len(services) != 1:
        raise ManifestError(f"{path}: needs one DiffusionService, has {len(services)}")
    name, folder = services[0].spec.profile, path.parent
    profiles = [r for r in resources if isinstance(r, CascadeProfile)]
    beside = path.parent / name / "profile.yaml"
    if not profiles and beside.exists():
        profiles, folder = [read_profile(beside)], beside.parent
    for profile in profiles:
        if profile.metadata.name == name:
            _check_together(path, services[0], profile)
            return Manifest(services[0], profile, folder.resolve())
    raise ManifestError(f"{path}: no CascadeProfile named {name!r}, neither here nor in {beside}")


def _check_together(path: Path, service: DiffusionService, profile: CascadeProfile) -> None:
    try:
        check_aliases(service.spec.api, [tier.name for tier in profile.spec.tiers])
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from None
