"""The discriminator: a network that tells from an image and its prompt whether a light image is good enough.

It runs in the worker, in the same call as the light tier, so that pixels stay here. The profiler trains it and imports
it from here. Its folder holds `config.json`, `model.safetensors`, and where it reads CLIP's features, CLIP in `clip/`.
"""

from hadis_worker.discriminator.base import Discriminator
from hadis_worker.discriminator.clip import ClipConfig, ClipDiscriminator, embed
from hadis_worker.discriminator.load import load_discriminator, load_judge
from hadis_worker.discriminator.small import SmallConfig, SmallDiscriminator

__all__ = [
    "ClipConfig",
    "ClipDiscriminator",
    "Discriminator",
    "SmallConfig",
    "SmallDiscriminator",
    "embed",
    "load_discriminator",
    "load_judge",
]
