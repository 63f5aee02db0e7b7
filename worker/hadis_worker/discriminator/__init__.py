"""The discriminator: a network that tells from an image and its prompt whether a light image is good enough.

It runs in the worker, in the same call as the light tier, so that pixels stay here. The profiler trains it and imports
it from here. Its folder holds `config.json`, `model.safetensors`, and where it reads by CLIP or
by a text encoder, that too.
"""

from hadis_worker.discriminator.base import Discriminator
from hadis_worker.discriminator.clip import ClipConfig, ClipDiscriminator, embed
from hadis_worker.discriminator.expected import ExpectedConfig, ExpectedDiscriminator
from hadis_worker.discriminator.load import load_discriminator, load_judge
from hadis_worker.discriminator.small import SmallConfig, SmallDiscriminator, pixels
from hadis_worker.discriminator.text_states import TextStates

__all__ = [
    "ClipConfig",
    "ClipDiscriminator",
    "Discriminator",
    "ExpectedConfig",
    "ExpectedDiscriminator",
    "SmallConfig",
    "SmallDiscriminator",
    "TextStates",
    "embed",
    "load_discriminator",
    "load_judge",
    "pixels",
]
