"""The input images of a job, as bytes that a store keeps."""

from __future__ import annotations

import json

from hadis.protocol.parts import END, PartReader, part

from hadis_router.dispatch.edit import EditInputs

_HEAD, _INPUT = "application/json", "application/octet-stream"


def packed(edit: EditInputs) -> bytes:
    """Return inputs as bytes: what they are as JSON, then each image, as it came. Takes milliseconds."""
    head = {"size": edit.size, "strength": edit.strength, "mask": edit.mask is not None}
    return b"".join([part(_HEAD, json.dumps(head).encode()), *(part(_INPUT, data) for data in edit.files), END])


def unpacked(data: bytes) -> EditInputs:
    """Return the inputs that `packed` gave as bytes; raise ValueError or KeyError for others."""
    reader = PartReader()
    parts = reader.feed(data)
    if not reader.ended:
        raise ValueError("the inputs are cut off")
    (_, head), *files = parts
    said, images = json.loads(head), [image for _, image in files]
    mask = images.pop() if said["mask"] else None
    return EditInputs(tuple(images), mask, said["strength"], tuple(said["size"]))
