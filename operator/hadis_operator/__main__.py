"""`python -m hadis_operator`: `kopf run -m hadis_operator` for the namespaces of the settings, but never on uvloop.

kopf takes uvloop where it is installed. On it, a connection that broke while it was being made (an API server that
restarts) leaves a file descriptor behind that every later connection with the same number stumbles over.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run kopf's command, with kopf's options."""
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # what makes an import fail
    from kopf.cli import main as kopf

    from hadis_operator.settings import OperatorSettings

    namespaces = [f"--namespace={name}" for name in OperatorSettings().watch_namespaces] or ["--all-namespaces"]
    kopf(["run", "-m", "hadis_operator", *namespaces, *sys.argv[1:]], prog_name="hadis_operator")


if __name__ == "__main__":
    main()
