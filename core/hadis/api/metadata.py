"""What the custom resources have in common: their API version and metadata."""

from __future__ import annotations

from hadis.api.fields import Fields, Name

API_VERSION = "hadis.dev/v1alpha1"


class Metadata(Fields):
    """The part of Kubernetes' object metadata that one machine needs."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
