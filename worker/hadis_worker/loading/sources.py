"""Where the files of a model are: in a folder beside the manifest, or in the hub's cache once they were fetched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from hadis.api.pipeline import Component
from hadis.api.tier import Tier
from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    list_repo_files,
    snapshot_download,
    try_to_load_from_cache,
)

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain, no_such_files, variants_of

INDEX = "model_index.json"
CONFIG = "config.json"
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".bin", ".gguf")


def local_folder(folder: Path, model: str) -> Path | None:
    """Return a model's folder (relative to `folder`), with links followed; None where it is a repository."""
    path = folder / model
    return path.resolve() if path.is_dir() else None


def check_name(folder: Path, model: str, what: str = "it") -> None:
    """Raise LoadError for what is neither a folder nor named as a repository is."""
    if local_folder(folder, model) is not None:
        return
    if model.endswith(_SINGLE_FILES):
        raise LoadError(
            f"{what} is a single file; write as model the pipeline that it was made for, "
            "and the file under components or loras"
        )
    if "@" in model:
        name, revision = model.split("@", 1)
        raise LoadError(f"{what} is no repository; write {name}, and revision: {revision}")


@contextlib.contextmanager
def named(folder: Path, model: str, field: str, advice: str = "") -> Iterator[None]:
    """Check the name of a model that a tier's field gives; raise LoadError that names both for a fault of its files."""
    what = f"{field}: {model!r}"
    check_name(folder, model, what)
    try:
        yield
    except LoadError as error:  # which gives advice of its own
        raise LoadError(f"{what} cannot be used: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise LoadError(f"{what} cannot be used: {explain(error)}{advice}") from error


def file_of(folder: Path, model: str, name: str, revision: str | None = None) -> Path:
    """Return a file of a model, fetched if need be; raise FileNotFoundError or what the hub's client raises."""
    local = local_folder(folder, model)
    if local is None:
        return Path(hf_hub_download(model, name, revision=revision))
    if not (local / name).is_file():
        raise FileNotFoundError(f"there is no {name} in {local}")
    return local / name


def check_file(folder: Path, model: str, name: str, revision: str | None = None) -> None:
    """Raise FileNotFoundError, or what the hub's client raises, where `file_of` would; fetches nothing."""
    if local_folder(folder, model) is not None:
        file_of(folder, model, name)
    elif not is_cached(model, name, revision):
        get_hf_file_metadata(hf_hub_url(model, name, revision=revision))


def is_cached(model: str, name: str, revision: str | None = None) -> bool:
    """Return whether a file of a repository is here, so that the hub need not be asked, and may not be there."""
    return isinstance(try_to_load_from_cache(model, name, revision=revision), str)


def pipeline_folder(tier: Tier, folder: Path, elsewhere: Sequence[str]) -> Path:
    """Return the folder of a tier's pipeline, fetched if need be but for the components from `elsewhere`."""
    local = local_folder(folder, tier.model)
    if local is not None:
        return local
    without: dict[str, Any] = dict.fromkeys(elsewhere)
    return Path(DiffusionPipeline.download(tier.model, revision=tier.revision, variant=tier.variant, **without))


def component_folder(folder: Path, part: Component) -> Path:
    """Return the folder of a component with a config, fetched if need be."""
    prefix = f"{part.subfolder}/" if part.subfolder else ""
    home = file_of(folder, part.model, f"{prefix}{CONFIG}", part.revision).parent
    if local_folder(folder, part.model) is None:
        weights = f"{prefix}*.{part.variant}*.safetensors" if part.variant else f"{prefix}*.safetensors"
        # A repository holds other things too: other components below it, other variants beside.
        unwanted = [f"{prefix}*/*"] if part.variant else [f"{prefix}*/*", f"{prefix}*.*.safetensors"]
        patterns = [f"{prefix}*.json", weights]
        snapshot_download(part.model, revision=part.revision, allow_patterns=patterns, ignore_patterns=unwanted)
    return home


def check_weights(folder: Path, part: Component) -> None:
    """Raise LoadError where a component's folder has weights of other variants alone, FileNotFoundError without any.

    Raises what the hub's client raises of a repository that is not here.
    """
    local = local_folder(folder, part.model)
    if local is None:
        files = list_repo_files(part.model, revision=part.revision)
    else:
        files = [str(path.relative_to(local)) for path in (local / (part.subfolder or "")).glob("*")]
    home = part.subfolder or ""
    weights = [file for file in files if file.rpartition("/")[0] == home and file.endswith((".safetensors", ".bin"))]
    if not weights:
        raise FileNotFoundError(f"there are no weights in {'/'.join(filter(None, (part.model, part.subfolder)))}")
    if (variants := variants_of(weights)) and part.variant not in variants:
        raise LoadError(no_such_files(variants))
