"""`python -m hadis_operator`: the same as `kopf run -m hadis_operator`, with kopf's options, but never on uvloop.

kopf takes uvloop where it is installed. On it, a connection that broke while it was being made (an API server that
restarts) leaves a file descriptor behind that every later connection with the same number stumbles over.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run kopf's command."""
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # what makes an import fail
    from kopf.cli import main as kopf

    kopf(["run", "-m", "hadis_operator", *sys.argv[1:]], prog_name="hadis_operator")


if __name__ == "__main__":
    main()
