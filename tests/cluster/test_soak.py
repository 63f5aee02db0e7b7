"""A short soak: a minute of random disturbances, always the same choices."""

from __future__ import annotations

from pathlib import Path

from control_plane import ControlPlane
from soak import Soak, faults_of


def test_a_minute_of_disturbances_keeps_the_budget(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    soak = Soak(plane, namespace, tmp_path, seed=5)
    try:
        soak.disturb(60)
        assert soak.watch.events and soak.done.total() >= 5
        assert soak.watch.excesses == []
        soak.recover()
        assert faults_of(soak) == []
    finally:
        soak.close()
