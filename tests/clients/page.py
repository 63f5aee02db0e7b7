"""docs/clients.md, from what the clients' programs and the recorded requests met."""

from __future__ import annotations

import re
from itertools import groupby
from textwrap import dedent

from headings import anchor

from clients.catalogue import CASES, CLIENTS, Client
from clients.install import PROGRAMS
from clients.measure import Outcomes
from clients.recorded import APPLICATIONS, Application, Recorded

HEAD = """\
# Clients

An application that speaks OpenAI's images API changes its base URL and nothing else. A test writes this page (`make
clients`): it installs each client below by name, runs it against a router and a worker with the example's models, and
sends what other applications send by default. A dash: the client has no such call.

| column | what was tried |
|---|---|
"""
_MARK = re.compile(r"\s*(#|//) docs$")
_VALUES = {"BASE_URL": "http://SERVICE/v1", "API_KEY": "none", "PROMPT": "a red circle"}
"""What stands in the page for the names that programs have."""


def page(outcomes: dict[str, Outcomes], answers: dict[Recorded, str | None]) -> str:
    """Return the page for the outcomes by client name and the answers to the recorded requests."""
    columns = [f"| {case} | {text} |" for case, text in CASES.items()]
    table = [f"| client | {' | '.join(CASES)} |", "|---" * (len(CASES) + 1) + "|"]
    table += [row(client, outcomes[client.name]) for client in CLIENTS]
    sent = ["## Default requests of applications", "", "| application | request | answer |", "|---|---|---|"]
    sent += [recorded_row(each, sent, answers[sent]) for each in APPLICATIONS for sent in each.requests]
    sections = ["## How to configure them", "", *map(section, CLIENTS), *map(settings_section, APPLICATIONS)]
    return HEAD + "\n".join([*columns, "", *table, "", *sent, "", *sections])


def row(client: Client, outcomes: Outcomes) -> str:
    """Return a client's row: what happened in each case, or a dash where it has no such call."""
    cells = ["–" if case in client.lacks else outcomes[case].words for case in CASES]
    return f"| [{client.title}](#{anchor(client.title)}) | {' | '.join(cells)} |"


def recorded_row(application: Application, recorded: Recorded, error: str | None) -> str:
    """Return the row of a recorded request."""
    answer = "refused" if error else f"`{recorded.reads}`"
    return f"| [{application.name}](#{anchor(application.name)}) | {recorded.when} | {answer} |"


def section(client: Client) -> str:
    """Return how a client is configured: the lines of its program that say so."""
    return f"### {client.title}\n\n```{client.language}\n{_filled(snippet(client), quote=True)}\n```\n"


def settings_section(application: Application) -> str:
    """Return what an application's users set."""
    return f"### {application.name}\n\n```text\n{_filled(application.settings, quote=False)}\n```\n"


def snippet(client: Client) -> str:
    """Return the lines of a client's program that are marked for the page, parted where the program parts them."""
    text, parted = "", False
    for marked, group in groupby((PROGRAMS / client.program).read_text("utf-8").splitlines(), _is_marked):
        lines = list(group)
        if not marked:
            parted = "" in lines
            continue
        block = dedent("\n".join(_MARK.sub("", line) for line in lines))
        text += ("\n" * (1 + parted) if text else "") + block
    return text


def _is_marked(line: str) -> bool:
    return _MARK.search(line) is not None


def _filled(text: str, quote: bool) -> str:
    for name, value in _VALUES.items():
        text = re.sub(rf"\b{name}\b", f'"{value}"' if quote else value, text)
    return text
