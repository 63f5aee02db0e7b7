"""The profiler's stages: what is read, kept, fitted, measured and refused."""

from __future__ import annotations

import csv
import errno
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, Objective
from hadis.cli.scenes import parse_scene, random_scene
from hadis.planning.profile import Profile
from hadis.protocol.worker import GenerateBatch, JobResult
from hadis_profiler.offline import diff, difficulty, discriminate, images, latency, quality, store
from hadis_profiler.offline.discriminate import area_under_curve
from hadis_profiler.offline.latency import Point, median_interval, misfit, time_batch
from hadis_profiler.offline.look import Looks
from hadis_profiler.offline.prompts import Split, read_prompts, split
from hadis_profiler.offline.quality import Row, heavy_images
from hadis_profiler.offline.report import write_report
from hadis_profiler.offline.scorers import load_scorer
from hadis_profiler.offline.spec import Run, RunSpec, SpecError, read_run
from hadis_profiler.offline.table import TableError, _check, cost_of, front
from hadis_profiler.paper.features import paper_score, read_columns, spearman
from hadis_profiler.scenes.judge import frechet
from hadis_worker.discriminator import load_discriminator
from hadis_worker.pipelines import Call
from PIL import Image
from rich.progress import Progress

DATA = Path(__file__).parents[3] / "shared/data/paper"
TIERS = [{"name": "a", "model": "x", "steps": 1}, {"name": "b", "model": "x", "steps": 9}]


def run_of(folder: Path, prompts: str = "prompts.txt", **changes: Any) -> Run:
    spec = {"name": "test", "prompts": prompts, "tiers": TIERS, "scorer": "inception", **changes}
    return Run(RunSpec.read(spec), folder, folder / "work")


