"""The profile in force before a change: remembered, or after a restart read from the ConfigMap that pods mount."""

from __future__ import annotations

import logging

import yaml
from hadis.api.resources import CascadeProfile
from hadis.kube.client import Kube
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import SERVICE, label

from hadis_operator.children.worker import PROFILE
from hadis_operator.read_views import ConfigMapView, config_map_view

log = logging.getLogger(__name__)


class FormerProfiles:
    """Profiles of one service by content hash: the one in force, and what its ConfigMaps hold."""

    def __init__(self, kube: Kube, namespace: str, service: str) -> None:
        """Know none yet."""
        self._kube, self._namespace = kube, namespace
        self._selector = f"{SERVICE}={label(service)}"
        self._known: dict[str, Profile] = {}
        self._read = False

    def keep(self, profile: Profile) -> None:
        """Remember the profile in force, and no other."""
        self._known = {profile.hash: profile}

    async def by_hash(self, content: str) -> dict[str, Profile]:
        """Return the profiles that are known, after a look at the ConfigMaps where one with this hash is not yet."""
        if content and content not in self._known and not self._read:
            path = f"/api/v1/namespaces/{self._namespace}/configmaps"
            config_maps = map(config_map_view, await self._kube.list_items(path, labelSelector=self._selector))
            self._read = True
            profiles = [_profile(each) for each in config_maps if each.component == PROFILE]
            self._known |= {profile.hash: profile for profile in profiles if profile is not None}
        return self._known


def _profile(config_map: ConfigMapView) -> Profile | None:
    """Return the profile in a ConfigMap; None where it cannot be read."""
    try:
        if isinstance(config_map.text, Problem):
            raise ValueError(config_map.text.message)
        return Profile(CascadeProfile.read(yaml.safe_load(config_map.text)))
    except (ValueError, yaml.YAMLError) as error:
        log.warning("ConfigMap %s holds no profile: %s", config_map.name, error)
        return None
