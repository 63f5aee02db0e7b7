"""One control plane for all tests of this folder; each test has a namespace and an operator of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from control_plane import ControlPlane, Operator, Release, running_with_gpus
from fakes import Demand
from queries import BudgetWatch

_numbers = itertools.count()


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A control plane with two nodes of eight GPUs and the CRDs."""
    with running_with_gpus() as control_plane:
        yield control_plane


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace that goes with the test."""
    name = f"t{next(_numbers)}"
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def budget(plane: ControlPlane, namespace: str) -> Iterator[BudgetWatch]:
    """Watches the GPUs that the namespace's workers hold."""
    watch = BudgetWatch(plane, namespace)
    yield watch
    watch.close()


@pytest.fixture
def demand() -> Iterator[Demand]:
    """A fake Prometheus, for tests of what the operator makes of its answers."""
    prometheus = Demand()
    yield prometheus
    prometheus.close()


StartOperator = Callable[..., Operator]


@pytest.fixture
def start_operator(plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[StartOperator]:
    """Install the chart for this namespace and return what starts the operator under its ServiceAccount."""
    release = Release(plane, namespace, tmp_path / "operator.log")
    yield release.start
    release.end()
    log = tmp_path / "operator.log"
    if log.exists():
        print(log.read_text()[-8000:])
