"""Disturb everything at random while loads and specs change, and watch the GPUs of every event.

`make soak MINUTES=30 SEED=1`, or `python tests/cluster/soak.py --minutes 30 --seed 1`. It ends with 1 where a service,
or all of them together, ever held more GPUs than their budget, where one did not get well again, or where the operators
ask too much of the API server at rest. A seed repeats the choices, not what the processes make of them.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import yaml
from cluster_documents import profile, service
from control_plane import CHART, ControlPlane, Release, running, wait_for
from disturbances import ANSWERS, Operators
from fakes import Demand, Line
from gpu_budget_watch import GpuBudgetWatch
from queries import condition

LOGS = Path(__file__).parents[2] / "build/soak"
GPUS = {"a": 4, "b": 3, "c": 2, "d": 4, "e": 3}
"""Services and their budgets."""
MOST_AT_REST = 2.0
"""Requests per minute and service."""
_WELL_S, _CALM_S, _PAUSE_S = 180.0, 30.0, (0.5, 5.0)


class Soak:
    """Services under one release with two operators, in a namespace of a control plane."""

    def __init__(self, plane: ControlPlane, namespace: str, log: Path, seed: int) -> None:
        """Start everything; disturb nothing yet. Operators write to `log`."""
        self.plane, self.namespace, self.rng = plane, namespace, random.Random(seed)
        self.demands = {name: Demand() for name in GPUS}
        self.specs: dict[str, dict[str, object]] = {name: {"gpus": {"max": most}} for name, most in GPUS.items()}
        self.watch = GpuBudgetWatch(plane, namespace, GPUS)
        self.line = Line(plane.ports["api"])
        self.release = Release(plane, namespace, log)
        plane.apply(profile(namespace), *(self._document(name) for name in GPUS))
        self.operators = Operators(self.release, self.line, self.rng)
        self.done: Counter[str] = Counter()
        self.requests_at_rest = 0.0

    def disturb(self, seconds: float) -> None:
        """Disturb for so long, a thing at a time but for those that take time themselves."""
        kinds = {
            "operator killed": self.operators.kill,
            "operator paused": self.operators.pause,
            "operator stopped": self.operators.replace,
            "watches cut": self.line.cut,
            "lease deleted": self._delete_lease,
            "API server killed": self._kill_api_server,
            "pod killed": lambda: self._end_pod(force=True),
            "pod evicted": lambda: self._end_pod(force=False),
            "wrong answers": self._answer_wrongly,
            "right answers": self._answer_rightly,
            "load": self._change_load,
            "spec": self._change_spec,
            "profile": self._change_profile,
        }
        often = {"load": 6, "spec": 6, "operator killed": 2, "watches cut": 3, "wrong answers": 2, "right answers": 2}
        end, reported_at = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end and not self.watch.excesses:
            [kind] = self.rng.choices(list(kinds), [often.get(kind, 1) for kind in kinds])
            self.watch.note(kind)
            kinds[kind]()
            self.done[kind] += 1
            self.operators.go_on()
            time.sleep(self.rng.uniform(*_PAUSE_S))
            if time.monotonic() - reported_at >= 60:
                reported_at = time.monotonic()
                minutes = (seconds - end + reported_at) / 60
                print(f"{minutes:.0f} min: {self.watch}; {self.done.total()} disturbances", flush=True)

    def recover(self) -> None:
        """Put right what was disturbed, and wait until every service has all its GPUs; raise AssertionError."""
        self._answer_rightly()
        self.operators.all_well()
        for demand in self.demands.values():
            demand.rps = 1.0
        for name, most in GPUS.items():
            self.specs[name] = {"gpus": {"max": most, "min": most}}
            self.plane.apply(self._document(name))
        for name in GPUS:
            wait_for(lambda n=name: self._well(n), _WELL_S, f"service {name} to be well")  # type: ignore[misc]
        wait_for(lambda: len(self.watch.pods) == sum(GPUS.values()), _WELL_S, "all workers")

    def rest(self, seconds: float) -> None:
        """Count the operators' requests for so long."""
        time.sleep(_CALM_S)
        before = len(self.plane.requests_of(self.namespace))
        time.sleep(seconds)
        requests = self.plane.requests_of(self.namespace)[before:]
        self.requests_at_rest = len(requests) * 60 / seconds / len(GPUS)
        for words, count in Counter(f"{verb} {uri.split('?')[0]}" for verb, uri in requests).most_common(8):
            print(f"at rest: {count} x {words}", flush=True)

    def close(self) -> None:
        """Stop everything."""
        self.operators.all_well()
        self.release.end()
        self.line.close()
        self.watch.close()
        for demand in self.demands.values():
            demand.close()

    def _document(self, name: str) -> dict[str, object]:
        changes = {"placement": "Shared" if name in "bd" else "Dedicated", "router": {"replicas": 1}} | self.specs[name]
        return service(self.namespace, self.demands[name], name, **changes)

    def _well(self, name: str) -> bool:
        """Return whether a service is as its spec asks for, as it stands now."""
        service = self.plane.get("dsvc", name, "-n", self.namespace)
        if service["status"]["observedGeneration"] != service["metadata"]["generation"]:
            return False
        desired = {"Ready": "True", "PlanApplied": "True", "MetricsAvailable": "True"}
        return all(
            condition(self.plane, self.namespace, kind, name)["status"] == value for kind, value in desired.items()
        )

    def _delete_lease(self) -> None:
        self.plane.kubectl("delete", "lease", "hadis", "-n", self.namespace, check=False)

    def _kill_api_server(self) -> None:
        self.plane.stop("kube-apiserver")
        time.sleep(self.rng.choice([0.0, 1.0, 8.0]))
        self.plane.start("kube-apiserver")
        wait_for(lambda: self.plane.kubectl("get", "ns", check=False).returncode == 0, 60, "the API server")
        for name, process in list(self.plane.processes.items()):
            if process.poll() is not None:
                self.plane.start(name)

    def _end_pod(self, *, force: bool) -> None:
        """End a worker so that its GPU is free at once: what is deleted in peace is replaced while it still ends."""
        pods = sorted(self.watch.pods)
        if not pods:
            return
        where = ("pod", self.rng.choice(pods), "-n", self.namespace)
        if force:
            self.plane.kubectl("delete", *where, "--force", "--grace-period=0", check=False)
        else:
            failed = '{"status":{"phase":"Failed","reason":"Evicted"}}'
            self.plane.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", failed, check=False)

    def _answer_wrongly(self) -> None:
        demand = self.demands[self.rng.choice(list(GPUS))]
        what = self.rng.choice([*ANSWERS, "old", "future"])
        demand.answer, demand.age_s = ANSWERS.get(what, ""), {"old": 600.0, "future": -900.0}.get(what, 0.0)

    def _answer_rightly(self) -> None:
        for demand in self.demands.values():
            demand.answer, demand.age_s = "", 0.0

    def _change_load(self) -> None:
        self.demands[self.rng.choice(list(GPUS))].rps = self.rng.choice([0.0, 2.0, 10.0, 40.0, 80.0])

    def _change_spec(self) -> None:
        name = self.rng.choice(list(GPUS))
        most = self.rng.randint(1, GPUS[name])
        self.specs[name] |= self.rng.choice(
            [
                {"worker": {"resources": {"cpu": self.rng.choice(["1", "2"])}}},
                {"objective": {"latency": self.rng.choice(["3s", "4s", "8s"])}},
                {"placement": self.rng.choice(["Shared", "Dedicated"])},
                {"gpus": {"max": GPUS[name], "min": self.rng.randint(1, GPUS[name])}},
                {"gpus": {"max": most}},
            ]
        )
        self.plane.apply(self._document(name))

    def _change_profile(self) -> None:
        document = profile(self.namespace)
        document["spec"]["tiers"][0]["latency"][0]["seconds"] = self.rng.choice([0.09, 0.1, 0.11])
        self.plane.apply(document)


