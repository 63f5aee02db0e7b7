"""What clients' libraries write around a request in HTTP/1.1 that is its own way to say the same."""

from __future__ import annotations

import pytest
from test_no_upgrade import BODY, LENGTH, answers
from virtual import virtual

POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
WIRES: dict[str, tuple[bytes, ...]] = {
    "curl waits before a large body": (POST + LENGTH + b"expect: 100-continue\r\n\r\n", BODY),
    "and does not wait for long": (POST + LENGTH + b"Expect: 100-Continue\r\n\r\n" + BODY,),
    "a body of unknown length": (
        POST + CHUNKED + b"\r\n5;name=value\r\n" + BODY[:5],
        b"\r\n%X\r\n%s\r\n0\r\nx-trailer: a\r\n\r\n" % (len(BODY) - 5, BODY[5:]),
    ),
    "a body of unknown length is waited with": (
        POST + CHUNKED + b"expect: 100-continue\r\n\r\n",
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    ),
    "a whole URL, as to a proxy": (POST.replace(b"POST /", b"POST http://a/") + LENGTH + b"\r\n" + BODY,),
    "an empty line between requests": (b"\r\n" + POST + LENGTH + b"\r\n" + BODY,),
}


@pytest.mark.parametrize("name", WIRES)
@virtual
async def test_a_request_is_read_however_it_is_written(name: str) -> None:
    assert await answers(*WIRES[name]) == [BODY]
