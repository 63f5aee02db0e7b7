"""The clients that are tried: how each is installed, and which calls it does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CASES = {
    "generate": "the default request with the model's name that the client's own examples use",
    "several": "two images with one call",
    "size": "a size that the models do not make, with the fields that go with it (`quality`, `style`)",
    "url": "`response_format: url`, and the image from that URL by the HTTP library that the client itself uses",
    "stream": "`stream: true`, to its last event",
    "edit": "an image that was made, changed by a second prompt",
    "variation": "an image that was made, varied",
    "refusal": "a model that is not there is the client's own error for that",
    "models": "the list of models, one of them, and an alias",
}
"""What the programs try, in the order of the page's columns."""


@dataclass(frozen=True)
class Client:
    """A program in `programs/` that uses a client as its users do."""

    name: str
    title: str
    program: str
    language: Literal["python", "js", "go", "yaml"] = "python"
    """Of what its users write to use this service; a program in Python may write YAML."""
    requirements: tuple[str, ...] = ()
    """Python packages beyond the tests' own, in an environment of their own."""
    lacks: tuple[str, ...] = ()
    """The cases for which it has no call."""


_LITELLM = "litellm[proxy]==1.108.7"
CLIENTS = (
    Client("openai-python", "openai (Python)", "openai_sync.py"),
    Client("openai-python-async", "openai (Python, asynchronous)", "openai_async.py"),
    Client("openai-node", "openai (Node)", "node/openai.mjs", "js"),
    Client("openai-go", "openai-go", "go/main.go", "go"),
    Client(
        "litellm-sdk",
        "LiteLLM",
        "litellm_sdk.py",
        requirements=(_LITELLM,),
        lacks=("stream",),
    ),
    Client(
        "litellm-proxy",
        "LiteLLM's proxy",
        "litellm_proxy.py",
        "yaml",
        requirements=(_LITELLM,),
        lacks=("stream", "variation"),
    ),
    Client(
        "vercel-ai",
        "Vercel AI SDK",
        "node/vercel.mjs",
        "js",
        lacks=("url", "stream", "variation", "models"),
    ),
    Client(
        "langchain",
        "LangChain's DallEAPIWrapper",
        "langchain_wrapper.py",
        requirements=("langchain-community==0.4.2", "openai==3.57.0"),
        lacks=("stream", "edit", "variation", "models"),
    ),
    Client(
        "semantic-kernel",
        "Semantic Kernel",
        "semantic_kernel_service.py",
        requirements=("semantic-kernel==1.45.0",),
        lacks=("stream", "variation", "models"),
    ),
)
