"""A browser for all tests of this folder, and a router of its own for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import chromium
from hadis.planning.profile import Profile
from page_router import PageRouter
from playwright.sync_api import Browser, Page, sync_playwright


@pytest.fixture(scope="module")  # no longer: its event loop would be in the way of other folders' tests
def chrome() -> Iterator[Browser]:
    """A headless Chromium."""
    try:
        path = chromium()
    except RuntimeError as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def router(profile: Profile) -> Iterator[PageRouter]:
    """A router with two workers that answer at once."""
    page_router = PageRouter(profile)
    page_router.start()
    yield page_router
    page_router.stop()


@pytest.fixture
def page(chrome: Browser, router: PageRouter) -> Iterator[Page]:
    """The page, open and live; no request of it may leave the router, and nothing may fail unseen."""
    context = chrome.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    elsewhere: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda r: None if r.url.startswith((router.url, "data:")) else elsewhere.append(r.url))
    opened.on("pageerror", lambda e: errors.append(str(e)))
    opened.goto(router.url)
    opened.wait_for_selector("#link.live")
    yield opened
    context.close()
    assert elsewhere == []
    assert errors == []
