"""What a profile foretells of a worker, against what the worker then does: a pipeline on disk, and both from there."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
import transformers
from families.parts import clip, tokenizer
from hadis.api.manifest import write_profile
from hadis.api.resources import API_VERSION, CascadeProfile
from hadis.api.tier import TierSettings
from hadis.protocol.worker import decode_answer
from hadis_profiler.offline.latency import TierLatency, batch_latencies, measure
from hadis_profiler.offline.spec import Run, RunSpec
from rich.progress import Progress

from bench_gpu.models import REAL, tiny
from bench_gpu.weights import random_pipeline

BATCHES = (1, 2, 4)
_STEPS = {"few-steps": 4, "more-steps": 8}
_REQUESTS = 5
_POLL_S, _REQUEST_S = 0.2, 60.0
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}


@dataclass(frozen=True)
class Prediction:
    """A batch of a tier: what the profile says, and what became of it (medians)."""

    tier: str
    batch: int
    profile_s: float
    worker_s: float
    """As the worker says: without encoding."""
    request_s: float
    """As its caller sees it."""


def predictions(device: str, dtype: torch.dtype, small: bool, ready_s: float) -> list[Prediction]:
    """Profile SDXL with random weights, start a worker with that profile, and ask it; `ready_s` to be ready at most.

    Raises RuntimeError where the worker fails, and what the profiler raises.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save_model(folder / "model", device, dtype, small)
        tiers = _tiers("64x64" if small else "1024x1024")
        limit = "300ms" if small else "4s"
        spec = RunSpec(name="bench-gpu", tiers=tiers, prompts="none", batches=BATCHES, seconds_per_point=limit)
        with Progress(disable=True) as progress:
            measured = measure(Run(spec, folder, folder / "work"), device, progress, print)
        _write_profile(folder / "profile.yaml", tiers, measured)
        with _worker(folder, device, ready_s) as url:
            return [
                Prediction(tier, point.batch, point.p50_s, *_ask(url, tier, point.batch))
                for tier, latency in measured.items()
                for point in latency.points
            ]


def _tiers(size: str) -> tuple[TierSettings, ...]:
    return tuple(TierSettings(name=name, model="model", steps=steps, size=size) for name, steps in _STEPS.items())


def _save_model(folder: Path, device: str, dtype: torch.dtype, small: bool) -> None:
    family = tiny(REAL["sdxl"]) if small else REAL["sdxl"]
    with torch.device(device):
        first = clip() if small else _clip(_CLIP_L, projection=False)
        second = clip(projection=True) if small else _clip(_CLIP_G, projection=True)
    words = tokenizer()
    pipeline = random_pipeline(
        family,
        device,
        dtype,
        text_encoder=first.to(dtype),
        text_encoder_2=second.to(dtype),
        tokenizer=words,
        tokenizer_2=words,
    )
    pipeline.save_pretrained(folder)


def _clip(sizes: Mapping[str, int], projection: bool) -> Any:
    """Return a CLIP text encoder of real size that reads the few tokens of the tests' tokenizer."""
    config = transformers.CLIPTextConfig(**{**clip(projection).config.to_dict(), **sizes})
    config.projection_dim = config.hidden_size
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def _write_profile(path: Path, tiers: Sequence[TierSettings], measured: Mapping[str, TierLatency]) -> None:
    rows = [
        {"light": tier.name, "heavy": tier.name, "directRatio": 0, "deferralRatio": 0, "quality": 1, "cost": 1}
        for tier in tiers
    ]
    document = {
        "apiVersion": API_VERSION,
        "kind": "CascadeProfile",
        "metadata": {"name": "bench-gpu"},
        "spec": {
            "tiers": [tier.model_dump() | {"latency": batch_latencies(measured[tier.name])} for tier in tiers],
            "difficulty": {"features": ["prompt_length"], "mean": [0], "std": [1], "weights": [1], "quantiles": [0, 1]},
            "configurations": rows,
        },
    }
    write_profile(path, CascadeProfile.read(document))


@contextlib.contextmanager
def _worker(folder: Path, device: str, ready_s: float) -> Iterator[str]:
    """Run a worker until the end of the block; yield its address once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "MANIFEST": folder / "profile.yaml",
        "PORT": port,
        "DEVICE": device,
        "THREADS": torch.get_num_threads(),  # as was profiled
    }
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | {f"HADIS_WORKER_{k}": str(v) for k, v in settings.items()}
    log = folder / "worker.log"
    with log.open("w") as errors:
        process = subprocess.Popen([sys.executable, "-m", "hadis_worker"], env=environment, stderr=errors)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log, ready_s)
        yield url
    finally:
        process.kill()
        process.wait(_REQUEST_S)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, ready_s: float) -> None:
    end = time.monotonic() + ready_s
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=_REQUEST_S).is_success:
                return
        time.sleep(_POLL_S)
    last = (log.read_text("utf-8").splitlines() or ["it said nothing"])[-1]
    raise RuntimeError(f"the worker was not ready in {ready_s:.0f} s: {last}")


def _ask(url: str, tier: str, batch: int) -> tuple[float, float]:
    """Return the median seconds of a batch as the worker has them, and of the whole request."""
    worker_s, request_s = [], []
    for number in range(_REQUESTS):
        jobs = [{"id": str(i), "prompt": "a red bicycle in the rain", "seed": number + i} for i in range(batch)]
        began = time.perf_counter()
        answer = httpx.post(f"{url}/generate", json={"tier": tier, "jobs": jobs}, timeout=_REQUEST_S)
        request_s.append(time.perf_counter() - began)
        answer.raise_for_status()
        result, _ = decode_answer(answer.content)[0]
        if result.error is not None:
            raise RuntimeError(f"the worker's batch of {batch} failed: {result.error}")
        worker_s.append(result.service_s)
    return statistics.median(worker_s), statistics.median(request_s)
