"""`hadis status`: the plan in force, demand, workers, queues and how the objective is kept."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hadis.cli.client import DEFAULT_URL, Url, fetch_status
from hadis.planning.plan import read_plan


def status(
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the router's status document as it is.")] = False,
) -> None:
    """Show the plan, demand, workers, queue lengths and SLO attainment of a running router."""
    document = fetch_status(url)
    console = Console()
    if as_json:
        console.print_json(data=document)
        return
    table = Table(show_header=False, box=None)
    for name, value in _facts(document):
        table.add_row(name, value)
    console.print(table)
    if document["changes"]:
        console.print(_changes(document["changes"][-5:]))


def _facts(document: dict[str, Any]) -> list[tuple[str, str]]:
    plan = document["plan"]
    busy = sum(worker["busy"] for worker in document["workers"])
    latency = document["latency"]
    facts = [("plan", f"{read_plan(plan).headline} (generation {plan['generation']})" if plan else "none yet")]
    if plan:
        counts = ", ".join(f"{t['tier']} x{t['count']} in batches of {t['batch']}" for t in plan["tiers"])
        facts += [("workers by tier", counts), ("quality", f"{plan['quality']:.4g} predicted"), ("why", plan["reason"])]
    facts += [
        ("demand", f"{document['observed_rps']:.2f} requests/s, forecast {document['forecast_rps']:.2f}"),
        ("workers", f"{len(document['workers'])}, of them {busy} busy"),
        ("queues", ", ".join(f"{tier} {n}" for tier, n in document["queues"].items())),
        ("answers", ", ".join(f"{path} {n}" for path, n in document["answers"].items())),
    ]
    if latency["p50_s"] is not None:
        facts.append(
            ("latency", f"p50 {latency['p50_s']:.2f} s, p95 {latency['p95_s']:.2f} s of {document['slo_s']:g} s")
        )
    if document["attainment"] is not None:
        facts.append(
            ("SLO", f"{document['attainment']:.1%} met in the last minute, of {document['asked_attainment']:.1%}")
        )
    return facts


def _changes(changes: list[dict[str, Any]]) -> Table:
    table = Table("at", "plan", "why", title="last plan changes", title_justify="left")
    for change in changes:
        at = time.strftime("%H:%M:%S", time.localtime(change["at"]))
        table.add_row(at, change["summary"], change["reason"])
    return table
