"""The profile Job's manifest on a real API server, and the write that it ends with, under the Job's own rights."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import yaml
from control_plane import ROOT, ControlPlane
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis_profiler.commands.profile import _apply
from hadis_profiler.offline.spec import RunSpec

EXAMPLE = ROOT / "examples/kubernetes/profile-job.yaml"


async def test_a_job_writes_its_profile_with_its_own_rights(
    plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(plane.kubectl, "apply", "-n", namespace, "-f", str(EXAMPLE))
    config = await asyncio.to_thread(plane.account_config, namespace, "profile")
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(config))
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    profile = CascadeProfile.read(profile_document())
    for _ in range(2):  # again, as a Job that is retried does
        await _apply(profile, namespace)
    stored = await asyncio.to_thread(plane.get, "cprof", profile.metadata.name, "-n", namespace)
    document = {part: stored[part] for part in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "two"}}
    rows = CascadeProfile.read(document).spec.configurations
    assert sorted(rows, key=str) == sorted(profile.spec.configurations, key=str)
    with pytest.raises(ValueError, match="cannot be written"):
        await _apply(profile, "default")


def test_the_jobs_spec_is_right() -> None:
    config = next(d for d in yaml.safe_load_all(Path(EXAMPLE).read_text()) if d["kind"] == "ConfigMap")
    assert RunSpec.read(yaml.safe_load(config["data"]["spec.yaml"])).count == 5000
