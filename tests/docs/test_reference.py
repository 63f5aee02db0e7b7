"""The pages of docs/reference say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference import pages

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """What the code gives now."""
    return pages()


@pytest.mark.parametrize("name", ["crds", "http", "metrics", "settings", "cli"])
def test_a_page_is_as_the_code_gives_it(name: str, written: dict[str, str]) -> None:
    page = ROOT / "docs/reference" / f"{name}.md"
    assert page.read_text("utf-8") == written[name], f"run `make reference`: {page.name} is not what the code gives"
