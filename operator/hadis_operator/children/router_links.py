"""What a router's environment says of links and long jobs; credentials stay in their Secrets."""

from __future__ import annotations

from hadis.api.links import Bucket, Links, LongJobs

from hadis_operator.children.common import Manifest, Owner


def links_env(owner: Owner, links: Links, jobs: LongJobs) -> list[Manifest]:
    """Return the variables for the parts of a service's spec that are there."""
    plain = {"PUBLIC_URL": links.public_url, "ROOT_PATH": links.root_path}
    env = [{"name": f"HADIS_ROUTER_{name}", "value": value} for name, value in plain.items() if value]
    if links.bucket is not None:
        env += _bucket_env(links.bucket)
    if jobs.redis_secret is not None:
        env.append({"name": "HADIS_ROUTER_REDIS_PREFIX", "value": f"hadis:{owner.namespace}/{owner.name}"})
        env.append(_secret("REDIS_URL", jobs.redis_secret, "url"))
    if jobs.webhooks is not None:
        env.append({"name": "HADIS_ROUTER_WEBHOOK_HOSTS", "value": ",".join(jobs.webhooks.hosts)})
        env.append(_secret("WEBHOOK_SECRET", jobs.webhooks.secret, "secret"))
    return env


def _bucket_env(bucket: Bucket) -> list[Manifest]:
    plain = {"S3_BUCKET": bucket.name, "S3_ENDPOINT": bucket.endpoint, "S3_REGION": bucket.region}
    return [
        *({"name": f"HADIS_ROUTER_{name}", "value": value} for name, value in plain.items() if value),
        _secret("S3_ACCESS_KEY_ID", bucket.secret, "accessKeyId"),
        _secret("S3_SECRET_ACCESS_KEY", bucket.secret, "secretAccessKey"),
    ]


def _secret(variable: str, name: str, key: str) -> Manifest:
    return {"name": f"HADIS_ROUTER_{variable}", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
