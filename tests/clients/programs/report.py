"""What the programs in Python say of their cases: one line of JSON each, as those in other languages do."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable

BASE_URL = os.environ["HADIS_CLIENT_URL"]
API_KEY = "none"
PROMPT = "a big red circle top left on white"
CHANGE = "a blue square"


def case(name: str, run: Callable[[], str | None]) -> None:
    """Run a case and print what became of it: a case is good where it returns, maybe by what it was done."""
    try:
        by = run()
    except Exception as error:
        print(json.dumps({"case": name, "error": f"{type(error).__name__}: {error}"[:400]}), flush=True)
    else:
        print(json.dumps({"case": name, "by": by}), flush=True)


def check_image(image: bytes) -> None:
    """Raise AssertionError for bytes that are no PNG."""
    assert image.startswith(b"\x89PNG"), f"no PNG: {image[:16]!r}"


def check(encoded: str | None) -> None:
    """Raise AssertionError for base64 that is no PNG."""
    assert encoded is not None, "no image in base64"
    check_image(base64.b64decode(encoded))


def file_of(encoded: str | None) -> io.BytesIO:
    """Return an image in base64 as a file with a name, from which clients read its type."""
    assert encoded is not None, "no image in base64"
    file = io.BytesIO(base64.b64decode(encoded))
    file.name = "picture.png"
    return file
