"""`hadis profile`: from a list of models and prompts to a CascadeProfile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from hadis.api.compact import compact_document
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import ManifestError, read_profile, write_profile
from hadis.api.resources import CascadeProfile, Objective
from hadis.cli import fail
from hadis.cli.client import DEFAULT_URL, Key, Url
from hadis.planning.profile import Profile
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:  # it imports torch, which the other commands do not wait for
    from hadis_profiler.offline.run import Stages

app = typer.Typer(
    help="Measure models into a CascadeProfile, in stages that go on where a run was killed.", no_args_is_help=True
)
Spec = Annotated[Path, typer.Argument(help="YAML with tiers and prompts, as in examples/scenes/profile-run.yaml.")]
Work = Annotated[Path | None, typer.Option(help="Folder for the stages' results; default: SPEC with the suffix .work.")]
ProfileFile = Annotated[Path, typer.Argument(help="A CascadeProfile.")]


@app.command("run")
def run_command(
    spec: Spec,
    out: Annotated[
        Path, typer.Option(help="Where to write the CascadeProfile; its notes and the discriminator go beside it.")
    ],
    work: Work = None,
    apply: Annotated[
        str | None, typer.Option(help="Also write it to the cluster, into this namespace (for use in a Job).")
    ] = None,
) -> None:
    """Do every stage and write the profile; says how long each takes as soon as that is known.

    For example, 25 minutes on 2 idle cores: hadis profile run examples/scenes/profile-run.yaml --out profile.yaml
    """
    _run(spec, out, work, apply)


@app.command("from-traffic")
def from_traffic(
    spec: Spec,
    out: Annotated[
        Path, typer.Option(help="Where to write the CascadeProfile; its notes and the discriminator go beside it.")
    ],
    url: Url = DEFAULT_URL,
    key: Key = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the prompts and the stages' results; default: SPEC with the suffix .traffic. With prompts "
            "there already, the run goes on with these."
        ),
    ] = None,
    apply: Annotated[str | None, typer.Option(help="Also write it to the cluster, into this namespace.")] = None,
) -> None:
    """Do the same with the prompts that a service keeps (promptSample), in place of those that SPEC names.

    KEY is an API key that may read prompts: `prompts=read` in the service's access.keys.
    """
    from hadis_profiler.offline.traffic import kept_prompts

    folder = (work or spec.with_suffix(".traffic")).resolve()
    with _one_line():
        prompts = kept_prompts(folder, url, key, typer.echo)
    _run(spec, out, folder, apply, prompts)


def _run(spec: Path, out: Path, work: Path | None, apply: str | None, prompts: Path | None = None) -> None:
    """Do every stage and publish the profile; `prompts` are taken in place of the spec's."""
    from hadis_profiler.offline.duration import spoken

    began = time.monotonic()
    with _one_line(), _stages(spec, work, prompts) as stages:
        profile = stages.table
        _publish(stages, out)
        if apply:
            asyncio.run(_apply(profile, apply))
    took = spoken(time.monotonic() - began)
    typer.echo(f"{out}: {len(profile.spec.configurations)} configurations in {took}; see `hadis profile report {out}`")


def _stage(name: str, words: str) -> None:
    def command(spec: Spec, work: Work = None) -> None:
        with _one_line(), _stages(spec, work) as stages:
            stages.do(name)

    command.__doc__ = words
    app.command(name)(command)


_stage("latency", "Measure the time of batches on every tier.")
_stage("images", "Generate every prompt with every tier; go on where a run was killed.")
_stage("difficulty", "Fit the weights of the text features to the quality gap between the tiers.")
_stage("discriminator", "Train and calibrate the discriminator.")
_stage("quality", "Measure the quality of every configuration.")
_stage("table", "Put the table together, and refuse one that is of no use.")


@app.command()
def report(
    profile: ProfileFile,
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
    notes: Annotated[
        Path | None,
        typer.Option(help="The run's notes, for calibration and images; default: PROFILE with the suffix .notes.json."),
    ] = None,
) -> None:
    """Write one self-contained page that shows why a profile is as it is."""
    from hadis_profiler.offline.notes import notes_path, read_notes
    from hadis_profiler.offline.report import write_report

    with _one_line():
        write_report(Profile(read_profile(profile)), read_notes(notes or notes_path(profile)), out)
    typer.echo(str(out))


@app.command()
def diff(
    old: ProfileFile,
    new: ProfileFile,
    slo: Annotated[str, typer.Option(help="Latency objective of the plans that are compared.")] = "30s",
    gpus: Annotated[int, typer.Option(min=1, max=4096, help="GPUs of the plans that are compared.")] = 8,
) -> None:
    """Say what changed between two profiles, and whether plans change with it."""
    from hadis_profiler.offline.diff import differences, plans

    with _one_line():
        pair = Profile(read_profile(old)), Profile(read_profile(new))
        objective = Objective(latency=slo)
        lines = list(differences(*pair))
        changed_plans = list(plans(*pair, objective, parse_duration_s(slo), gpus))
    for line in lines or ["nothing that matters changed"]:
        typer.echo(line)
    typer.echo(f"plans with {gpus} GPUs and an SLO of {slo}:" + ("" if changed_plans else " the same"))
    for line in changed_plans:
        typer.echo(f"  {line}")


@contextlib.contextmanager
def _stages(spec: Path, work: Path | None, prompts: Path | None = None) -> Iterator[Stages]:
    """Yield the stages of a spec, with their progress on the terminal; `prompts` are taken in place of its own."""
    from hadis_profiler.offline.run import Stages
    from hadis_profiler.offline.spec import read_run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        run = read_run(spec, (work or spec.with_suffix(".work")).resolve())
        if prompts is not None:
            run = run.with_prompts(prompts)
        yield Stages(run, progress, lambda text: progress.console.print(text, soft_wrap=True))


def _publish(stages: Stages, out: Path) -> None:
    """Write the profile, and beside it its notes and the discriminator that it names."""
    from hadis_profiler.offline import discriminator, store
    from hadis_profiler.offline.notes import notes_path

    write_profile(out, stages.table)
    stages.notes.write(notes_path(out))
    made, folder = stages.run.work / discriminator.FOLDER, out.resolve().parent / discriminator.FOLDER
    for path in made.rglob("*"):  # CLIP or a text encoder is in folders of it
        if path.is_file():
            store.write(folder / path.relative_to(made), path.read_bytes())


async def _apply(profile: CascadeProfile, namespace: str) -> None:
    """Write the profile to the cluster by server-side apply."""
    from hadis.kube.client import ApiError, Kube, connect

    kube = Kube(await connect())
    document = compact_document(profile)
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
    """Turn an error that a person can mend into one line, or one line each, and exit code 2."""
    from hadis_worker.errors import LoadError

    from hadis_profiler.offline.images import ImageError
    from hadis_profiler.offline.spec import RunFaults
    from hadis_profiler.offline.table import TableError

    try:
        yield
    except RunFaults as error:
        raise fail("\nhadis: ".join(error.lines)) from None
    except (ManifestError, LoadError, ImageError, TableError, ValueError, OSError) as error:
        raise fail(" ".join(str(error).split())) from None
