"""Memory and utilisation of the worker's GPU, from NVML; where there is none, every reading is None.

Libraries are imported late: the routes need the types alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuReading:
    """Memory in use (bytes, of all processes on the GPU) and share of time that it was busy (0..1)."""

    memory_bytes: int | None = None
    utilization: float | None = None


def pick_device(setting: str) -> str:
    """Return "cuda" or "cpu"; raise ValueError where CUDA is asked for and there is none."""
    import torch

    if setting == "cuda" and not torch.cuda.is_available():
        raise ValueError("HADIS_WORKER_DEVICE is cuda, but torch finds no NVIDIA GPU; set it to auto or cpu")
    return "cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu"


class Gpu:
    """The GPU that torch computes on, as NVML sees it."""

    def __init__(self, device: str) -> None:
        """Find the GPU of a device ("cuda" or "cpu"); one that NVML does not know is logged and reads None."""
        self._handle: Any = None
        self.name = "cpu"
        if device == "cpu":
            log.info("no NVIDIA GPU in use: computing on the CPU, GPU memory and utilisation are not reported")
            return
        import pynvml
        import torch

        properties = torch.cuda.get_device_properties(0)
        self.name = properties.name
        try:
            pynvml.nvmlInit()
            # By UUID: CUDA_VISIBLE_DEVICES numbers GPUs otherwise than NVML does.
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        except pynvml.NVMLError as error:
            log.warning("NVML cannot read %s (%s): its memory and utilisation are not reported", self.name, error)

    def read(self) -> GpuReading:
        """Return what the GPU uses now; takes well under a millisecond."""
        if self._handle is None:
            return GpuReading()
        import pynvml

        try:
            memory = int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except pynvml.NVMLError:
            return GpuReading()
        try:
            return GpuReading(memory, pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100)
        except pynvml.NVMLError:
            # A MIG device reports its memory but no utilisation.
            return GpuReading(memory)
