"""Bodies of others, read no further than they may be long: who lies must not fill the operator's memory."""

from __future__ import annotations

import aiohttp

_CHUNK_BYTES = 64 * 1024


async def read_bounded(answer: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """Return an answer's body; raise ValueError where it is over `most_bytes`."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > most_bytes:
            raise ValueError(f"the answer is over {most_bytes} bytes")
    return bytes(body)
