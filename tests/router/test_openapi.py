"""Every answer to whatever can be made of the OpenAPI document is one that the document describes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import schemathesis
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis_router.http.keys import KeyRing
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance
from test_api import Instant, make_app

PROFILE = Profile(CascadeProfile.read(profile_document()))
LENIENT = make_app(PROFILE, Instant())
STRICT = make_app(PROFILE, Instant(), strict=True, sizePolicy="exact", modelAliases={})
KEY = "shop-key"
with NamedTemporaryFile("w") as file:
    file.write(f"sha256:{sha256(KEY.encode()).hexdigest()} name=shop\n")
    file.flush()
    KEYED = make_app(PROFILE, Instant(), keys=KeyRing(Path(file.name)))
EXAMPLES = settings(max_examples=25, suppress_health_check=list(HealthCheck))
FAR_S = 600.0
"""Schemathesis gives an answer 10 s of the wall clock, which a busy machine may take. What the router never answered
would be a 504 at its objective of 60 s; that the workers, which answer at once, never cause."""

lenient = schemathesis.openapi.from_asgi("/openapi.json", LENIENT)
strict = schemathesis.openapi.from_asgi("/openapi.json", STRICT)
keyed = schemathesis.openapi.from_asgi("/openapi.json", KEYED)


def check(case: Any, is_strict: bool = False, **headers: str) -> None:
    # A schema cannot say all that is wrong: an empty prompt, steps without a tier.
    # Its search for requests that need no key after all leaves the key in headers that are given: see test_access.
    excluded = [positive_data_acceptance, ignored_auth]
    # All is text in a form: null is a word, 1 a prompt. A service that is not strict reads numbers in JSON's texts too.
    if case.media_type == "multipart/form-data" or (case.media_type is not None and not is_strict):
        excluded.append(negative_data_rejection)
    answer = case.call_and_validate(headers=headers, excluded_checks=excluded, timeout=FAR_S)
    assert answer.status_code != 504
    assert answer.headers["x-request-id"]


@lenient.parametrize()
@EXAMPLES
def test_answers_are_as_the_openapi_document_says(case: Any) -> None:
    check(case)


@strict.parametrize()
@EXAMPLES
def test_so_are_those_of_a_strict_service(case: Any) -> None:
    check(case, is_strict=True)


@keyed.parametrize()
@EXAMPLES
def test_so_are_those_of_a_service_with_keys(case: Any) -> None:
    check(case, authorization=f"Bearer {KEY}")


def test_the_document_says_which_requests_need_a_key() -> None:
    documented = {path: next(iter(operations.values())) for path, operations in KEYED.openapi()["paths"].items()}
    without = {path for path, operation in documented.items() if "security" not in operation}
    assert without == {"/healthz", "/readyz", "/v1/hadis/images/{name}"}
    assert all(("401" in operation["responses"]) == (path not in without) for path, operation in documented.items())
    assert "securitySchemes" not in LENIENT.openapi().get("components", {})


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
