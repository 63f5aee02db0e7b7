"""What tests of every room use."""

from __future__ import annotations

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 (hooks)


@pytest.fixture
def profile() -> Profile:
    """A profile of two tiers."""
    return Profile(CascadeProfile.read(profile_document()))
