"""`python -m hadis_worker preload`: import first, be told after that which worker to be.

`hadis up` keeps such a process beside its workers, so that one that died is back without the seconds of the imports.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hadis_worker.libraries import import_libraries

DEVICES = ("/dev/nvidia", "/dev/kfd")


def preload(variables: TextIO) -> bool:
    """Import what workers need, then take variables, a JSON object, into the environment once the input ends.

    Returns whether there were any; else whoever started this is gone. Where an import has opened a GPU already, it is
    too late to say which GPUs to see, and the process begins anew.
    """
    import uvicorn  # noqa: F401

    import hadis_worker.app
    import hadis_worker.service  # noqa: F401

    import_libraries()
    if not (text := variables.read()):
        return False
    os.environ.update(json.loads(text))
    if any(name.startswith(DEVICES) for name in _open_files()):
        os.execv(sys.executable, [sys.executable, "-m", "hadis_worker"])
    return True


def _open_files() -> Iterator[str]:
    """Yield the names of what this process has open; of nothing where the system has no /proc."""
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.is_dir() else ():
        try:
            yield str(entry.readlink())
        except OSError:  # the one that lists the folder
            continue
