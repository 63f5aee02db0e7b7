"""Where credentials for Prometheus come from: Secrets that a service names, or the folder of the chart's Secret."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from hadis.api.prometheus import Prometheus
from hadis.api.remote import SecretKey
from hadis.kube.client import ApiError, Kube

from hadis_operator.credentials import (
    CA,
    CERTIFICATE,
    KEY,
    PARTS,
    PASSWORD,
    TOKEN,
    USERNAME,
    Credentials,
    make_credentials,
)
from hadis_operator.demand_sources import DemandError

_LOOK_EVERY_S = 300.0
_LOOK_AGAIN_S = 30.0
"""The same after Prometheus refused them, or where they could not be read."""


class CredentialSource:
    """The credentials of one service, read anew now and then: Secrets are rotated."""

    def __init__(self, kube: Kube, namespace: str, folder: str) -> None:
        """`folder` has those of the address that services get which name none; empty: there are none."""
        self._kube, self._path = kube, f"/api/v1/namespaces/{namespace}/secrets"
        self._folder = Path(folder) if folder else None
        self._namespace = namespace
        self._of: Prometheus | None = None
        self._values: Mapping[str, bytes] = {}
        self._credentials: Credentials | DemandError = Credentials()
        self._look_s = float("-inf")

    async def get(self, prometheus: Prometheus | None) -> Credentials:
        """Return what to show a service's Prometheus (None: the chart's); raise DemandError where it cannot be had."""
        now_s = asyncio.get_running_loop().time()
        if prometheus != self._of or now_s >= self._look_s:
            await self._look(prometheus, now_s)
        if isinstance(self._credentials, DemandError):
            raise self._credentials
        return self._credentials

    def doubt(self) -> None:
        """Look again soon: what was shown was refused."""
        self._look_s = min(self._look_s, asyncio.get_running_loop().time() + _LOOK_AGAIN_S)

    async def _look(self, prometheus: Prometheus | None, now_s: float) -> None:
        same, self._of = prometheus == self._of and isinstance(self._credentials, Credentials), prometheus
        self._look_s = now_s + _LOOK_EVERY_S
        try:
            values = self._files() if prometheus is None else await self._secrets(prometheus)
            if not same or values != self._values:  # else connections are kept
                name = prometheus.tls.server_name if prometheus and prometheus.tls else None
                self._credentials = make_credentials(values, name)
            self._values = values
        except ApiError as error:
            self._look_s = now_s + _LOOK_AGAIN_S
            if not same:  # those of before are as good as before
                self._credentials = DemandError("SecretUnreadable", f"credentials for Prometheus: {error}")
        except DemandError as error:
            self._look_s, self._credentials = now_s + _LOOK_AGAIN_S, error

    async def _secrets(self, prometheus: Prometheus) -> dict[str, bytes]:
        keys = _keys(prometheus)
        secrets = {name: await self._secret(name) for name in {key.name for key in keys.values()}}
        return {part: self._value(secrets[key.name], key) for part, key in keys.items()}

    async def _secret(self, name: str) -> Mapping[str, str]:
        try:
            data: Mapping[str, str] = (await self._kube.get(f"{self._path}/{name}")).get("data") or {}
        except ApiError as error:
            if error.status != 404:
                raise
            text = f"there is no Secret {name} in namespace {self._namespace}; metrics.prometheus names it"
            raise DemandError("SecretMissing", text) from None
        return data

    @staticmethod
    def _value(data: Mapping[str, str], key: SecretKey) -> bytes:
        if key.key not in data:
            raise DemandError("SecretMissing", f"the Secret {key.name} has no key {key.key}")
        try:
            return base64.b64decode(data[key.key])
        except binascii.Error:
            raise DemandError("BadSecret", f"the key {key.key} of the Secret {key.name} cannot be read") from None

    def _files(self) -> dict[str, bytes]:
        """Return the parts that are in the folder; kubelet keeps it as the Secret is."""
        if self._folder is None:
            return {}
        return {part: (self._folder / part).read_bytes() for part in PARTS if (self._folder / part).is_file()}


def _keys(prometheus: Prometheus) -> dict[str, SecretKey]:
    """Return where the parts are that a service names."""
    basic, tls = prometheus.basic_auth, prometheus.tls
    keys = {
        USERNAME: basic.username if basic else None,
        PASSWORD: basic.password if basic else None,
        TOKEN: prometheus.bearer_token,
        CA: tls.ca if tls else None,
        CERTIFICATE: tls.certificate if tls else None,
        KEY: tls.key if tls else None,
    }
    return {part: key for part, key in keys.items() if key is not None}
