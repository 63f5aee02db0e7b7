"""Every client's cases are good, and docs/clients.md says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.catalogue import CASES, CLIENTS, Client
from clients.measure import run_client, send, serving
from clients.page import HEAD, recorded_row, row, section, settings_section
from clients.recorded import APPLICATIONS, Application, Recorded

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs/clients.md"
REASON = "run `make clients`"
SENT = [(application, recorded) for application in APPLICATIONS for recorded in application.requests]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a service."""
    with serving() as url:
        yield url


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_works_and_the_page_says_so(client: Client, url: str) -> None:
    outcomes = run_client(client, url)
    assert {case: outcome.error for case, outcome in outcomes.items() if outcome.error} == {}
    assert outcomes.keys() == CASES.keys() - set(client.lacks), "no cell is empty"
    text = PAGE.read_text("utf-8")
    assert row(client, outcomes) in text, REASON
    assert section(client) in text, REASON


@pytest.mark.parametrize(
    ("application", "recorded"), SENT, ids=[f"{application.name}, {sent.when}" for application, sent in SENT]
)
def test_a_recorded_request_is_answered_as_the_application_reads_it(
    application: Application, recorded: Recorded, url: str
) -> None:
    assert send(recorded, url) is None
    text = PAGE.read_text("utf-8")
    assert recorded_row(application, recorded, None) in text, REASON
    assert settings_section(application) in text, REASON


def test_the_page_has_nothing_else() -> None:
    text = PAGE.read_text("utf-8")
    assert text.startswith(HEAD), REASON
    assert text.count("\n### ") == len(CLIENTS) + len(APPLICATIONS), REASON
