"""Whether several services ever hold more GPUs than their budgets, each and together, at any event of their pods."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from control_plane import ControlPlane
from pod_events import PodEvents, gpus_of


class GpuBudgetWatch:
    """Counts GPUs by service; remembers the most, and each excess with what was done before it."""

    def __init__(self, plane: ControlPlane, namespace: str, budgets: Mapping[str, int]) -> None:
        """Watch a namespace; `budgets` are GPUs by service."""
        self._budgets, self._began = budgets, time.monotonic()
        self.pods: dict[str, tuple[str, bool, int]] = {}
        """By name, a worker's service, whether it terminates, and its GPUs."""
        self._notes: deque[str] = deque(maxlen=8)
        self.excesses: list[str] = []
        self.events, self.most = 0, 0
        self._pods_events = PodEvents(plane, self._seen, namespace)

    def note(self, what: str) -> None:
        """Remember what is done, to tell it beside an excess."""
        self._notes.append(f"{time.monotonic() - self._began:.1f} s {what}")

    def close(self) -> None:
        """Watch no more."""
        self._pods_events.close()

    def __str__(self) -> str:
        """Say what was seen."""
        return f"{self.events} events, at most {self.most} of {sum(self._budgets.values())} GPUs"

    def _seen(self, event: str, pod: dict[str, Any]) -> None:
        self.events += 1
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        gpus = gpus_of(pod)
        # What is deleted by force is marked first: controllers may replace it before its object is gone.
        if event == "DELETED" or not gpus or pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            self.pods.pop(name, None)
        else:
            self.pods[name] = labels["hadis.dev/service"], "deletionTimestamp" in pod["metadata"], gpus
        held: Counter[str] = Counter()
        for service, _, count in self.pods.values():
            held[service] += count
        self.most = max(self.most, held.total())
        for service, count in held.items():
            if count > self._budgets[service] and len(self.excesses) < 20:
                names = [
                    f"{pod} (terminates)" if terminates else pod
                    for pod, (of, terminates, _) in sorted(self.pods.items())
                    if of == service
                ]
                at = f"{time.monotonic() - self._began:.1f} s"
                words = f"{at}: {service} holds {count} of {self._budgets[service]} GPUs after {event} {name}"
                self.excesses.append(f"{words}: {', '.join(names)}; before: {', '.join(self._notes)}")