def many(count: int = 60) -> list[str]:
    return [f"a picture of {i} cats" for i in range(count)]


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet", "json"])
def test_prompts_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path, texts = tmp_path / f"p.{kind}", many()
    if kind == "txt":
        path.write_text("\n".join([*texts, "", texts[0], "x" * 20_000, "  a   picture of 3 cats "]))
    elif kind == "csv":
        path.write_text("id,caption\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
    elif kind == "json":
        notes = [{"image_id": i // 2, "caption": text} for i, text in enumerate(many(120))]
        path.write_text(json.dumps({"annotations": notes}))
        texts = many(120)[::2]
    else:
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.table({"prompt": texts}), path)
    found = read_prompts(run_of(tmp_path, path.name))
    assert found.texts == texts
    if kind == "txt":
        assert "1 empty, 1 of over 10,000 characters, 2 that stood there before" in found.note


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("p.txt", b"too few", "50 are the least"),
        ("p.txt", b"\xff\xfe broken", "write it as UTF-8"),
        ("p.csv", b"a,b\n1,2\n", "has no column prompt; it has a, b"),
        ("p.json", b"{}", "no COCO captions"),
        ("p.json", b"{", "broken"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_prompts_that_cannot_be_used(tmp_path: Path, name: str, body: bytes | None, words: str) -> None:
    if body is not None:
        (tmp_path / name).write_bytes(body)
    with pytest.raises(SpecError, match=words):
        read_prompts(run_of(tmp_path, name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("tierz: []", "did you mean 'tiers'"),
        ("batches: [2, 4]", "must rise from 1"),
        ("tiers: [{name: a, model: x, steps: 1}, {name: b, model: x, steps: 1}]", "a and b are the same model"),
        ("tiers: [{name: a, model: x, steps: 1}]", "tiers"),
        ("count: 3", "count"),
        ("- a list", "no YAML"),
    ],
)
def test_a_wrong_spec_is_told(tmp_path: Path, change: str, words: str) -> None:
    base = "name: t\nprompts: p.txt\n" + ("" if change.startswith("tiers") else "tiers: [{name: a, model: x, steps: 1}, {name: b, model: y, steps: 1}]\n")  # fmt: skip  # noqa: E501
    (tmp_path / "spec.yaml").write_text(base + change + "\n")
    with pytest.raises(SpecError, match=words):
        read_run(tmp_path / "spec.yaml", tmp_path)


@pytest.mark.parametrize("scorer", ["inception", "nobody:nothing", "hadis:nothing", "x"])
def test_a_scorer_that_is_none_is_told(tmp_path: Path, scorer: str) -> None:
    with pytest.raises(SpecError, match="scorer"):
        load_scorer(run_of(tmp_path, scorer=scorer), "cpu")


def test_nobody_learns_from_what_is_measured() -> None:
    parts = split(1000, 7)
    sets = [set(part.tolist()) for part in (parts.train, parts.calibrate, parts.test)]
    assert [len(s) for s in sets] == [400, 100, 500]
    assert len(set.union(*sets)) == 1000
    assert (split(1000, 7).test == parts.test).all()


def test_what_was_made_from_something_else_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    store.save(path, store.mark("a"), [1])
    assert store.load(path, store.mark("a")) == [1]
    assert store.load(path, store.mark("b")) is None
    path.write_text("{cut")
    assert store.load(path, store.mark("a")) is None


def test_a_median_is_measured_until_it_is_known() -> None:
    calls = []
    point = time_batch(lambda: calls.append(0), 4, 5.0, "cpu")
    assert point.runs == len(calls) - 1 >= 5
    assert point.low_s <= point.p50_s <= point.high_s
    values = np.random.default_rng(0).normal(10, 1, (400, 51))
    inside = [low <= 10 <= high for low, high in (median_interval(v.tolist()) for v in values)]
    assert 0.93 < np.mean(inside) < 0.99
    points = [Point(b, 0.1 + 0.2 * b, 0, 0, 0, 1, 0, None) for b in (1, 2, 4)]
    assert misfit(points) == pytest.approx(0, abs=1e-9)


def test_every_distance_of_the_grid_is_that_of_its_images() -> None:
    rng = np.random.default_rng(0)
    n, d = 120, 5
    features = np.stack([rng.normal(m, s, (n, d)) for m, s in ((1, 2), (0.5, 1.5), (0, 1))])
    reference = rng.normal(0, 1, (200, d))
    hard, sure, scores = rng.random(n), rng.random((3, n)), rng.random((3, n))
    rows = list(quality.grid(features, scores, reference, hard, sure, 5))
    assert len(rows) == 3 + 3 * 25
    for row in rows:
        heavy = heavy_images(hard, sure[row.light], row.direct, row.deferral)
        heavy = heavy | (row.light == row.heavy)
        mixed = np.where(heavy[:, None], features[row.heavy], features[row.light])
        assert row.quality == pytest.approx(frechet(mixed, reference), rel=1e-6), row
        assert row.score == pytest.approx(np.where(heavy, scores[row.heavy], scores[row.light]).mean())


def test_the_hardest_and_the_least_confident_get_heavy_images() -> None:
    hard, sure = np.array([5.0, 4, 3, 2, 1, 0]), np.array([0.1, 0.2, 0.9, 0.1, 0.8, 0.3])
    assert heavy_images(hard, sure, 1 / 3, 0.5).tolist() == [True, True, False, True, False, True]
    assert not heavy_images(hard, sure, 0, 0).any()
    assert heavy_images(hard, sure, 0, 1).all()


def test_an_interval_covers_the_distance() -> None:
    rng = np.random.default_rng(1)
    light, heavy, reference = rng.normal(1, 1, (300, 4)), rng.normal(0, 1, (300, 4)), rng.normal(0, 1, (300, 4))
    chosen = np.arange(300) < 150
    low, high = quality.interval((light, heavy), reference, chosen, 60, 0)
    assert low < frechet(np.where(chosen[:, None], heavy, light), reference) < high
    assert np.isnan(quality.interval((light, heavy), reference, chosen, 0, 0)[0])


def test_difficulty_finds_what_is_there_and_says_when_nothing_is() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(800, 8))
    train, rest = np.arange(400), np.arange(400, 800)
    found = difficulty.fit(texts, texts @ np.array([3.0, 0, 1, 0, 0, 0, 0, -2]) + rng.normal(size=800), train, rest)
    assert found.predicts
    assert found.held_out > 0.9
    assert found.difficulty.weights[0] == 1
    nothing = difficulty.fit(texts, rng.normal(size=800), train, rest)
    assert not nothing.predicts
    flat = difficulty.fit(np.ones((800, 8)), rng.normal(size=800), train, rest)
    assert not flat.predicts


def test_area_under_the_curve_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, good = rng.integers(0, 5, 200).astype(float), rng.random(200) < 0.4
    pairs = scores[good][:, None] - scores[~good][None, :]
    assert area_under_curve(scores, good) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    assert area_under_curve(scores, np.ones(200, bool)) == 0.5


def test_a_front_holds_what_no_other_beats() -> None:
    rows = [(1.0, 5.0), (2.0, 4.0), (2.0, 6.0), (3.0, 4.0), (0.5, 7.0), (1.0, 5.0)]
    assert front(rows) == [4, 0, 1]


@pytest.mark.skipif(not DATA.is_dir(), reason="the paper's data is not here")
def test_the_papers_front_comes_out_of_its_rows() -> None:
    with (DATA / "config_results_hybrid.csv").open(newline="") as file:
        rows = [
            Row(int(r["light_model"]), int(r["heavy_model"]), float(r["router_ratio"]), float(r["disc_ratio"]),
                float(r["fid"]), None)
            for r in csv.DictReader(file)
        ]  # fmt: skip
    costs = [(cost_of(row, [0.5, 1.3, 13, 27], 0.0), row.quality) for row in rows]
    assert (len(rows), len(front(costs))) == (726, 49)


@pytest.mark.skipif(not DATA.is_dir(), reason="the paper's data is not here")
def test_weights_by_information_rank_as_the_papers_do() -> None:
    _, columns = read_columns(DATA / "prompt_features.csv")
    light, heavy = (np.loadtxt(DATA / f"confidence/model_{k}.txt")[:, 1].reshape(-1, 4).mean(1) for k in (0, 3))
    z = (columns - columns.mean(0)) / columns.std(0)
    score = z @ difficulty.information(columns, heavy - light)
    assert spearman(score, paper_score(columns)) > 0.95


def test_a_profile_of_no_use_is_refused() -> None:
    worse = [Row(0, 0, 0, 0, 1.0, None), Row(1, 1, 0, 0, 2.0, None)]
    with pytest.raises(TableError, match="the heavy tier is not better"):
        _check(["a", "b"], worse, [0])
    with pytest.raises(TableError, match="3 are the least"):
        _check(["a", "b"], [Row(0, 0, 0, 0, 2.0, None), Row(1, 1, 0, 0, 1.0, None)], [0, 1])


def test_a_report_stands_alone_and_escapes_what_it_is_told(tmp_path: Path, profile: Profile) -> None:
    work = tmp_path / "work"
    note = {"heldOut": 0.01, "noise": 0.1, "byInformation": 0.0, "scores": [1, 2], "range": [0, 1]}
    sample = {"index": 0, "prompt": "<script>alert(1)</script>", "gap": 1.0, "confidence": [0.1, 0.2]}
    calibration = [[0.1, 0.2, 5], [0.9, 0.8, 9]]
    store.write(work / "notes.json", json.dumps({
        "difficulty": note, "samples": [sample], "discriminator": {"auc": 0.7, "good": 0.5, "calibration": calibration},
    }).encode())  # fmt: skip
    write_report(profile, work, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "The text predicts nothing here" in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_a_difference_is_told_and_whether_a_plan_would_change(profile: Profile) -> None:
    assert not list(diff.differences(profile, profile))
    document = profile_document()
    for point in document["spec"]["tiers"][1]["latency"]:
        point["seconds"] *= 3
    for row in document["spec"]["configurations"]:
        row["quality"] *= 1.5 if row["light"] != row["heavy"] else 1
    changed = Profile(CascadeProfile.read(document))
    lines = list(diff.differences(profile, changed))
    assert any("time of batch 1 +200%" in line for line in lines)
    assert any("moved by over 1%" in line for line in lines)
    objective = Objective.model_validate({"latency": "20s"})
    assert not list(diff.plans(profile, profile, objective, 20.0, 4))
    document["spec"]["tiers"][1]["latency"][0]["seconds"] = 100.0
    much = Profile(CascadeProfile.read(document))
    assert "->" in next(diff.plans(profile, much, objective, 5.0, 4))


def test_scenes_are_read_from_their_captions() -> None:
    rng = random.Random(0)
    for _ in range(200):
        scene = random_scene(rng)
        assert parse_scene(str(scene)) == scene
    for wrong in ("", "a cat", "a big red circle top left", "the big red circle top left on white"):
        with pytest.raises(ValueError, match="is no scene"):
            parse_scene(wrong)


def test_ranks_agree_with_themselves() -> None:
    assert spearman(np.arange(9.0), np.arange(9.0) ** 3) == pytest.approx(1)


class Broken:
    """An engine whose images are faulty from the tenth on."""

    fault = "the model made an image that is not a number (NaN)"

    def __init__(self, *_: object, **__: object) -> None:
        self.made = 0

    def generate(self, batch: GenerateBatch) -> list[tuple[JobResult, Image.Image | None]]:
        """Return a picture a job, or the fault."""
        found: list[tuple[JobResult, Image.Image | None]] = []
        for job in batch.jobs:
            self.made += 1
            if self.made > 10:
                found.append((JobResult(id=job.id, error=self.fault, error_code="failed"), None))
            else:
                found.append((JobResult(id=job.id), Image.new("RGB", (8, 8))))
        return found


def paint(run: Run, texts: list[str]) -> None:
    with Progress(disable=True) as progress:
        images.paint_all(run, texts, "cpu", {"a": 4}, progress, lambda text: None)


def test_a_tier_that_fails_is_told_and_what_it_made_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "Engine", Broken)
    monkeypatch.setattr(images, "load_painter", lambda *_: None)
    run = run_of(tmp_path)
    with pytest.raises(images.ImageError, match=r"tier a, prompt 10 .*NaN\); try another dtype"):
        paint(run, many())
    assert len(list((run.work / "images/a").rglob("[0-9]*.png"))) == 10
    with pytest.raises(SpecError, match="other settings or prompts"):
        paint(run, many(61))
    with pytest.raises(images.ImageError, match="prompt 20 "):  # it went on where it was
        paint(run, many())


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "Engine", Broken)
    monkeypatch.setattr(images, "load_painter", lambda *_: None)
    write = store.write

    def full(path: Path, data: bytes) -> None:
        if path.name == "000003.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(store, "write", full)
    run = run_of(tmp_path)
    with pytest.raises(images.ImageError, match=r"No space left on device; what is there is kept"):
        paint(run, many())
    assert len(list((run.work / "images/a").rglob("[0-9]*.png"))) == 3


def test_a_batch_that_does_not_fit_ends_the_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Painter:
        def paint(self, call: Call) -> None:
            if len(call.prompts) == 8:
                raise MemoryError("out of memory")

    monkeypatch.setattr(latency, "load_painter", lambda *_: Painter())
    said: list[str] = []
    run = run_of(tmp_path, batches=[1, 2, 4, 8, 16], secondsPerPoint="100ms")
    monkeypatch.setattr(latency, "_gain", lambda *_: 1.0)
    with Progress(disable=True) as progress:
        found = latency.measure(run, "cpu", progress, said.append)
    assert [p["batch"] for p in found["a"]["points"]] == [1, 2, 4]
    assert "batch 8 does not fit in memory" in said[0]


def test_an_image_that_is_broken_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    store.write(images.path_of(run.work / "images/a", 0), b"no picture")
    with pytest.raises(images.ImageError, match="delete it"):
        list(images.read_images(run, run.spec.tiers[0], [0]))


def tiny_clip(folder: Path) -> None:
    """Write a CLIP with random weights that takes no time."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": 189},
        vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=tokenizer,
    ).save_pretrained(folder)


def test_features_by_clip_from_a_folder(tmp_path: Path) -> None:
    folder, real = tmp_path / "clip", tmp_path / "real"
    real.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (i * 80, 0, 0)).save(real / f"{i}.png")
    tiny_clip(folder)
    scorer = load_scorer(run_of(tmp_path, scorer="clip", scorerWeights="clip", reference="real"), "cpu")
    pictures = [Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")]
    features = scorer.features(["red", "blue"], pictures)
    assert features.shape == (2, 8)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
    assert scorer.scores(["red", "blue"], pictures) is not None
    assert scorer.reference(["x"]).shape == (3, 8)


def test_features_by_inception_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity

    real, weights = tmp_path / "real", tmp_path / "weights.pth"
    real.mkdir()
    for i in range(3):
        Image.new("RGB", (24, 24), (i * 80, 0, 0)).save(real / f"{i}.png")
    run = run_of(tmp_path, scorer="inception", scorerWeights="weights.pth", reference="real")
    with pytest.raises(SpecError, match=r"weights\.pth cannot be loaded"):
        load_scorer(run, "cpu")
    with monkeypatch.context() as patch:  # its own shapes, as they come: the published numbers are fetched
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = fidelity.FeatureExtractorInceptionV3("inception", ["2048"])
        torch.save(network.state_dict(), weights)
    scorer = load_scorer(run, "cpu")
    features = scorer.features(["red", "blue"], [Image.new("RGB", (24, 24), c) for c in ("red", "blue")])
    assert features.shape == (2, 2048)
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0
    assert scorer.scores(["red", "blue"], []) is None
    assert scorer.reference(["x"]).shape == (3, 2048)
    weights.write_bytes(b"no weights")
    with pytest.raises(SpecError, match="cannot be loaded"):
        load_scorer(run, "cpu")


def test_a_discriminator_reads_the_features_of_a_clip_and_a_worker_loads_it(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "clip")
    run = run_of(tmp_path, discriminator={"clip": "clip", "rounds": 40})
    # Red is good, blue is poor: an untrained CLIP's features tell as much.
    rng, prompts = np.random.default_rng(0), [f"picture {i}" for i in range(80)]
    good = rng.random((len(run.spec.tiers), 80)) < 0.5
    good[-1] = True
    for k, tier in enumerate(run.spec.tiers):
        for i in range(80):
            colour = (220, 30, 30) if good[k][i] else (30, 30, 220)
            noisy = np.clip(np.array(colour) + rng.integers(-25, 25, (16, 16, 3)), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noisy).save(buffer, "PNG")
            store.write(images.path_of(run.work / f"images/{tier.name}", i), buffer.getvalue())
    looks = Looks(np.zeros((len(good), 80, 1)), good.astype(float), np.zeros((80, 1)))
    part = np.arange(80)
    parts = Split(part[:40], part[40:60], part[60:])
    with Progress(disable=True) as progress:
        judged = discriminate.train(run, prompts, looks, parts, "cpu", progress)
    assert judged.auc > 0.9
    loaded = load_discriminator(run.work / "discriminator")
    some = list(images.read_images(run, run.spec.tiers[0], [60, 61]))
    assert loaded.confidence(some, prompts[60:62]) == pytest.approx(judged.confidence[0][60:62], abs=1e-5)
    assert loaded.temperature != 1.0
    with pytest.raises(SpecError, match=r"\./nowhere cannot be loaded"):
        discriminate.train(
            run_of(tmp_path, discriminator={"clip": "./nowhere"}), prompts, looks, parts, "cpu", progress
        )


@pytest.mark.parametrize(("energy_j", "told"), [(None, None), (0.0, None), (12.34567, 12.346)])
def test_energy_is_told_where_it_was_measured(energy_j: float | None, told: float | None) -> None:
    assert latency.joules(energy_j) == told
