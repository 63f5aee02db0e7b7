"""The pages of docs/reference say what the code says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
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
    empty = [row for row in written[name].splitlines() if re.fullmatch(r"\|.*\|\s*\|", row)]
    assert empty == [], "each row needs a description: write it at the model's field"


def rules(node: Any) -> Iterator[str]:
    """Yield the message of every validation rule in a document."""
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()))
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from rules(part)


def test_the_page_of_the_crds_has_every_rule(written: dict[str, str]) -> None:
    files = [yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "crds").glob("*.yaml")]
    listed = [line.partition("`: ")[2] for line in written["crds"].splitlines() if line.startswith("- `")]
    assert Counter(listed) == Counter(rules(files))


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    metrics = (ROOT / "docs/reference/metrics.md").read_text()
    panels = json.loads((ROOT / "helm/hadis/dashboards/hadis.json").read_text())["panels"]
    for panel in panels:
        for target in panel["targets"]:
            for name in re.findall(r"hadis_(?:router|operator)_\w+", target["expr"]):
                assert f"`{re.sub(r'_bucket$', '', name)}`" in metrics, panel["title"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels), "no panel lies on another"
