"""The clients that are tried: how each is installed, and what its users change to use this service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Client:
    """A program in `programs/` that uses a client as its users do, and what the page says of it."""

    name: str
    title: str
    program: str
    configuration: str
    language: Literal["python", "js", "go", "yaml"] = "python"
    requirements: tuple[str, ...] = ()
    """Python packages beyond the tests' own, in an environment of their own."""


_OPENAI_PYTHON = 'from openai import OpenAI\n\nclient = OpenAI(base_url="http://SERVICE/v1", api_key="none")'
_LITELLM = "litellm[proxy]==1.108.7"
CLIENTS = (
    Client("openai-python", "openai (Python)", "openai_sync.py", _OPENAI_PYTHON),
    Client(
        "openai-python-async",
        "openai (Python, asynchronous)",
        "openai_async.py",
        'from openai import AsyncOpenAI\n\nclient = AsyncOpenAI(base_url="http://SERVICE/v1", api_key="none")',
    ),
    Client(
        "openai-node",
        "openai (Node)",
        "openai.mjs",
        'import OpenAI from "openai";\nconst client = new OpenAI({ baseURL: "http://SERVICE/v1", apiKey: "none" });',
        "js",
    ),
    Client(
        "openai-go",
        "openai-go",
        "main.go",
        'import "github.com/openai/openai-go/v3/option"\n'
        'client := openai.NewClient(option.WithBaseURL("http://SERVICE/v1"), option.WithAPIKey("none"))',
        "go",
    ),
    Client(
        "litellm-sdk",
        "LiteLLM",
        "litellm_sdk.py",
        "import litellm\n\n"
        'litellm.image_generation(prompt, model="openai/auto", api_base="http://SERVICE/v1", api_key="none")',
        requirements=(_LITELLM,),
    ),
    Client(
        "litellm-proxy",
        "LiteLLM's proxy",
        "litellm_proxy.py",
        "model_list:\n"
        "- model_name: gpt-image-1\n"
        "  litellm_params: {model: openai/gpt-image-1, api_base: http://SERVICE/v1, api_key: none}",
        "yaml",
        requirements=(_LITELLM,),
    ),
    Client(
        "vercel-ai",
        "Vercel AI SDK",
        "vercel.mjs",
        'import { createOpenAICompatible } from "@ai-sdk/openai-compatible";\n'
        'const hadis = createOpenAICompatible({ name: "hadis", baseURL: "http://SERVICE/v1", apiKey: "none" });',
        "js",
    ),
    Client(
        "langchain",
        "LangChain's DallEAPIWrapper",
        "langchain_wrapper.py",
        "from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper\n\n"
        'wrapper = DallEAPIWrapper(base_url="http://SERVICE/v1", api_key="none")',
        requirements=("langchain-community==0.4.2", "openai==3.57.0"),
    ),
    Client(
        "semantic-kernel",
        "Semantic Kernel",
        "semantic_kernel_service.py",
        'client = AsyncOpenAI(base_url="http://SERVICE/v1", api_key="none")\n'
        'service = OpenAITextToImage(ai_model_id="gpt-image-1", async_client=client)',
        requirements=("semantic-kernel==1.45.0",),
    ),
)
CASES = {
    "generate": "the default request with the model's name that the client's own examples use",
    "several": "two images with one call",
    "size": "a size that the models do not make, with the fields that go with it (`quality`, `style`)",
    "url": "`response_format: url`, and the image from that URL",
    "stream": "`stream: true`, to its last event",
    "edit": "an image that was made, changed by a second prompt",
    "refusal": "a model that is not there is the client's own error for that",
    "models": "the list of models, and one of them",
}
"""What the programs try, in the order of the page's columns."""
