"""What a service says of links and long jobs is what its routers read from their environment."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.api.workload import RouterPods
from hadis_operator.children.common import Owner
from hadis_operator.children.router_links import links_env
from hadis_router.settings import RouterSettings

OWNER = Owner("pictures", "shop", "uid")
SECRETS = {
    ("s3", "accessKeyId"): "key",
    ("s3", "secretAccessKey"): "hidden",
    ("redis", "url"): "redis://:hidden@redis/0",
    ("hooks", "secret"): "whsec_" + "QUJD" * 8,
}
SPEC: dict[str, Any] = {
    "links": {
        "publicUrl": "https://pictures.example/ai",
        "rootPath": "/ai",
        "bucket": {"name": "pictures", "endpoint": "http://s3:9000", "secret": "s3"},
    },
    "jobs": {"redisSecret": "redis", "webhooks": {"hosts": ["hooks.example", "*.hooks.example"], "secret": "hooks"}},
}


def test_a_router_reads_what_the_service_says(monkeypatch: pytest.MonkeyPatch) -> None:
    router = RouterPods.read(SPEC)
    env = links_env(OWNER, router.links, router.jobs)
    assert "hidden" not in str(env)
    for variable in env:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        value = SECRETS[reference["name"], reference["key"]] if reference else variable["value"]
        monkeypatch.setenv(variable["name"], value)
    monkeypatch.setenv("HADIS_ROUTER_MANIFEST", "x")
    monkeypatch.setenv("HADIS_ROUTER_KUBERNETES", "shop/pictures")
    read = RouterSettings()
    assert (read.public_url, read.root_path) == ("https://pictures.example/ai", "/ai")
    assert (read.s3_bucket, read.s3_endpoint, read.s3_access_key_id) == ("pictures", "http://s3:9000", "key")
    assert read.redis_prefix == "hadis:shop/pictures"
    assert read.webhook_hosts == ("hooks.example", "*.hooks.example")
    for secret in (read.s3_secret_access_key, read.redis_url, read.webhook_secret):
        assert secret is not None
        assert secret.get_secret_value() in SECRETS.values()
    assert "hidden" not in repr(read)


def test_a_service_that_says_nothing_changes_nothing() -> None:
    router = RouterPods.read({})
    assert links_env(OWNER, router.links, router.jobs) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"links": {"publicUrl": "pictures.example"}},
        {"links": {"publicUrl": "http://a/?b"}},
        {"links": {"rootPath": "ai"}},
        {"links": {"bucket": {"name": "pictures"}}},
        {"jobs": {"webhooks": {"hosts": [], "secret": "hooks"}}},
        {"jobs": {"webhooks": {"hosts": ["hooks.example"]}}},
    ],
)
def test_what_routers_would_refuse_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        RouterPods.read(wrong)
