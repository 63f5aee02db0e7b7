"""Settings of links to images: the public address of the service, and where images are kept."""

from __future__ import annotations

from typing import Annotated, Self

from hadis.api.links import PUBLIC_URL, SUB_PATH
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode


def listed(value: object) -> object:
    """Return the parts of a text with commas; what is no text as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
"""A list that an environment variable holds with commas between."""
_WithoutSlash = AfterValidator(lambda text: text.rstrip("/"))


class LinkSettings(BaseModel):
    """Where clients reach the service, and how long and where images that answers link to are kept."""

    public_url: Annotated[str, _WithoutSlash] | None = Field(
        None,
        pattern=PUBLIC_URL,
        description="URL by which clients reach the service, for links to images; default: what a trusted proxy says "
        "in X-Forwarded-Proto, -Host, -Port and -Prefix, or in Forwarded (`access.trustedProxies`), else the request's "
        "Host.",
    )
    root_path: Annotated[str, _WithoutSlash] = Field(
        "", pattern=f"^$|{SUB_PATH}", description="Sub-path of the service behind a proxy, for example /images."
    )
    link_expires_s: float = Field(600.0, ge=1, le=86_400, description="Seconds that a link to an image lives.")
    image_bytes: int = Field(
        64 * 2**20, ge=0, description="Most bytes of images behind links that are kept in memory; the oldest go first."
    )
    image_count: int = Field(1000, ge=0, description="Most images behind links that are kept in memory.")

    s3_bucket: str | None = Field(
        None,
        min_length=1,
        description="Bucket of an S3-compatible store that keeps images behind links, in place of memory; a lifecycle "
        "rule must delete what is older than links live.",
    )
    s3_endpoint: str | None = Field(None, pattern=r"^https?://\S+$", description="Default: that of AWS in the region.")
    s3_region: str = Field("us-east-1", min_length=1, description="Region of the bucket.")
    s3_access_key_id: str | None = Field(None, min_length=1, description="May put and get objects.")
    s3_secret_access_key: SecretStr | None = Field(
        None, description="Its secret; links are signed with what is made of it."
    )

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.s3_bucket and not (self.s3_access_key_id and self.s3_secret_access_key):
            raise ValueError(
                "HADIS_ROUTER_S3_BUCKET needs HADIS_ROUTER_S3_ACCESS_KEY_ID and HADIS_ROUTER_S3_SECRET_ACCESS_KEY"
            )
        return self
