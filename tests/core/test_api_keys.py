"""The API keys of endpoints: what an environment may hold, and whose key is whose."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.api.tier import TierSettings
from hadis.protocol.api_keys import api_keys


def tier(name: str, **remote: Any) -> TierSettings:
    remote = {"url": "http://engine/v1", "slots": 1, "apiKeyEnv": "KEY"} | remote
    return TierSettings.model_validate({"name": name, "model": name, "steps": 1, "remote": remote})


def test_the_line_that_ends_a_secret_is_no_part_of_a_key() -> None:
    assert api_keys([tier("a"), TierSettings(name="b", model="b", steps=1)], {"KEY": "sk-1\n"}) == {"a": "sk-1"}


@pytest.mark.parametrize("value", ["", "\n", "sk\n1", "schlüssel"])
def test_what_is_no_key_is_told_by_the_name_of_its_variable_alone(value: str) -> None:
    with pytest.raises(ValueError, match=r"^KEY: .* of tier a|^KEY: the API key of tier a") as caught:
        api_keys([tier("a")], {"KEY": value})
    assert not value.strip() or value not in str(caught.value)


def test_one_variable_is_not_the_key_of_two_secrets() -> None:
    one, other = ({"name": name, "key": "token"} for name in ("one", "other"))
    tiers = tier("a", apiKeyEnv=None, apiKeySecret=one), tier("b", apiKeyEnv=None, apiKeySecret=other)
    with pytest.raises(ValueError, match="HADIS_WORKER_API_KEY: would be the API key of tiers a and b"):
        api_keys(tiers, {"HADIS_WORKER_API_KEY": "sk-1"})
    assert api_keys([tiers[0], tiers[0]], {"HADIS_WORKER_API_KEY": "sk-1"}) == {"a": "sk-1"}
