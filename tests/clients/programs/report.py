"""What the programs in Python say of their cases: one line of JSON each, as those in other languages do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

BASE_URL = os.environ["HADIS_CLIENT_URL"]
API_KEY = "none"
PROMPT = "a big red circle top left on white"


def case(name: str, run: Callable[[], object]) -> None:
    """Run a case and print what became of it: a case is good where it returns."""
    try:
        run()
    except Exception as error:
        print(json.dumps({"case": name, "error": f"{type(error).__name__}: {error}"[:400]}), flush=True)
    else:
        print(json.dumps({"case": name}), flush=True)


def check_image(image: bytes) -> None:
    """Raise AssertionError for bytes that are no PNG."""
    assert image.startswith(b"\x89PNG"), f"no PNG: {image[:16]!r}"
