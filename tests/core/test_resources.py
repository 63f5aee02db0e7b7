"""The custom resources say what is wrong, where, and what to write instead."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hadis.api.compact import content_hash
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import ManifestError, read_manifest
from hadis.api.remote import Remote
from hadis.api.resources import CascadeProfile, DiffusionService
from hadis.api.status import PlanChange
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress, read_state, write_state
from hypothesis import given
from hypothesis import strategies as st


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hadis.dev/v1alpha1",
        "kind": "DiffusionService",
        "metadata": {"name": "s"},
        "spec": {"profile": "p", "objective": {"latency": "6s"}, "gpus": {"max": 2}, **spec},
    }


def tier(name: str, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "model": "somewhere",
        "steps": 2,
        "latency": [{"batch": 1, "seconds": seconds}, {"batch": 4, "seconds": 3 * seconds}],
        "discriminatorSeconds": 0.01,
        "confidenceQuantiles": [0.0, 0.5, 1.0],
    }


def profile(**spec: Any) -> dict[str, Any]:
    row = {"light": "a", "heavy": "b", "directRatio": 0.1, "deferralRatio": 0.2, "quality": 20.0, "cost": 1.0}
    return {
        "apiVersion": "hadis.dev/v1alpha1",
        "kind": "CascadeProfile",
        "metadata": {"name": "p"},
        "spec": {
            "discriminator": "discriminator",
            "tiers": [tier("a", 0.1), tier("b", 1.0)],
            "difficulty": {
                "features": ["num_objects"],
                "mean": [1],
                "std": [1],
                "weights": [1],
                "quantiles": [0, 1, 2],
            },
            "configurations": [row],
            **spec,
        },
    }


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (service(objectve={}), "did you mean 'objective'"),
        (service(objective={"latency": "6 seconds"}), "write it as 30s"),
        (service(objective={"latency": "0s"}), "spec.objective.latency: write a time from 1ms"),
        (service(objective={"latency": "6s", "attainment": 1}), "spec.objective.attainment"),
        (service(objective={"latency": "6s", "optimize": "Cost"}), "needs a quality"),
        (service(objective={"latency": "6s", "optimize": "Energy"}), "needs a quality"),
        (service(objective={"latency": "6s", "optimize": "Money", "quality": 20}), "write objective.gpuPrice"),
        (service(queue={"weights": {"user:ann": 0}}), "spec.queue.weights.user:ann"),
        (service(queue={"weights": {"user:ann": -1}}), "spec.queue.weights.user:ann"),
        (service(queue={"weights": {"user:ann": "lots"}}), "valid number"),
        (service(queue={"weights": {"user:ann": float("inf")}}), "finite number"),
        (service(queue={"weights": {"sk-secret": 2}}), "spec.queue.weights: a key is none of sha256:"),
        (service(queue={"weights": {"sha256:AB": 2}}), "spec.queue.weights: a key is none of sha256:"),
        (service(gpus={"min": 3, "max": 2}), "min must not be over max"),
        (service(gpus={"max": -1}), "spec.gpus.max"),
    ],
)
def test_a_wrong_service_is_refused_with_the_path_and_what_to_write(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DiffusionService.read(document)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"configurations": []}, "write configurations or cascades"),
        ({"tiers": [tier("a", 0.1), tier("b", -1.0)]}, "tiers.1.latency.0.seconds"),
        ({"tiers": [tier("a", float("nan")), tier("b", 1.0)]}, "tiers.0.latency.0.seconds"),
        ({"tiers": [tier("b", 0.1), tier("a", 1.0)]}, "comes after heavy tier"),
        ({"tiers": [tier("a", 0.1), tier("a", 1.0)]}, "each name may stand once"),
        ({"tiers": [tier("a", 0.1)]}, "no tier is named 'b'"),
        ({"discriminator": None}, "configurations.0: nothing says which images to defer; name the discriminator"),
    ],
)
def test_a_wrong_profile_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CascadeProfile.read(profile(**spec))


REMOTE = {"url": "http://engine:8000/v1", "slots": 2}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"remote": {"url": "engine:8000", "slots": 2}}, "remote.url"),
        ({"remote": {"url": "http://engine/v1"}}, "remote.slots"),
        ({"remote": REMOTE | {"accepts": ["sead"]}}, "remote.accepts"),
        ({"remote": REMOTE | {"apiKeyEnv": "no name"}}, "remote.apiKeyEnv"),
        ({"remote": REMOTE, "revision": "main"}, "revision is for tiers whose weights a worker loads"),
        ({"remote": REMOTE, "loras": [{"model": "m", "file": "f"}]}, "loras is for tiers whose weights"),
        ({"remote": REMOTE, "dtype": "float16"}, "dtype is for tiers whose weights"),
        ({"remote": REMOTE, "guidance": 3.5}, "guidance: the endpoint is not told; write guidance_scale in remote.acc"),
        ({"remote": REMOTE, "negativePrompt": "blur"}, "write negative_prompt in remote.accepts"),
        ({"remote": REMOTE, "tunable": True}, "write num_inference_steps in remote.accepts"),
        ({"remote": REMOTE, "call": {"prompt": "x"}}, "call.prompt: HADIS sets it"),
    ],
)
def test_a_remote_tier_has_no_settings_that_could_not_act(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CascadeProfile.read(profile(tiers=[tier("a", 0.1), tier("b", 1.0) | fields]))


def test_a_remote_tier_may_be_written_with_defaults_filled_in_and_have_what_its_endpoint_accepts() -> None:
    """The API server fills in the defaults of the CRD."""
    remote = REMOTE | {"accepts": ["guidance_scale", "negative_prompt"]}
    fields = {"scheduler": {"arguments": {}}, "dtype": "bfloat16", "loras": [], "guidance": 4, "negativePrompt": ""}
    read = CascadeProfile.read(profile(tiers=[tier("a", 0.1), tier("b", 1.0) | {"remote": remote} | fields]))
    assert (read.spec.tiers[1].remote or pytest.fail()).slots == 2


@pytest.mark.parametrize(
    ("fields", "variable"),
    [
        ({}, None),
        ({"apiKeyEnv": "OPENAI_API_KEY"}, "OPENAI_API_KEY"),
        ({"apiKeySecret": {"name": "s", "key": "k"}}, "HADIS_WORKER_API_KEY"),
        ({"apiKeyEnv": "KEY", "apiKeySecret": {"name": "s", "key": "k"}}, "KEY"),
    ],
)
def test_where_a_worker_finds_the_api_key(fields: dict[str, Any], variable: str | None) -> None:
    assert Remote.read(REMOTE | fields).key_variable == variable


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5)])
def test_durations_read_as_kubernetes_writes_them(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@given(st.text(max_size=12))
def test_any_other_duration_is_a_value_error(text: str) -> None:
    try:
        assert parse_duration_s(text) >= 0
    except ValueError as error:
        assert "no duration" in str(error)


def test_the_hash_is_of_the_content_alone() -> None:
    one = CascadeProfile.read(profile())
    renamed = CascadeProfile.read({**profile(), "metadata": {"name": "other"}})
    changed = CascadeProfile.read(profile(source="elsewhere"))
    assert content_hash(one) == content_hash(renamed) != content_hash(changed)


def test_latency_and_thresholds_come_from_the_measured_points() -> None:
    known = Profile(CascadeProfile.read(profile()))
    assert known.latency_s("a", 1) == 0.1
    assert known.latency_s("a", 4, discriminated=True) == pytest.approx(0.31)
    assert known.latency_s("a", 8) == pytest.approx(0.6)
    assert known.difficulty_threshold(0) == float("inf")
    assert known.difficulty_threshold(0.25) == pytest.approx(1.5)
    assert known.confidence_threshold("a", 0.25) == pytest.approx(0.25)


def test_a_manifest_finds_its_profile_beside_it(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(service()))
    with pytest.raises(ManifestError, match="no CascadeProfile named 'p'"):
        read_manifest(path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "profile.yaml").write_text(yaml.safe_dump(profile()))
    assert read_manifest(path).folder == (tmp_path / "p").resolve()


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "is no YAML"), ("", "needs one DiffusionService"), ("kind: Pod", "kind is 'Pod'")]
)
def test_a_broken_manifest_is_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=words):
        read_manifest(path)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "absent.yaml")


def test_the_run_file_returns_what_was_written(tmp_path: Path) -> None:
    plan = Plan("a", "b", 0.1, 0.2, (TierPlan("a", 1, 4),), 1.0, 20.0, 0.5, 2.0)
    state = RunState(plan, (WorkerAddress("http://127.0.0.1:1", ("a", "b")),), 1.5)
    write_state(tmp_path / "run.json", state)
    assert read_state(tmp_path / "run.json") == state
    assert '"directRatio":0.1' in (tmp_path / "run.json").read_text(), "as in a DiffusionService's status"
    (tmp_path / "run.json").write_text('{"plan": {}}')
    with pytest.raises(ValueError, match="no run state"):
        read_state(tmp_path / "run.json")


def test_a_run_file_of_before_is_read(tmp_path: Path) -> None:
    plan = Plan("a", "b", 0.1, 0.2, (TierPlan("a", 1, 4),), 1.0, 20.0, 0.5, 2.0)
    document = asdict(RunState(plan, (), 1.5)) | {
        "changes": [{"at": 1767268800.9, "summary": "a alone", "reason": "why"}],
        "idle": "",
    }
    (tmp_path / "run.json").write_text(json.dumps(document))
    change = PlanChange(time="2026-01-01T12:00:00Z", summary="a alone", reason="why")
    assert read_state(tmp_path / "run.json") == RunState(plan, (), 1.5, changes=(change,))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"changes": [3]}', '{"changes": [{"at": "x"}]}'])
def test_a_file_that_is_no_run_state_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json: is no run state: ."):
        read_state(tmp_path / "run.json")
