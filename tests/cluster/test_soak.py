"""A short soak: random disturbances, always the same choices, after which every service is well again."""

from __future__ import annotations

from pathlib import Path

from control_plane import ControlPlane
from soak import Soak, faults_of


def test_random_disturbances_leave_the_budget_kept(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    soak = Soak(plane, namespace, tmp_path / "operator.log", seed=5)
    try:
        soak.recover()
        soak.disturb(40)
        soak.recover()
        assert faults_of(soak) == []
    finally:
        soak.close()
