"""The options of every command that replays a trace, and how they are read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import ManifestError, read_profile
from hadis.api.optimize import Optimize
from hadis.api.resources import Objective
from hadis.cli import fail
from hadis.planning.objectives import criterion
from hadis.planning.profile import Profile

from hadis_profiler.replay.inputs import ReplayInputError, drawn_prompts, read_prompts
from hadis_profiler.replay.only import read_only
from hadis_profiler.replay.quality import Summary
from hadis_profiler.replay.run import Aim, Inputs
from hadis_profiler.replay.simulate import Ran
from hadis_profiler.replay.sizes import read_sizes

ProfileOption = Annotated[Path, typer.Option("--profile", help="YAML with a CascadeProfile.")]
TraceOption = Annotated[Path, typer.Option("--trace", help="Lines of arrival_ms,prompt_index (or arrival_ms alone).")]
PromptsOption = Annotated[
    Path | None,
    typer.Option("--prompts", help="Folder with prompt_features.csv and confidence/model_K.txt; default: drawn."),
]
SloOption = Annotated[str, typer.Option("--slo", help="Latency objective, for example 6s.")]
SizesOption = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        help="Shares of the requests by image size: 1024x1024=0.6,1536x1024=0.4. A size that the profile does not have "
        "takes its time in proportion to its pixels.",
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        help="Shares of the requests that one tier alone may make, as negative prompts and edits: sd35-medium=0.3.",
    ),
]
OptimizeOption = Annotated[
    Optimize, typer.Option("--optimize", case_sensitive=False, help="What to optimise within the SLO.")
]
GpuPriceOption = Annotated[
    float | None, typer.Option("--gpu-price", min=0.000001, help="Money per GPU hour, to report what images cost.")
]
GpusPerWorkerOption = Annotated[
    int,
    typer.Option(
        "--gpus-per-worker", min=1, max=64, help="GPUs that each worker takes, for a profile measured on that many."
    ),
]
AttainmentOption = Annotated[float, typer.Option(min=0.5, max=0.9999, help="Share of requests within the SLO.")]


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turn what a person can mend into one line and exit code 2."""
    try:
        yield
    except (ReplayInputError, ManifestError, ValueError, OSError) as error:
        raise fail(str(error).replace("\n", "; ")) from None


def check_gpus(option: str, gpus: int, each: int) -> None:
    """Raise ValueError where some GPUs are not enough for one worker, which takes so many each."""
    if gpus < each:
        raise ValueError(f"--{option} {gpus}: each worker takes {each} (--gpus-per-worker); write {each} or more")


def read_inputs(
    profile: Path,
    trace: Path,
    prompts: Path | None,
    slo: str,
    attainment: float,
    seed: int,
    sizes: str | None,
    aim: Aim,
    only: str | None = None,
) -> Inputs:
    """Return what options say of a replay; raise ValueError, or what the readers raise, for what is wrong."""
    measured = Profile(read_profile(profile))
    some = read_prompts(prompts, measured) if prompts else drawn_prompts(measured, seed)
    if parse_duration_s(slo) <= 0:
        raise ValueError(f"--slo {slo}: must be longer than nothing")
    options = {"quality": "--quality", "gpu_price": "--gpu-price"}
    if lacking := [options[each] for each in aim.optimize.needs if getattr(aim, each) is None]:
        raise ValueError(f"--optimize {aim.optimize.value}: needs {' and '.join(lacking)}")
    objective = Objective.read({"latency": slo, "attainment": attainment, **aim.fields})
    if (problem := criterion(objective).refusal(measured)) is not None:
        raise ValueError(problem.message)
    return Inputs(
        measured, some, trace, slo, attainment, sizes=read_sizes(sizes), only=read_only(only, measured.tiers), aim=aim
    )


def consumed(s: Summary, ran: Ran, hour_money: float | None) -> dict[str, str]:
    """Return what an image took in energy and money, as far as it is known; `hour_money` is that of all GPUs per hour.

    Money is that of all GPUs for the whole trace, idle or not.
    """
    answered = s.requests * (1 - s.unanswered)
    facts = {}
    if answered and math.isfinite(ran.joules):
        facts["energy"] = f"{ran.joules / answered:.3g} J per image"
    if answered and hour_money is not None:
        facts["money"] = f"{hour_money * ran.virtual_s / 3600 / answered:.3g} per image, {hour_money:g} per hour"
    return facts
