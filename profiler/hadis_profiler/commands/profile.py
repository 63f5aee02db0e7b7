"""`hadis profile`: from a list of models and prompts to a CascadeProfile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import ManifestError, read_profile, write_profile
from hadis.api.resources import CascadeProfile, Objective
from hadis.cli import fail
from hadis.planning.profile import Profile
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

app = typer.Typer(
    help="Measure models into a CascadeProfile, in stages that can be resumed after a kill.", no_args_is_help=True
)
Spec = Annotated[Path, typer.Argument(help="YAML with tiers and prompts, as in examples/scenes/profile-run.yaml.")]
Work = Annotated[Path | None, typer.Option(help="Folder of what stages keep; default: SPEC with .work in its place.")]
ProfileFile = Annotated[Path, typer.Argument(help="A CascadeProfile.")]


@app.command("run")
def run_command(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Where to write the CascadeProfile; the discriminator goes beside it.")],
    work: Work = None,
    apply: Annotated[
        str | None, typer.Option(help="Also write it to the cluster, as NAMESPACE (for use in a Job).")
    ] = None,
) -> None:
    """Do every stage and write the profile."""
    profile = _do(spec, work, "table")
    assert profile is not None
    with _one_line():
        _publish(profile, _work(spec, work), out)
        if apply:
            asyncio.run(_apply(profile, apply))
    typer.echo(f"{out}: {len(profile.spec.configurations)} configurations; look at `hadis profile report {out}`")


def _stage(name: str, words: str) -> None:
    def command(spec: Spec, work: Work = None) -> None:
        _do(spec, work, name)

    command.__doc__ = words
    app.command(name)(command)


_stage("latency", "Measure the time of batches on every tier.")
_stage("images", "Paint every prompt with every tier; go on where a run was killed.")
_stage("difficulty", "Fit the weights of the text features to the quality gap between the tiers.")
_stage("discriminator", "Train and calibrate the discriminator.")
_stage("quality", "Measure the quality of every configuration.")
_stage("table", "Put the table together, and refuse one that is of no use.")


@app.command()
def report(
    profile: ProfileFile,
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
    work: Annotated[Path | None, typer.Option(help="The run's folder; adds calibration and sample images.")] = None,
) -> None:
    """Write one self-contained page that shows why a profile is as it is."""
    from hadis_profiler.offline.report import write_report

    with _one_line():
        write_report(Profile(read_profile(profile)), work or profile.with_suffix(".work"), out)
    typer.echo(str(out))


@app.command()
def diff(
    old: ProfileFile,
    new: ProfileFile,
    slo: Annotated[str, typer.Option(help="Latency objective of the plans that are compared.")] = "30s",
    gpus: Annotated[int, typer.Option(min=1, max=4096, help="GPUs of the plans that are compared.")] = 8,
) -> None:
    """Say what changed between two profiles, and whether a plan would."""
    from hadis_profiler.offline.diff import differences, plans

    with _one_line():
        pair = Profile(read_profile(old)), Profile(read_profile(new))
        objective = Objective(latency=slo)
        lines = list(differences(*pair))
        moved = list(plans(*pair, objective, parse_duration_s(slo), gpus))
    for line in lines or ["nothing that matters changed"]:
        typer.echo(line)
    typer.echo(f"plans with {gpus} GPUs and an SLO of {slo}:" + ("" if moved else " the same"))
    for line in moved:
        typer.echo(f"  {line}")


def _do(spec: Path, work: Path | None, stage: str) -> CascadeProfile | None:
    from hadis_profiler.offline.run import Stages
    from hadis_profiler.offline.spec import read_run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _one_line(), Progress(*columns) as progress:
        run = read_run(spec, _work(spec, work))
        return Stages(run, progress, lambda text: progress.console.print(text, soft_wrap=True)).upto(stage)


def _work(spec: Path, work: Path | None) -> Path:
    return (work or spec.with_suffix(".work")).resolve()


def _publish(profile: CascadeProfile, work: Path, out: Path) -> None:
    """Write the profile, and the discriminator that it names beside it."""
    from hadis_profiler.offline import discriminate, store

    write_profile(out, profile)
    folder = out.resolve().parent / discriminate.FOLDER
    for path in (work / discriminate.FOLDER).iterdir():
        store.write(folder / path.name, path.read_bytes())


async def _apply(profile: CascadeProfile, namespace: str) -> None:
    """Write the profile to the cluster by server-side apply."""
    from hadis.kube.client import ApiError, Kube, connect

    kube = Kube(await connect())
    document = profile.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    document |= {"apiVersion": profile.api_version, "kind": profile.kind}
    name = profile.metadata.name
    document["metadata"] = {"name": name, "namespace": namespace}
    try:
        path = f"/apis/{profile.api_version}/namespaces/{namespace}/cascadeprofiles/{name}"
        await kube.apply(path, document, "hadis-profile")
    except ApiError as error:
        raise ValueError(f"CascadeProfile {namespace}/{name} cannot be written: {error}") from None
    finally:
        await kube.close()


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn what a person can mend into one line and exit code 2."""
    from hadis_worker.pipelines import LoadError

    from hadis_profiler.offline.images import ImageError
    from hadis_profiler.offline.table import TableError

    try:
        yield
    except (ManifestError, LoadError, ImageError, TableError, ValueError, OSError) as error:
        raise fail(" ".join(str(error).split())) from None
