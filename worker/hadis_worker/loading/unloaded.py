"""A tier's settings, looked at before its weights are there: by its pipeline's class, its configs, and modules without
memory for weights (torch's meta device), which say what they are made of all the same."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from hadis.api.pipeline import Scheduler
from hadis.api.speed import DENOISERS
from hadis.api.tier import Tier

from hadis_worker.loading.components import class_of, config_file
from hadis_worker.loading.scheduler import scheduler_of
from hadis_worker.loading.sources import file_of
from hadis_worker.speed.apply import apply
from hadis_worker.speed.quantization import quantization_configs

log = logging.getLogger(__name__)
_WITH_CONFIGS = (*DENOISERS, "vae")


def check_settings(tier: Tier, folder: Path, index: Mapping[str, Any], kind: Any) -> Any:
    """Raise LoadError for what a tier does to a pipeline of class `kind` and cannot be done; fetches configs alone.

    Returns a pipeline without weights that can be asked how it is called; None where there is none. Raises what
    diffusers and the hub's client raise too.
    """
    always_fused = [name for name in getattr(kind, "_lora_loadable_modules", ()) if name in DENOISERS]
    quantization_configs(tier, index, always_fused if tier.loras else (), getattr(torch, tier.dtype))
    _check_scheduler(tier, folder, index)
    if (pipeline := _without_weights(tier, folder, index, kind)) is None:
        return None
    in_memory = tier.speed.model_copy(update={"offload": "none"})  # there is nothing to move
    apply(tier.model_copy(update={"speed": in_memory}), pipeline, "cpu")
    return pipeline if index.get("guider") is None else None  # what guides may be asked for its scale


def _check_scheduler(tier: Tier, folder: Path, index: Mapping[str, Any]) -> None:
    if tier.scheduler == Scheduler():
        return
    name = index["scheduler"][1]
    config = file_of(folder, tier.model, "scheduler/scheduler_config.json", tier.revision)
    scheduler_of(tier.scheduler, getattr(diffusers, name).from_config(json.loads(config.read_text("utf-8"))))


def _without_weights(tier: Tier, folder: Path, index: Mapping[str, Any], kind: Any) -> Any:
    """Return a pipeline that has what denoises and the VAE, on the meta device; None where it cannot be made there."""
    pipeline = kind.__new__(kind)
    defaults = {name: p.default for name, p in inspect.signature(kind.__init__).parameters.items() if name != "self"}
    scalars = {name: value for name, value in index.items() if not isinstance(value, list | tuple)}
    pipeline.register_to_config(**{**dict.fromkeys(index, None), **defaults, **scalars})
    for name in _WITH_CONFIGS:
        if not any(index.get(name) or ()):
            continue
        config = json.loads(config_file(tier, folder, name).read_text("utf-8"))
        try:
            with torch.device("meta"):
                module = class_of(index[name], config).from_config(config)
        except Exception as error:  # a class may compute with its weights where it is made
            log.info("tier %s: its %s cannot be looked at before it is loaded: %s", tier.name, name, error)
            return None
        setattr(pipeline, name, module)
    return pipeline
