"""What the strict build of the site does not see: pages that no menu leads to, pictures, links to files beside docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drawings import drawings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def menu(node: Any) -> Iterator[str]:
    """Yield the pages of the site's menu."""
    if isinstance(node, str):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from menu(part)


def test_the_menu_leads_to_every_page() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert sorted(menu(settings["nav"])) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_are_there(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["layers", "request", "control-step"])
def test_a_drawing_is_as_its_script_gives_it(name: str) -> None:
    written = (DOCS / "pictures" / f"{name}.svg").read_text("utf-8")
    assert written == drawings()[name], f"run `make reference`: {name}.svg is not what tests/docs/drawings.py gives"
