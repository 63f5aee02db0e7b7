"""LitServe's side of bench_router: one picture for every prompt. LitServe pickles its API, so it has a module."""

from __future__ import annotations

import base64
import random
import sys

import litserve


class Api(litserve.LitAPI):  # type: ignore[misc]  # untyped
    """Answers at once with 64 KB, as base64 in JSON."""

    def setup(self, device: str) -> None:
        """Make the picture."""
        self.text = base64.b64encode(random.Random(0).randbytes(64 * 1024)).decode()

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the prompt."""
        return request["prompt"]

    def predict(self, prompt: str) -> str:
        """Return the picture."""
        return self.text

    def encode_response(self, output: str) -> dict[str, object]:
        """Return OpenAI's form."""
        return {"created": 0, "data": [{"b64_json": output}]}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
