"""Why a model cannot be loaded, in one line that says what to write or install."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from hadis_worker.errors import LoadError

_LIBRARY = re.compile(r"requires the (\S+) library|`pip install (?:-U )?([\w.-]+)|No module named '([\w-]+)")
_LEAST_WORDS = 3
_MOST_CHARACTERS = 300


def explain(error: Exception, folder: Path | None = None, variant: str | None = None) -> str:
    """Return what is wrong; `folder` is the model's, in which other variants are looked for."""
    if isinstance(error, LoadError):
        return str(error)
    for cause in _causes(error):
        if isinstance(cause, GatedRepoError):
            return "the repository is gated; accept its terms on the hub, and set HF_TOKEN to a token of that account"
        if isinstance(cause, RevisionNotFoundError):
            return "the repository has no such revision"
        if isinstance(cause, RepositoryNotFoundError):
            return "there is no such repository on the hub; if it is private, set HF_TOKEN"
        if isinstance(cause, ImportError) and (match := _LIBRARY.search(str(cause))):
            library = next(filter(None, match.groups()))
            return f"the library {library} is not installed; pip install {library}"
    if folder is not None and isinstance(error, OSError) and (others := own_variants(folder) - {variant}):
        return no_such_files(others)
    return plain(error)


def no_such_files(variants: Collection[str]) -> str:
    """Return that there are weights of variants alone."""
    return f"there are no such files but of the variant {' or '.join(sorted(variants))}; write variant: {min(variants)}"


def plain(error: Exception) -> str:
    """Return an error on one line, with its type where the text alone says little."""
    text = " ".join(str(error).split())[:_MOST_CHARACTERS]
    said = len(text.split()) >= _LEAST_WORDS and isinstance(error, OSError | ValueError | ImportError | RuntimeError)
    return text if said else f"{type(error).__name__}: {text}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def own_variants(folder: Path) -> set[str]:
    """Return the variants of the weights in a pipeline's folders, where there are no weights without one."""
    return variants_of(path.name for path in folder.glob("*/*.safetensors"))


def variants_of(files: Iterable[str]) -> set[str]:
    """Return the variants of files of weights, by their names; none where one has no variant."""
    stems = [file.rpartition("/")[2].rpartition(".")[0] for file in files]
    return (
        set() if any("." not in stem for stem in stems) else {re.split(r"[.-]", s.split(".", 1)[1])[0] for s in stems}
    )
