"""What a pipeline makes of its latents: of each step, and of the last ones.

A pipeline tells the latents that a step leaves, which are mostly noise for long. The clean image that the step predicts
goes no further than the scheduler, so it is caught there; likewise what is decoded, at the VAE.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import FlowMatchLCMScheduler
from numpy.typing import NDArray
from torch import Tensor


class LatentsWatch:
    """What was seen of one call of a pipeline."""

    def __init__(self) -> None:
        """See nothing yet."""
        self.latents: Tensor | None = None
        """After the last step."""
        self.clean: Tensor | None = None
        """What the last step predicts that they will be after all; where its scheduler does not say, `latents`."""
        self.decoded: list[Tensor] = []
        """What the VAE was given, call by call."""

    @contextlib.contextmanager
    def steps_of(self, scheduler: Any) -> Iterator[None]:
        """See what a scheduler makes of each step meanwhile."""
        step = scheduler.step

        @functools.wraps(step)  # pipelines look which arguments it takes
        def watched(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            made = step(model_output, timestep, sample, *args, **kwargs)
            self._see(made, scheduler, model_output, sample)
            return made

        with _in_place(scheduler, "step", watched):
            yield

    @contextlib.contextmanager
    def decoded_by(self, vae: Any) -> Iterator[None]:
        """See what a VAE decodes meanwhile."""
        decode = vae.decode

        @functools.wraps(decode)
        def watched(z: Any, *args: Any, **kwargs: Any) -> Any:
            self.decoded.append(z)
            return decode(z, *args, **kwargs)

        with _in_place(vae, "decode", watched):
            yield

    def _see(self, made: Any, scheduler: Any, model_output: Any, sample: Any) -> None:
        if isinstance(made, tuple):
            latents, clean = made[0], made[1] if len(made) > 1 else None
        else:
            latents, clean = (getattr(made, name, None) for name in ("prev_sample", "pred_original_sample"))
        if clean is None:
            clean = _clean(scheduler, model_output, sample)
        is_clean = isinstance(clean, Tensor) and isinstance(latents, Tensor) and clean.shape == latents.shape
        self.latents = latents if isinstance(latents, Tensor) else None
        self.clean = clean if is_clean else self.latents


def _clean(scheduler: Any, model_output: Any, sample: Any) -> Any:
    """Return the prediction of a scheduler whose step does not return it; None where it is not known."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler | FlowMatchLCMScheduler):
        # The flow leads from the image to the noise, straight on: sample = clean + sigma * flow.
        return sample - scheduler.sigmas[(scheduler.step_index or 1) - 1] * model_output
    holds_clean = getattr(scheduler.config, "predict_x0", False)  # UniPC
    holds_clean = holds_clean or "++" in str(getattr(scheduler.config, "algorithm_type", ""))  # DPM-Solver
    outputs = getattr(scheduler, "model_outputs", None)
    return outputs[-1] if holds_clean and outputs else None


def on_cpu(latents: Tensor) -> NDArray[Any]:
    """Return latents as they can be kept while the device goes on."""
    array: NDArray[Any] = latents.detach().to("cpu", torch.float32).numpy()
    return array


@contextlib.contextmanager
def _in_place(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Put a function in the place of an object's method, and take it away again."""
    own = vars(owner).get(name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
