"""Clients that offer to go on in another protocol: they are served in the one that they came in, HTTP/1.1.

Java's own client offers HTTP/2 (`Upgrade: h2c`) with each first request to a server without TLS. A server may ignore
that (RFC 9110, section 7.8). uvicorn's parser ends the request with its head, and would serve it without its body.
"""

from __future__ import annotations

import sys

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class NoUpgradeProtocol(HttpToolsProtocol):
    """Reads a request that offers another protocol once more, as one that does not."""

    _received = b""

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._received = data
        super().data_received(data)
        self._received = b""

    def on_headers_complete(self) -> None:
        """Go on, unless the request is to be read once more."""
        if not self._offers_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request, unless it is to be read once more."""
        if not self._offers_upgrade():
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Read the request once more; uvicorn calls this as it handles the parser's exception, to log a warning."""
        upgrade = sys.exception()
        if not self._offers_upgrade() or not isinstance(upgrade, httptools.HttpParserUpgrade):
            return
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        headers = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(headers))
        rest = self._received[upgrade.args[0] :]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self.data_received(head + rest)

    def _offers_upgrade(self) -> bool:
        # CONNECT is taken for an upgrade too, whatever its headers say.
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
