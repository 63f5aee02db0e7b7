"""Every client's cases are good, and docs/clients.md says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.catalogue import CASES, CLIENTS, Client
from clients.measure import run_client, send, serving
from clients.page import HEAD, recorded_row, row, section
from clients.recorded import RECORDED, Recorded

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs/clients.md"
REASON = "run `make clients`"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a service."""
    with serving() as url:
        yield url


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_works_and_the_page_says_so(client: Client, url: str) -> None:
    outcomes = run_client(client, url)
    assert outcomes.keys() <= CASES.keys()
    assert {case: error for case, error in outcomes.items() if error} == {}
    text = PAGE.read_text("utf-8")
    assert row(client, outcomes) in text, REASON
    assert section(client) in text, REASON


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: f"{recorded.application}, {recorded.when}")
def test_a_recorded_request_is_answered_as_the_application_reads_it(recorded: Recorded, url: str) -> None:
    assert send(recorded, url) is None
    assert recorded_row(recorded, None) in PAGE.read_text("utf-8"), REASON


def test_the_page_has_nothing_else() -> None:
    text = PAGE.read_text("utf-8")
    assert text.startswith(HEAD), REASON
    assert text.count("\n### ") == len(CLIENTS), REASON