def faults_of(soak: Soak) -> list[str]:
    """Return what was not as promised."""
    much = soak.requests_at_rest
    too_many = [f"{much:.2f} requests per minute and service at rest"] if much >= MOST_AT_REST else []
    return [*soak.watch.excesses, *too_many]


def main() -> int:
    """Run a soak; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of a former soak")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "operator.log"
    log.unlink(missing_ok=True)
    with running() as plane:
        for i in range(2):
            plane.add_gpu_node(f"gpu-{i}", 12)
        for path in sorted((CHART.parents[1] / "crds").iterdir()):
            plane.kubectl("apply", "-f", str(path))
        wait_for(lambda: plane.kubectl("get", "dsvc", check=False).returncode == 0, 20, "the CRDs")
        plane.kubectl("create", "namespace", "soak")
        soak = Soak(plane, "soak", log, seed)
        try:
            soak.recover()
            soak.disturb(options.minutes * 60)
            if not soak.watch.excesses:
                soak.recover()
                soak.rest(120)
            faults = faults_of(soak)
        except AssertionError as error:
            faults = [*soak.watch.excesses, str(error)]
        finally:
            soak.close()
    print(f"\n{yaml.safe_dump(dict(soak.done))}{soak.watch}; {soak.requests_at_rest:.2f} requests per minute at rest")
    print("\n".join(faults) or "nothing was over its budget", f"\nseed {seed}; what the operators said: {log}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
