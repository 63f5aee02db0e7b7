"""Who may come in: API keys, the service's own secret, addresses behind proxies; and the file of keys."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hadis.api.access import Access
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, DiffusionService
from hadis.planning.profile import Profile
from hadis_router.__main__ import _keys as keys_of
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.access import AccessControl
from hadis_router.http.keys import ApiKey, KeyFileError, KeyRing, read_keys
from hadis_router.settings import RouterSettings

SECRET = "s" * 32
IMAGES, STATUS = "/v1/images/generations", "/v1/hadis/status"


def line(key: str, more: str = "") -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()} {more}\n"


def control(tmp_path: Path, access: dict[str, object] | None = None, keys: bool = True) -> AccessControl:
    path = tmp_path / "keys"
    path.write_text("# ours\n\n" + line("shop-key", "name=shop weight=2") + line("night-key", "priority=batch"))
    return AccessControl(Access.read(access or {}), KeyRing(path) if keys else None, SECRET)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("path", "headers", "forwarded", "admitted"),
    [
        (IMAGES, bearer("shop-key"), False, True),
        (IMAGES, bearer("shop-kez"), False, False),
        (IMAGES, {}, False, False),
        (IMAGES, {"authorization": "Basic c2hvcC1rZXk="}, False, False),
        (STATUS, {}, False, False),
        ("/v1/hadis/events", {}, False, False),
        ("/v1/hadis/progress/a", {}, False, False),
        (STATUS, {"hadis-secret": SECRET}, False, True),
        (STATUS, {"hadis-secret": SECRET[1:]}, False, False),
        (IMAGES, {"hadis-secret": SECRET}, True, False),
        ("/healthz", {}, False, True),
        ("/readyz", {}, False, True),
        ("/", {}, False, True),
        ("/page/page.js", {}, False, True),
        ("/metrics", {}, False, True),
        ("/metrics", {"x-forwarded-for": "10.0.0.8"}, False, False),
        ("/metrics", {"forwarded": "for=10.0.0.8"}, False, False),
        ("/metrics", {"hadis-secret": SECRET}, False, True),
        ("/metrics", bearer("shop-key"), False, True),
    ],
)
def test_who_may_come_in(tmp_path: Path, path: str, headers: dict[str, str], forwarded: bool, admitted: bool) -> None:
    access = control(tmp_path)
    if admitted:
        access.admit(path, headers, "10.0.0.7", forwarded)
    else:
        with pytest.raises(ServeError) as refusal:
            access.admit(path, headers, "10.0.0.7", forwarded)
        assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")
        assert "shop" not in refusal.value.message


def test_without_keys_everybody_may(tmp_path: Path) -> None:
    assert control(tmp_path, keys=False).admit(IMAGES, {}, "10.0.0.7", False).client("ann") == "user:ann"


@pytest.mark.parametrize(
    ("host", "said", "admitted"),
    [
        ("10.244.1.7", None, True),
        ("100.64.3.1", None, True),
        ("fd00::7", None, True),
        ("127.0.0.1", None, True),
        ("203.0.113.9", None, False),
        ("2001:db8::7", None, False),
        (None, None, False),
        ("10.9.0.1", "203.0.113.9", False),
        ("10.9.0.1", "10.244.1.7", True),
    ],
)
def test_metrics_are_for_private_networks_by_default(
    tmp_path: Path, host: str | None, said: str | None, admitted: bool
) -> None:
    access = control(tmp_path, {"trustedProxies": ["10.9.0.0/16"]})
    headers = {} if said is None else {"x-forwarded-for": said}
    if admitted:
        access.admit("/metrics", headers, host, False)
    else:
        with pytest.raises(ServeError):
            access.admit("/metrics", headers, host, False)


def test_metrics_are_for_the_networks_that_are_named(tmp_path: Path) -> None:
    access = control(tmp_path, {"metricsFrom": ["10.1.0.0/16"]})
    access.admit("/metrics", {}, "10.1.2.3", False)
    access.admit("/metrics", {}, "::ffff:10.1.2.3", False)
    with pytest.raises(ServeError):
        access.admit("/metrics", {}, "10.2.0.1", False)
    access.admit("/metrics", {"hadis-secret": SECRET}, "10.2.0.1", False)


@pytest.mark.parametrize(
    ("host", "said", "forwarded", "address"),
    [
        ("10.0.0.7", "1.2.3.4", False, "10.0.0.7"),
        ("10.9.0.1", "1.2.3.4", False, "1.2.3.4"),
        ("10.9.0.1", "6.6.6.6, 1.2.3.4, 10.9.0.2", False, "1.2.3.4"),
        ("10.9.0.1", "", False, "10.9.0.1"),
        ("10.0.0.7", "1.2.3.4", True, "1.2.3.4"),
        (None, "1.2.3.4", False, None),
    ],
)
def test_x_forwarded_for_is_believed_of_trusted_proxies_alone(
    tmp_path: Path, host: str | None, said: str, forwarded: bool, address: str | None
) -> None:
    access = control(tmp_path, {"trustedProxies": ["10.9.0.0/16"]}, keys=False)
    assert access.admit(IMAGES, {"x-forwarded-for": said}, host, forwarded).address == address


def test_a_key_says_who_its_client_is_and_of_which_priority(tmp_path: Path) -> None:
    access = control(tmp_path)
    shop = access.admit(IMAGES, bearer("shop-key"), None, False)
    night = access.admit(IMAGES, bearer("night-key") | {"x-hadis-priority": "interactive"}, None, False)
    assert shop.client("ann") == "key:shop"
    assert night.client(None).startswith("sha256:") and len(night.client(None)) == len("sha256:") + 16
    assert (shop.batch, night.batch) == (False, True)
    assert access.admit(IMAGES, bearer("shop-key") | {"x-hadis-priority": "batch"}, None, False).batch
    with pytest.raises(ServeError, match="write interactive or batch"):
        assert access.admit(IMAGES, bearer("shop-key") | {"x-hadis-priority": "high"}, None, False).batch


def test_keys_are_rotated_while_the_router_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    path.write_text(line("old", "name=shop weight=2"))
    ring = KeyRing(path)
    weights = ring.weights
    draft = tmp_path / "draft"
    draft.write_text(line("new", "name=shop weight=3") + line("other"))
    draft.replace(path)
    ring.refresh()
    assert ring.find("old") is None
    assert ring.find("new") == ApiKey("key:shop", weight=3.0)
    assert weights["key:shop"] == 3.0
    path.write_text("oops, a-key-in-the-clear")
    ring.refresh()
    assert ring.find("new") is not None
    assert "line 1" in caplog.text and "a-key-in-the-clear" not in caplog.text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("my-secret-key name=shop", "must begin with sha256:"),
        (line("a", "weight=0"), "'weight'"),
        (line("a", "colour=red"), "'colour'"),
        (line("a", "name=" + "n" * 64), "'name'"),
        (line("a", "priority=high"), "'priority'"),
    ],
)
def test_a_line_that_is_wrong_is_named_by_its_number_alone(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "keys"
    path.write_text("\n" + text)
    with pytest.raises(KeyFileError, match="line 2: ") as error:
        read_keys(path)
    assert fault in str(error.value)
    assert "my-secret-key" not in str(error.value)


def test_no_keys_without_their_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        KeyRing(tmp_path / "nothing")


def test_a_network_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match="10\\.0\\.0\\.0/8"):
        Access.read({"trustedProxies": ["proxy.local"]})


def test_a_file_of_keys_is_beside_the_manifest_and_not_beside_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    spec = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 1}, "access": {"keys": {"file": "keys"}}}
    service = DiffusionService.read(
        {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
    )
    manifest = Manifest(service, profile.resource, tmp_path / "two")
    (tmp_path / "keys").write_text(line("shop-key"))
    monkeypatch.setenv("HADIS_ROUTER_MANIFEST", str(tmp_path / "service.yaml"))
    monkeypatch.setenv("HADIS_ROUTER_STATE_FILE", str(tmp_path / "state.json"))
    ring = keys_of(RouterSettings(), manifest)
    assert ring is not None and ring.find("shop-key") is not None
