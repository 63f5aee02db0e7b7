"""Every answer to whatever can be made of the OpenAPI document is one that the document describes."""

from __future__ import annotations

from typing import Any

import schemathesis
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from test_api import Instant, make_app

PROFILE = Profile(CascadeProfile.read(profile_document()))
LENIENT = make_app(PROFILE, Instant())
STRICT = make_app(PROFILE, Instant(), strict=True, sizePolicy="exact", modelAliases={})
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

lenient = schemathesis.openapi.from_asgi("/openapi.json", LENIENT)
strict = schemathesis.openapi.from_asgi("/openapi.json", STRICT)


def check(case: Any) -> None:
    # A schema cannot say all that is wrong: an empty prompt, steps without a tier.
    excluded = [positive_data_acceptance]
    if case.media_type == "multipart/form-data":  # all is text there: null is a word, 1 a prompt
        excluded.append(negative_data_rejection)
    answer = case.call_and_validate(excluded_checks=excluded)
    assert answer.headers["x-request-id"]


@lenient.parametrize()
@EXAMPLES
def test_answers_are_as_the_openapi_document_says(case: Any) -> None:
    check(case)


@strict.parametrize()
@EXAMPLES
def test_so_are_those_of_a_strict_service(case: Any) -> None:
    check(case)


def test_the_document_has_every_address_of_applications_and_their_answers() -> None:
    paths = LENIENT.openapi()["paths"]
    assert paths.keys() == {
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/hadis/images/{name}",
        "/v1/hadis/jobs",
        "/v1/hadis/jobs/{job_id}",
        "/v1/hadis/prompts",
        "/v1/models",
        "/v1/models/{model}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/hadis/status",
    }
    answers = paths["/v1/images/generations"]["post"]["responses"]
    assert all(answer["content"]["application/json"]["schema"]["required"] for answer in answers.values())
