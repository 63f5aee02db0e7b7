"""A tier that an endpoint elsewhere makes: an engine that a team runs already, behind OpenAI's images API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from hadis.api.fields import Fields, PositiveDuration
from hadis.api.pipeline import Text
from hadis.api.rules import in_kubernetes

KEY_VARIABLE = "HADIS_WORKER_API_KEY"
"""Where a worker finds the API key that comes from a Secret."""
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Extra = Literal["seed", "negative_prompt", "num_inference_steps", "guidance_scale", "response_format"]
_SENT = frozenset({"model", "prompt", "n", "size", "seed", "negative_prompt", "num_inference_steps", "guidance_scale"})


class SecretKey(Fields):
    """A key of a Secret in the service's namespace."""

    # Operators ask for it by a path: no other may be meant by a name.
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, description="Name of the Secret.")
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key of the Secret's data.")


class Remote(Fields):
    """An endpoint that speaks OpenAI's images API."""

    rules = (
        in_kubernetes(
            "!has(self.apiKeyEnv) || has(self.apiKeySecret)",
            "apiKeyEnv: pods get an API key from a Secret alone; write apiKeySecret too",
        ),
    )
    url: str = Field(pattern=r"^https?://[^\s/]\S*$", description="Base of the API, such as http://engine:8000/v1.")
    model: Text | None = Field(None, description="What the endpoint calls the model; default: the tier's model.")
    slots: int = Field(
        ge=1,
        le=256,
        description="Batches that the endpoint makes at one time for this service, a worker process for each. "
        "The images of a batch are asked for at once.",
    )
    accepts: tuple[Extra, ...] = Field(
        ("seed", "response_format"),
        max_length=8,  # bounded, for the API server to know what its rules cost
        description="What requests may hold beside model, prompt, n and size. Empty for OpenAI's own models.",
    )
    api_key_secret: SecretKey | None = Field(None, description="In Kubernetes: where the API key is.")
    api_key_env: Variable | None = Field(
        None,
        description=f"Variable of the worker's environment that holds the API key; with a Secret: {KEY_VARIABLE}.",
    )
    timeout: PositiveDuration = Field("60s", description="Longest time for an image, retries included.")

    @property
    def key_variable(self) -> str | None:
        """Name of the environment's variable with the API key; None where there is no key."""
        return self.api_key_env or (KEY_VARIABLE if self.api_key_secret else None)


EXTRA_OF = {"guidance": "guidance_scale", "negativePrompt": "negative_prompt"}
"""Settings of a remote tier that act by what its requests hold."""


def check_remote(remote: Remote, set_fields: set[str], call: dict[str, Any]) -> None:
    """Raise ValueError for a remote tier's other settings that could not act.

    `set_fields` are the names (camelCase) of the tier's settings that differ from their defaults.
    """
    if local := sorted(set_fields - {"guidance", "negativePrompt", "tunable"}):
        raise ValueError(f"remote: {local[0]} is for tiers whose weights a worker loads; leave it out")
    tunable = ("tunable", ("num_inference_steps", "guidance_scale"))
    for field, extras in (*((field, (extra,)) for field, extra in EXTRA_OF.items()), tunable):
        missing = [extra for extra in extras if extra not in remote.accepts]
        if field in set_fields and missing:
            raise ValueError(
                f"{field}: the endpoint is not told; write {missing[0]} in remote.accepts, if it takes that"
            )
    if twice := sorted(_SENT & call.keys()):
        raise ValueError(f"call.{twice[0]}: HADIS sets it")
