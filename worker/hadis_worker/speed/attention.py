"""The attention backend of a denoiser."""

from __future__ import annotations

import difflib
from typing import Any

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain


def set_attention(name: str, denoiser: Any) -> None:
    """Have a denoiser's attention computed by a backend; raise LoadError where it cannot be."""
    # Late, for it imports torch's compiler.
    from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend

    backends = [backend.value for backend in AttentionBackendName]
    if name not in backends:
        near = difflib.get_close_matches(name, backends, n=1)
        raise LoadError(f"attention: there is no {name}; {f'is it {near[0]}?' if near else ', '.join(backends)}")
    if not any(hasattr(processor, "_attention_backend") for processor in _processors(denoiser)):
        # diffusers says nothing of it.
        raise LoadError(f"attention: {type(denoiser).__name__} has one attention only, which is torch's; leave it out")
    try:
        # The call makes the backend the default of every model in the process; leaving the context undoes that.
        with attention_backend():
            denoiser.set_attention_backend(name)
    except Exception as error:  # some raise RuntimeError, some what the hub's client or a kernel's import raises
        raise LoadError(f"attention: {name} cannot be used: {explain(error)}") from error


def _processors(denoiser: Any) -> list[Any]:
    return [module.processor for module in denoiser.modules() if hasattr(module, "processor")]
