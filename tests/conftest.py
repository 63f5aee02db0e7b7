"""What tests of every room use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 (hooks)

if TYPE_CHECKING:  # it imports torch
    from tiny_models import TinyModels


def pytest_configure() -> None:
    """Have torch compute in one thread, here and in processes that tests start, unless something else was said.

    Two threads that a busy machine runs in turns take forty times as long. torch reads it when it is imported. An
    example of a property may take its time, too, for the same reason.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    profile = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("hadis", hypothesis.settings.get_profile(profile), deadline=None)
    hypothesis.settings.load_profile("hadis")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of a file, and all of those on the control plane, run in one process: they share what is dear."""
    for item in items:
        here = item.path.relative_to(Path(__file__).parent)
        item.add_marker(pytest.mark.xdist_group("cluster" if here.parts[0] == "cluster" else str(here)))


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what `hadis up` learns in a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def profile() -> Profile:
    """A profile of two tiers."""
    return Profile(CascadeProfile.read(profile_document()))


@pytest.fixture(scope="session")
def tiny() -> TinyModels:
    """Models of random weights by name, each made once for all runs; see `tiny_models.BUILDERS`."""
    from tiny_models import TinyModels, kept_folder

    return TinyModels(kept_folder())
