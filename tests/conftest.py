"""What tests of every room use."""

from __future__ import annotations

import pytest
from documents import profile_document
from hadis.profile import Profile
from hadis.resources import CascadeProfile


@pytest.fixture
def profile() -> Profile:
    """A profile of two tiers."""
    return Profile(CascadeProfile.read(profile_document()))
