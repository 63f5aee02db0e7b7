"""The attention backend of one tier, which is no other's."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from fast_tiers import apart, fast, refusal
from hadis_worker.loading.modules import Modules
from tiny_models import TinyModels

MATH = {"attention": "_native_math"}


def test_a_backend_computes_its_tier_alone(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    math = _AttentionBackendRegistry._backends[AttentionBackendName._NATIVE_MATH]

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        return math(*args, **options)

    monkeypatch.setitem(_AttentionBackendRegistry._backends, AttentionBackendName._NATIVE_MATH, counted)
    default = _AttentionBackendRegistry._active_backend
    modules = Modules()
    other, plain = fast(tiny.get("flux-deep"), modules, speed=MATH), fast(tiny.get("flux-deep"), modules)
    assert _AttentionBackendRegistry._active_backend == default
    expected = plain.paint()
    assert calls == []
    made = other.paint()
    assert len(calls) == 2 * 4, "two steps of four blocks"
    assert apart(made, expected) < 1e-5


@pytest.mark.parametrize(
    ("model", "backend", "words"),
    [
        ("flux-deep", "native_math", "speed.attention: there is no native_math; is it _native_math?"),
        ("flux-deep", "sage", "speed.attention: sage cannot be used: Sage Attention backend 'sage' is not usable "),
        ("sd3-deep", "_native_math", "speed.attention: SD3Transformer2DModel has one attention only, which is torch's"),
        ("sdxl", "_native_math", "speed.attention: UNet2DConditionModel has one attention only, which is torch's"),
    ],
)
def test_what_has_no_such_backend(tiny: TinyModels, model: str, backend: str, words: str) -> None:
    default = _AttentionBackendRegistry._active_backend
    assert refusal(tiny.get(model), speed={"attention": backend}).startswith(words)
    assert _AttentionBackendRegistry._active_backend == default
