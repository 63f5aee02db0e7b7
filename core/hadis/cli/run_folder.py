"""Where `hadis up` keeps its run state: what was learnt of this machine is read again at the next start."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.protocol.run_state import read_state

STATE_FILE = "state.json"


@contextlib.contextmanager
def run_folder(manifest: Path, port: int, variables: Mapping[str, str], say: Callable[..., None]) -> Iterator[Path]:
    """Yield a folder for what runs: the same each time that a manifest is served at a port, which only one can be.

    Where it cannot be written, say so and yield one that is for this run alone.
    """
    digest = blake2b(str(manifest.resolve()).encode(), digest_size=4).hexdigest()
    try:
        home = Path(variables.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        folder = home / "hadis" / f"{manifest.stem}-{port}-{digest}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written")
    except (OSError, RuntimeError) as error:
        say(f"what is learnt of this machine is not kept: {error}; set XDG_STATE_HOME to a folder for it")
        with tempfile.TemporaryDirectory(prefix="hadis-") as temporary:
            yield Path(temporary)
    else:
        yield folder


def remembered(folder: Path, profile: Profile, say: Callable[..., None]) -> Memory:
    """Return what a run before this one learnt; nothing, with a line that says why, where it is of no use here."""
    path = folder / STATE_FILE
    try:
        return Memory(ratios=read_state(path).ratios_for(profile.hash), profile_hash=profile.hash)
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError) as error:
        say(f"what was learnt before is left out: {error}", soft_wrap=True)
        return Memory()
