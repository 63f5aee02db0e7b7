"""The import of torch, diffusers and transformers: most of a worker's start, done in the thread that loads the models.

So the process answers meanwhile, and ends at once when it is told to.
"""

from __future__ import annotations

import gc
import logging
import time

log = logging.getLogger(__name__)


def import_libraries() -> None:
    """Import what the engine needs, without looking for garbage: looking takes an eighth of the time and finds none."""
    started = time.perf_counter()
    gc.disable()
    try:
        import diffusers
        import transformers
        from PIL import Image

        import hadis_worker.engine  # noqa: F401

        # Both libraries import what is behind a name when it is first asked for.
        _ = diffusers.DiffusionPipeline, transformers.PreTrainedModel
        Image.init()  # so does Pillow with formats: the first image of each would wait for it
        # What was imported stays, so later collections pass it over.
        gc.freeze()
    finally:
        gc.enable()
    log.info("imports took %.2f s", time.perf_counter() - started)
