"""Stage images: every tier generates every prompt once. A file that exists is done, so that a kill costs one batch.

A prompt whose image a tier's safety checker filtered is left out of every tier: all are compared on the same.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hadis.api.tier import TierSettings
from hadis.protocol.worker import GenerateBatch, JobResult, WireJob
from hadis_worker.batches import BatchEngine
from hadis_worker.engine import Engine
from hadis_worker.errors import EngineUnavailable
from hadis_worker.loading.tiers import load_painter
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from rich.progress import Progress

from hadis_profiler.offline import store
from hadis_profiler.offline.engines import as_tier, remote_engine
from hadis_profiler.offline.spec import Run, SpecError

_SETTINGS = "settings.json"
_READ_AT_ONCE = 256
_FILTERED = "filtered.json"
"""In a tier's folder: the numbers of the prompts whose image was filtered."""
_MOST_FILTERED = 0.1
"""Share of the prompts that may be left out; beyond it the others are not what people ask for."""
NOT_IN_IMAGES: Any = {
    "name": True,
    "tunable": True,
    "sizes": True,
    "remote": {"slots", "timeout", "api_key_secret", "api_key_env"},
}
"""Settings that no image depends on."""


class ImageError(RuntimeError):
    """An image that a tier cannot make; the message says which, why and what to try."""


def generate_all(
    run: Run,
    prompts: Sequence[str],
    device: str,
    batches: dict[str, int],
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Generate what is missing; image i has the seed `seed + i`. `batches` has each tier's batch of most throughput."""
    task = progress.add_task("images", total=len(run.spec.tiers) * len(prompts))
    for tier in run.spec.tiers:
        folder = folder_of(run, tier, prompts)
        _check_left_out(run, tier, len(prompts))  # of a run before this one
        if not (folder / _SETTINGS).exists():
            store.save(folder / _SETTINGS, _made_from(run, tier, prompts), tier.model_dump())
        to_make = missing(run, tier, len(prompts))
        progress.advance(task, len(prompts) - len(to_make))
        if to_make:
            engine = _engine(run, tier, device)
            size = batches.get(tier.name, 8)
            for start in range(0, len(to_make), size):
                part = to_make[start : start + size]
                if filtered := _generate(engine, tier, folder, part, prompts, run.spec.seed):
                    _leave_out(run, tier, filtered, len(prompts))
                progress.advance(task, len(part))
        out = len(_filtered(folder))
        made = len(prompts) - len(left_out(run))
        say(f"{tier.name}: {made:,} images in {folder}" + (f"; {out} were filtered" if out else ""))


def missing(run: Run, tier: TierSettings, prompts: int) -> list[int]:
    """Return which of a tier's images are to be made still."""
    folder, out = run.work / "images" / tier.name, left_out(run)
    return [i for i in range(prompts) if i not in out and not path_of(folder, i).exists()]


def left_out(run: Run) -> set[int]:
    """Return the numbers of the prompts that a tier's safety checker filtered, and that no tier is measured on."""
    return set().union(*(_filtered(run.work / "images" / tier.name) for tier in run.spec.tiers))


def kept(run: Run, prompts: Sequence[str]) -> list[str]:
    """Return the prompts that every tier has an image of."""
    out = left_out(run)
    return [prompt for i, prompt in enumerate(prompts) if i not in out]


def _filtered(folder: Path) -> list[int]:
    path = folder / _FILTERED
    return list(json.loads(path.read_text("utf-8"))) if path.exists() else []


def _leave_out(run: Run, tier: TierSettings, filtered: Sequence[int], prompts: int) -> None:
    """Note prompts whose image was filtered; raise ImageError where they are too many by now."""
    folder = run.work / "images" / tier.name
    store.write(folder / _FILTERED, json.dumps([*_filtered(folder), *filtered]).encode())
    _check_left_out(run, tier, prompts)


def _check_left_out(run: Run, tier: TierSettings, prompts: int) -> None:
    if (out := len(left_out(run))) > _MOST_FILTERED * prompts:
        share = f"{out} of {prompts:,} prompts, over {_MOST_FILTERED:.0%}"
        raise ImageError(
            f"tier {tier.name}: by now safety checkers filtered {share}; leave them out of the prompts, or "
            "name another `safety` for the tier"
        )


def read_images(run: Run, tier: TierSettings, indices: Sequence[int]) -> Iterator[Image.Image]:
    """Yield the images of some of the prompts that were kept; raise ImageError for one that is missing or broken."""
    out = left_out(run)
    numbers = [i for i in range(max(indices, default=-1) + 1 + len(out)) if i not in out]
    for i in indices:
        path = path_of(run.work / "images" / tier.name, numbers[i])
        try:
            with Image.open(path) as image:
                yield image.convert("RGB")
        except OSError as error:
            raise ImageError(f"{path}: {error}; delete it and run `hadis profile images` again") from None


def in_parts(indices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return indices of prompts in parts whose images are in memory together while they are read."""
    return np.array_split(indices, max(1, len(indices) // _READ_AT_ONCE))


def path_of(folder: Path, i: int) -> Path:
    """Return the file of image i."""
    return folder / f"{i // 1000:03}" / f"{i:06}.png"


def folder_of(run: Run, tier: TierSettings, prompts: Sequence[str]) -> Path:
    """Return a tier's folder, which holds images of these settings alone; raise SpecError where it holds others."""
    folder = run.work / "images" / tier.name
    known = folder / _SETTINGS
    if known.exists() and store.load(known, _made_from(run, tier, prompts)) is None:
        raise SpecError(f"{folder} holds images of other settings or prompts; delete it, or choose another --work")
    return folder


def _made_from(run: Run, tier: TierSettings, prompts: Sequence[str]) -> str:
    return store.mark(tier.model_dump(exclude=NOT_IN_IMAGES), run.spec.seed, list(prompts))


def _engine(run: Run, tier: TierSettings, device: str) -> BatchEngine:
    if tier.remote is not None:
        return remote_engine(tier)
    return Engine([as_tier(tier)], {tier.name: load_painter(as_tier(tier), run.models, device)}, device=device)


def _generate(
    engine: BatchEngine, tier: TierSettings, folder: Path, part: list[int], prompts: Sequence[str], seed: int
) -> list[int]:
    """Make the images of some prompts; return those that were filtered."""
    jobs = tuple(WireJob(id=str(i), prompt=prompts[i], seed=seed + i) for i in part)
    try:
        made = engine.generate(GenerateBatch(tier=tier.name, jobs=jobs))
    except EngineUnavailable as error:
        raise ImageError(f"{error}; run it again later: what was generated is kept") from None
    fault, filtered = None, list[int]()
    for result, image in made:
        i = int(result.id)
        if result.error_code == "content_filtered":
            filtered.append(i)
            continue
        if image is None:
            where = f"tier {tier.name}, prompt {i} ({prompts[i][:60]!r})"
            fault = fault or ImageError(f"{where}: {result.error}{_advice(result)}")
            continue
        metadata = PngImagePlugin.PngInfo()
        metadata.add_itxt("hadis", json.dumps({"prompt": prompts[i], "seed": seed + i, **tier.model_dump()}))
        body = io.BytesIO()
        image.save(body, "png", pnginfo=metadata)
        try:
            store.write(path_of(folder, i), body.getvalue())
        except OSError as error:
            raise ImageError(f"{folder}: cannot be written: {error.strerror}; what was generated is kept") from None
    if fault is not None:
        raise fault
    return filtered


def _advice(result: JobResult) -> str:
    return "; try another dtype (bfloat16 or float32)" if "NaN" in (result.error or "") else ""
