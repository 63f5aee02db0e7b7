"""This machine's share for each worker of `hadis up`: an NVIDIA GPU of its own where there are any, and CPU threads.

GPUs are those that `nvidia-smi -L` lists, so that neither torch nor NVML is needed here.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hadis.protocol.threads import cpu_count, omp_threads

log = logging.getLogger(__name__)
_LIST_S = 30.0
"""A driver that is not loaded yet takes seconds for each GPU."""
_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class _Gpu:
    index: str
    uuid: str
    mig: tuple[str, ...] = ()
    """UUIDs of its MIG devices; where there are any, only they can compute."""


def list_devices(environment: Mapping[str, str], limit_s: float = _LIST_S) -> tuple[str, ...]:
    """Return the devices that a process with this environment may compute on; empty where there are none.

    Each is a value for a child's CUDA_VISIBLE_DEVICES. Without that variable they are the UUIDs of all GPUs in
    nvidia-smi's order, and of a GPU's MIG devices in its place. With it they are those that it names, in its order and
    as CUDA reads it: indices (kept, for CUDA may count otherwise than nvidia-smi), UUIDs or unique beginnings of them,
    MIG devices; a GPU with MIG devices stands for all of them; what follows a name that is not known does not count;
    empty is none. A machine without nvidia-smi has none; where it fails or takes over `limit_s`, a warning is logged.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return ()
    gpus = _parse(_nvidia_smi(limit_s))
    if visible is None:
        return tuple(device for gpu in gpus for device in gpu.mig or (gpu.uuid,))
    devices: list[str] = []
    for name in visible.split(","):
        named = _named(name.strip(), gpus)
        if not named:
            break
        devices += named
    return tuple(dict.fromkeys(devices))


def assign(devices: Sequence[str], workers: int, each: int = 1) -> tuple[str | None, ...]:
    """Return each worker's devices, `each` of them and of no other; all None (computing on the CPU) without devices.

    Raises ValueError, with one line for the user, where there are devices and more workers than them.
    """
    if not devices:
        return (None,) * workers
    if workers * each > len(devices):
        gpus, most = "1 GPU" if len(devices) == 1 else f"{len(devices)} GPUs", len(devices) // each
        takes, fewer = "one" if each == 1 else str(each), "--workers 1" if most == 1 else f"--workers {most} or fewer"
        use = fewer if most else "a smaller worker.gpusPerWorker"
        raise ValueError(f"{workers} workers, but this machine has {gpus}: each worker takes {takes}; use {use}")
    return tuple(",".join(devices[i * each : (i + 1) * each]) for i in range(workers))


def threads_per_worker(workers: int, environment: Mapping[str, str]) -> int:
    """Return the CPU threads of each of so many workers: OMP_NUM_THREADS, else a share of our CPUs; at least 1."""
    return omp_threads(environment.get("OMP_NUM_THREADS")) or max(1, cpu_count() // workers)


def _nvidia_smi(limit_s: float) -> str:
    """Return what `nvidia-smi -L` prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=limit_s, check=False)
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("nvidia-smi -L fails, so no GPU is used: %s", error)
        return ""
    if done.returncode:
        log.warning("nvidia-smi -L fails, so no GPU is used: %s", " ".join((done.stdout + done.stderr).split()))
        return ""
    return done.stdout


def _parse(text: str) -> tuple[_Gpu, ...]:
    gpus: list[_Gpu] = []
    for line in text.splitlines():
        if match := _GPU.match(line):
            gpus.append(_Gpu(match[1], match[2]))
        elif gpus and (match := _MIG.match(line)):
            last = gpus.pop()
            gpus.append(_Gpu(last.index, last.uuid, (*last.mig, match[1])))
    return tuple(gpus)


def _named(name: str, gpus: Sequence[_Gpu]) -> tuple[str, ...]:
    """Return the devices that one name of CUDA_VISIBLE_DEVICES stands for; none for a name that is not known."""
    if name.isascii() and name.isdigit():
        index = str(int(name))
        return next((gpu.mig or (index,) for gpu in gpus if gpu.index == index), ())
    if name.startswith("MIG-"):
        matches: list[tuple[str, ...]] = [(device,) for gpu in gpus for device in gpu.mig if device == name]
    elif name.startswith("GPU-"):
        matches = [gpu.mig or (gpu.uuid,) for gpu in gpus if gpu.uuid.startswith(name)]
    else:
        return ()
    return matches[0] if len(matches) == 1 else ()
