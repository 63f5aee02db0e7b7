"""A tier's scheduler, where it is not the one that its model brings."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
from hadis.api.pipeline import Scheduler

from hadis_worker.errors import LoadError


def scheduler_of(settings: Scheduler, own: Any) -> Any:
    """Return the scheduler that a tier asks for, made of its model's; raise LoadError, or ImportError."""
    if settings == Scheduler():
        return own
    kind = _class(settings.class_) if settings.class_ else type(own)
    for name in settings.arguments:
        if name not in inspect.signature(kind).parameters:
            raise LoadError(f"scheduler.arguments.{name}: no argument of {kind.__name__}")
    return kind.from_config(own.config, **settings.arguments)


def _class(name: str) -> Any:
    kind: Any = getattr(diffusers, name, None)
    if hasattr(kind, "set_timesteps"):
        return kind
    if hasattr(kind, "_backends"):
        kind()  # it stands for a class whose library is missing, and says which
    raise LoadError(f"scheduler: diffusers {diffusers.__version__} has no scheduler {name}")
