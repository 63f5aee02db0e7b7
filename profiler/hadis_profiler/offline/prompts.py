"""The prompts of a run, from text, CSV, parquet or COCO captions, and their split into training and test sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hadis_profiler.offline.spec import Run, SpecError

LONGEST = 10_000
"""Characters of a prompt; a file with longer lines holds something else."""
_COLUMNS = ("prompt", "caption", "text")
_TRAIN, _CALIBRATE = 0.4, 0.1


@dataclass(frozen=True)
class Prompts:
    """Distinct prompts, and a sentence on how many were left out and why."""

    texts: list[str]
    note: str


@dataclass(frozen=True)
class Split:
    """Indices of the prompts that are trained on, calibrated on, and measured on: no prompt is in two of them."""

    train: NDArray[np.intp]
    calibrate: NDArray[np.intp]
    test: NDArray[np.intp]


def read_prompts(run: Run) -> Prompts:
    """Return at most `count` distinct prompts in the file's order; raise SpecError."""
    path = run.path(run.spec.prompts)
    try:
        lines = list(_lines(path, run.spec.column))
    except OSError as error:
        raise SpecError(f"prompts: {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise SpecError(f"prompts: {path} is broken: {error}; write it as UTF-8") from None
    texts: dict[str, None] = {}
    empty = long = 0
    for line in lines:
        text = " ".join(line.split())
        if not text:
            empty += 1
        elif len(text) > LONGEST:
            long += 1
        else:
            texts[text] = None
    repeated = len(lines) - empty - long - len(texts)
    kept = list(texts)[: run.spec.count]
    if len(kept) < 50:
        raise SpecError(f"prompts: {path} has {len(kept)} distinct prompts; 50 are the least, 5,000 are good")
    reasons = [(empty, "empty"), (long, f"of over {LONGEST:,} characters"), (repeated, "repeated")]
    left_out = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
    return Prompts(kept, f"{len(kept):,} prompts" + (f"; left out: {left_out}" if left_out else ""))


def split(count: int, seed: int) -> Split:
    """Return the split of `count` prompts, the same for the same seed."""
    order = np.random.default_rng(seed).permutation(count)
    a, b = round(_TRAIN * count), round((_TRAIN + _CALIBRATE) * count)
    return Split(np.sort(order[:a]), np.sort(order[a:b]), np.sort(order[b:]))


def _lines(path: Path, column: str | None) -> Iterable[str]:
    kind = path.suffix.lower()
    if kind == ".json":
        return _coco(json.loads(path.read_text("utf-8")), path)
    if kind == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            name = _column(rows.fieldnames or [], column, path)
            return [row[name] or "" for row in rows]
    if kind == ".parquet":
        import pyarrow.parquet as parquet

        names = parquet.read_schema(path).names
        name = _column(names, column, path)
        return [str(value or "") for value in parquet.read_table(path, columns=[name])[name].to_pylist()]
    return path.read_text("utf-8").splitlines()


def _coco(document: object, path: Path) -> list[str]:
    """Return one caption per image, as COCO evaluations do."""
    try:
        first: dict[int, str] = {}
        for item in document["annotations"]:  # type: ignore[index]  # what is no such document raises
            first.setdefault(item["image_id"], item["caption"])
    except (KeyError, TypeError):
        raise SpecError(f"prompts: {path} has no COCO captions (annotations with image_id and caption)") from None
    return list(first.values())


def _column(names: Iterable[str], column: str | None, path: Path) -> str:
    names = list(names)
    for name in [column] if column else _COLUMNS:
        if name in names:
            return name
    raise SpecError(f"prompts: {path} has no column {column or 'prompt'}; it has {', '.join(names)}; write column")
