"""All that can be found wrong with a run before its first image is made: hours later it would be as wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from hadis.api.pipeline import width_height
from hadis.api.tier import TierSettings
from hadis.protocol.api_keys import api_keys
from hadis_worker.gpu import pick_device
from hadis_worker.loading.faults import plain
from hadis_worker.loading.tiers import check_tier

from hadis_profiler.offline import images
from hadis_profiler.offline.engines import as_tier
from hadis_profiler.offline.learning import untrained
from hadis_profiler.offline.prompts import read_prompts
from hadis_profiler.offline.scorers import make_scorer, reference_folder
from hadis_profiler.offline.spec import Run, RunFaults, SpecError

_BYTES_PER_PIXEL = 2
"""Of a PNG of a photograph, and something to spare."""


def check(run: Run) -> None:
    """Raise RunFaults with a line for each fault: prompts, models, scorer, reference, discriminator, device, disk."""
    if lines := list(_faults(run)):
        raise RunFaults(lines)


def _faults(run: Run) -> Iterator[str]:
    checks: list[Callable[[], object]] = [
        partial(pick_device, run.spec.device),
        *(
            partial(check_tier, as_tier(tier), run.models)
            for tier in run.spec.tiers
            if tier.remote is None and _is_needed(run, tier)
        ),
        partial(api_keys, run.spec.tiers, os.environ),
        partial(reference_folder, run),
        # On the CPU, and given back: the GPU's memory is for the tiers until images are scored.
        partial(make_scorer, run, "cpu"),
        partial(untrained, run, ()),
        partial(_check_prompts, run),
    ]
    for find in checks:
        try:
            find()
        except Exception as error:  # a scorer of the user's own may raise anything
            yield " ".join(str(error).split()) if isinstance(error, SpecError) else plain(error)


def _is_needed(run: Run, tier: TierSettings) -> bool:
    """Return whether a tier has images to make still, as far as the prompts are known."""
    try:
        return _missing(run, tier, read_prompts(run).texts) > 0
    except SpecError:
        return True


def _missing(run: Run, tier: TierSettings, prompts: Sequence[str]) -> int:
    """Return how many images of a tier are not made yet; raise SpecError where there are others."""
    images.folder_of(run, tier, prompts)
    return len(images.missing(run, tier, len(prompts)))


def _check_prompts(run: Run) -> None:
    """Raise SpecError for prompts that cannot be used, images of others, and a disk that is too small for theirs."""
    prompts = read_prompts(run).texts
    needed = _BYTES_PER_PIXEL * sum(_pixels(tier) * _missing(run, tier, prompts) for tier in run.spec.tiers)
    home = next(path for path in (run.work, *run.work.parents) if path.exists())
    if not os.access(home, os.W_OK):
        raise SpecError(f"{home} cannot be written; choose another --work")
    free = shutil.disk_usage(home).free
    if needed > free:
        raise SpecError(
            f"{home} has {free / 1e9:.1f} GB free, and the images take about {needed / 1e9:.1f} GB; choose another "
            "--work, or a smaller count"
        )


def _pixels(tier: TierSettings) -> int:
    width, height = width_height(tier.size)
    return width * height
