"""Why a model is not loaded or a batch refused. Apart from the engine: the routes answer while it imports torch."""

from __future__ import annotations


class LoadError(RuntimeError):
    """A model that cannot be loaded or does not do what its tier says; the message is one line."""


class UnknownTierError(LookupError):
    """A batch for a tier that is not resident here."""


class BatchError(ValueError):
    """A batch that cannot be made as it stands."""


class BusyError(Exception):
    """A batch is running already."""


class BatchCancelled(Exception):
    """Nobody waits for the batch that runs."""


class EngineUnavailable(Exception):
    """No image of a batch can be made at the moment; another worker, or a later time, may do. The message says why."""


class EndpointRefuses(EngineUnavailable):
    """An endpoint that is there refuses to make images: the key, the model or the path is not as it wants them."""


class NotReadyError(Exception):
    """The worker takes no batch now; the message says why."""
