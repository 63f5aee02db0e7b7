"""What `hadis.api.pods` refuses of the operator's own names, for the API server; of a template it says nothing."""

from __future__ import annotations

import json

from hadis.api.pod_template import LABEL_PREFIX, OUR_LABELS, Ours
from hadis.api.rules import Rule, in_kubernetes


def rules_of_pods(ours: Ours) -> tuple[Rule, ...]:
    """Return what holds of pods in which some names are the operator's; `PodFields` says the same, and which."""
    lists = {
        "env": ("name", ours.variables),
        "volumes": ("name", ours.volumes),
        "volumeMounts": ("mountPath", ours.paths),
    }
    labels = f"self.podLabels.all(name, !name.startsWith('{LABEL_PREFIX}') && !(name in {json.dumps(OUR_LABELS)}))"
    return (
        *(
            in_kubernetes(
                f"!has(self.{field}) || self.{field}.all(each, !(each.{key} in {json.dumps(names)}))",
                f"{field}: these are the operator's own; leave them out: {', '.join(names)}",
            )
            for field, (key, names) in lists.items()
        ),
        in_kubernetes(
            f"!has(self.podLabels) || {labels}",
            f"podLabels: the operator finds pods by {LABEL_PREFIX} and {', '.join(OUR_LABELS)}; leave them out",
        ),
    )
