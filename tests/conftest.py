"""What tests of every room use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 (hooks)

if TYPE_CHECKING:  # it imports torch
    from tiny_models import TinyModels


@pytest.fixture
def profile() -> Profile:
    """A profile of two tiers."""
    return Profile(CascadeProfile.read(profile_document()))


@pytest.fixture(scope="session")
def built_models(pytestconfig: pytest.Config) -> TinyModels:
    """Models of random weights by name, each made once for all runs; see `tiny_models.BUILDERS`."""
    from tiny_models import TinyModels, made_by

    return TinyModels(pytestconfig.cache.mkdir(f"tiny-models-{made_by()}"))


@pytest.fixture
def tiny(built_models: TinyModels) -> Iterator[TinyModels]:
    """The same, computed in one thread: two that a busy machine runs in turns take fifty times as long."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield built_models
    torch.set_num_threads(threads)
