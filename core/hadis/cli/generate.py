"""`hadis generate`: one prompt in, one image out, and the path that it took."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from hadis.cli import fail
from hadis.cli.client import DEFAULT_URL, Key, Url, error_message, headers_of
from hadis.cli.tables import console, facts


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .jpg or .webp.")] = Path("out.png"),
    model: Annotated[str, typer.Option(help="auto lets the plan decide; a tier's name forces that tier.")] = "auto",
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same image.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT; the tier's own size if left out.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 300,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Generate one image and print the path it took: difficulty, tiers, confidence, waits, plan generation."""
    formats = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    if out.suffix.lower() not in formats:
        raise fail(f"{out}: name a file that ends in .png, .jpg or .webp")
    body = {
        "prompt": prompt,
        "model": model,
        "output_format": formats[out.suffix.lower()],
        "explain": True,
        **({"seed": seed} if seed is not None else {}),
        **({"size": size} if size else {}),
    }
    headers = headers_of(key)
    try:
        answer = httpx.post(f"{url}/v1/images/generations", json=body, headers=headers, timeout=timeout)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise fail(f"no answer from {url} ({error or type(error).__name__}); is `hadis up` running?") from None
    if answer.is_error:
        raise fail(error_message(answer))
    document = answer.json()
    try:
        out.write_bytes(base64.b64decode(document["data"][0]["b64_json"]))
    except OSError as error:
        raise fail(f"{out}: cannot be written: {error.strerror}") from None
    _show(document["hadis"][0], out)


def _show(record: dict[str, Any], out: Path) -> None:
    rows = [("path", record["path"])]
    scores = ("difficulty", "confidence", "heavy_confidence")
    rows += [(key.replace("_", " "), "-" if record.get(key) is None else f"{record[key]:z.3f}") for key in scores]
    rows += [(a["tier"], f"waited {a['wait_s']:.2f} s, made in {a['service_s']:.2f} s") for a in record["attempts"]]
    rows += [
        ("seed, size", f"{record['seed']}, {record['size'] or '-'}"),
        ("latency", f"{record['latency_s']:.2f} s"),
        ("plan", f"generation {record['plan_generation']}"),
        ("image", str(out)),
    ]
    console().print(facts(rows))
