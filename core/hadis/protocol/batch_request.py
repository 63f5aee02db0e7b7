"""The body of `POST /generate`: a batch as JSON or, where images are made from others, as parts.

Then the first part is the JSON, and one part follows for each input, which jobs name by its number from 0: no base64,
and images of one request share their inputs. Bytes are passed on as the client sent them.
"""

from __future__ import annotations

import json

from hadis.protocol.parts import CONTENT_TYPE, END, PART_END, PartReader, part, part_head
from hadis.protocol.worker import GenerateBatch

JSON = "application/json"
MOST_BATCH_BYTES = 600_000_000
"""A worker reads no larger body. A router holds less than that of inputs, so that no batch can be larger."""
_INPUT = "application/octet-stream"


def encode_batch(batch: GenerateBatch) -> tuple[str, list[bytes]]:
    """Return the content type of a batch and its body in pieces, of which the inputs are no copies."""
    document = batch.model_dump_json(by_alias=True, exclude_none=True).encode()
    if not batch.inputs:
        return JSON, [document]
    pieces = [part(JSON, document)]
    for data in batch.inputs:
        pieces += [part_head(_INPUT, len(data)), data, PART_END]
    return CONTENT_TYPE, [*pieces, END]


def decode_batch(content_type: str, body: bytes) -> GenerateBatch:
    """Return the batch in a body; raise ValueError whose lines say what is wrong."""
    inputs: tuple[bytes, ...] = ()
    if content_type.partition(";")[0].strip().lower() == "multipart/mixed":
        body, *others = _parts(body)
        inputs = tuple(others)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is no JSON: {error}") from None
    return GenerateBatch.read(document).with_inputs(inputs)


def _parts(body: bytes) -> list[bytes]:
    reader = PartReader()
    try:
        parts = reader.feed(body)
    except (ValueError, KeyError) as error:
        raise ValueError(f"the body's parts cannot be read: {error}") from None
    if not parts or not reader.ended:
        raise ValueError("the body is cut off")
    return [data for _, data in parts]
