"""Write docs/clients.md; `make clients` calls it, with `tests` and `tests/cluster` in the path."""

from __future__ import annotations

import sys
from pathlib import Path

from clients.catalogue import CLIENTS
from clients.measure import run_client, send, serving
from clients.page import page
from clients.recorded import APPLICATIONS


def main(root: Path) -> int:
    """Run every client, write the page, and return how many cases failed."""
    with serving() as url:
        outcomes = {}
        for client in CLIENTS:
            outcomes[client.name] = run_client(client, url)
            print(client.title, outcomes[client.name], flush=True)
        answers = {sent: send(sent, url) for application in APPLICATIONS for sent in application.requests}
    (root / "docs/clients.md").write_text(page(outcomes, answers), "utf-8")
    failed = [outcome.error for cases in outcomes.values() for outcome in cases.values() if outcome.error]
    failed += [error for error in answers.values() if error]
    print(f"{len(failed)} cases failed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
