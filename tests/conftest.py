"""What tests of every room use."""

from __future__ import annotations

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile


@pytest.fixture
def profile() -> Profile:
    """A profile of two tiers."""
    return Profile(CascadeProfile.read(profile_document()))
