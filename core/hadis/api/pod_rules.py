"""What `hadis.api.pods` refuses, once more in the API server's language (CEL); of a template it says nothing."""

from __future__ import annotations

import json

from hadis.api.pod_template import LABEL_PREFIX, OUR_LABELS, Ours
from hadis.api.pods import EnvFrom, EnvVar
from hadis.api.workload import RouterPods, WorkerPods

Rules = tuple[tuple[str, str], ...]
"""Each in CEL, and the message where it does not hold."""


def _of_pods(ours: Ours) -> Rules:
    """Return what `PodFields` says of names that the operator sets itself; of a template it says it alone."""
    lists = {
        "env": ("name", ours.variables),
        "volumes": ("name", ours.volumes),
        "volumeMounts": ("mountPath", ours.paths),
    }
    rules = [
        (
            f"!has(self.{field}) || self.{field}.all(each, !(each.{key} in {json.dumps(names)}))",
            f"{field}: these are the operator's own; leave them out: {', '.join(names)}",
        )
        for field, (key, names) in lists.items()
    ]
    labels = f"self.podLabels.all(name, !name.startsWith('{LABEL_PREFIX}') && !(name in {json.dumps(OUR_LABELS)}))"
    return (
        *rules,
        (
            f"!has(self.podLabels) || {labels}",
            f"podLabels: the operator finds pods by {LABEL_PREFIX} and {', '.join(OUR_LABELS)}; leave them out",
        ),
    )


POD_RULES: dict[str, Rules] = {
    RouterPods.__name__: _of_pods(RouterPods.OURS),
    WorkerPods.__name__: _of_pods(WorkerPods.OURS),
    EnvVar.__name__: (("!(has(self.value) && has(self.valueFrom))", "write value or valueFrom, not both"),),
    EnvFrom.__name__: (("has(self.configMapRef) != has(self.secretRef)", "write one of configMapRef and secretRef"),),
}
"""By model's name."""
