"""docs/clients.md, from what the clients' programs and the recorded requests met."""

from __future__ import annotations

from headings import anchor

from clients.catalogue import CASES, CLIENTS, Client
from clients.measure import Outcomes
from clients.recorded import RECORDED, Recorded

HEAD = """\
# Clients

An application that speaks OpenAI's images API changes its base URL and nothing else. A test writes this page (`make
clients`): it installs each client below by name, runs it against a router and a worker with the example's models, and
sends what other applications send by default.

| column | what was tried |
|---|---|
"""


def page(outcomes: dict[str, Outcomes], answers: dict[Recorded, str | None]) -> str:
    """Return the page for the outcomes by client name and the answers to the recorded requests."""
    columns = [f"| {case} | {text} |" for case, text in CASES.items()]
    table = [f"| client | {' | '.join(CASES)} |", "|---" * (len(CASES) + 1) + "|"]
    table += [row(client, outcomes[client.name]) for client in CLIENTS]
    sent = ["## Default requests of applications", "", "| application | request | answer |", "|---|---|---|"]
    sent += [recorded_row(recorded, answers[recorded]) for recorded in RECORDED]
    sections = ["## How to configure them", "", *(section(client) for client in CLIENTS)]
    return HEAD + "\n".join([*columns, "", *table, "", *sent, "", *sections])


def row(client: Client, outcomes: Outcomes) -> str:
    """Return a client's row: yes, no, or nothing where its program does not try the case."""
    cells = ["" if case not in outcomes else "no" if outcomes[case] else "yes" for case in CASES]
    return f"| [{client.title}](#{anchor(client.title)}) | {' | '.join(cells)} |"


def recorded_row(recorded: Recorded, error: str | None) -> str:
    """Return the row of a recorded request."""
    return f"| {recorded.application} | {recorded.when} | {'refused' if error else f'`{recorded.reads}`'} |"


def section(client: Client) -> str:
    """Return how a client is configured."""
    return f"### {client.title}\n\n```{client.language}\n{client.configuration}\n```\n"
