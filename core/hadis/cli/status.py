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
    found = fetch_status(url)
    console = Console()
    if as_json:
        console.print_json(data=found)
        return
    table = Table(show_header=False, box=None)
    for name, value in _facts(found):
        table.add_row(name, value)
    console.print(table)
    if found["changes"]:
        console.print(_changes(found["changes"][-5:]))


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    plan = found["plan"]
    busy = sum(worker["busy"] for worker in found["workers"])
    latency = found["latency"]
    facts = [("plan", f"{read_plan(plan).headline} (generation {plan['generation']})" if plan else "none yet")]
    if plan:
        counts = ", ".join(f"{t['tier']} x{t['count']} in batches of {t['batch']}" for t in plan["tiers"])
        facts += [("workers by tier", counts), ("quality", f"{plan['quality']:.4g} predicted"), ("why", plan["reason"])]
    facts += [
        ("demand", f"{found['observed_rps']:.2f} requests/s, forecast {found['forecast_rps']:.2f}"),
        ("workers", f"{len(found['workers'])}, of them {busy} busy"),
        ("queues", ", ".join(f"{tier} {n}" for tier, n in found["queues"].items())),
        ("answers", ", ".join(f"{path} {n}" for path, n in found["answers"].items())),
    ]
    if latency["p50_s"] is not None:
        facts.append(("latency", f"p50 {latency['p50_s']:.2f} s, p95 {latency['p95_s']:.2f} s of {found['slo_s']:g} s"))
    if found["attainment"] is not None:
        facts.append(
            ("SLO", f"{found['attainment']:.1%} kept in the last minute; asked {found['asked_attainment']:.1%}")
        )
    return facts


def _changes(changes: list[dict[str, Any]]) -> Table:
    table = Table("at", "plan", "why", title="last plan changes", title_justify="left")
    for change in changes:
        at = time.strftime("%H:%M:%S", time.localtime(change["at"]))
        table.add_row(at, change["summary"], change["reason"])
    return table
