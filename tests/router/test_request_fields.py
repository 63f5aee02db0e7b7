"""What clients send: each field is honoured, refused by value, or ignored and named; so are models and sizes."""

from __future__ import annotations

import asyncio
import json
import secrets
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from documents import profile_document
from hadis.api.images_api import ImagesApi
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.image_answers import made_quality
from hadis_router.http.images import GenerateRequest
from hadis_router.http.models import nearest_size
from hadis_router.http.request_body import read_request
from openai.types.image_generate_params import ImageGenerateParamsStreaming
from openai.types.image_model import ImageModel
from test_api import Instant, make_app, post

CLIENTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "client_requests.json").read_text())
"""The default requests of clients, as they were recorded."""


@asynccontextmanager
async def served(profile: Profile, workers: Instant, **api: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(profile, workers, **api)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        await asyncio.sleep(0)
        yield client


@pytest.fixture
async def client(profile: Profile) -> AsyncIterator[httpx.AsyncClient]:
    async with served(profile, Instant()) as client:
        yield client


def sized(*sizes: list[str]) -> Profile:
    """Return a profile of tiers that make these sizes."""
    tiers = profile_document()["spec"]["tiers"]
    for tier, made in zip(tiers, sizes, strict=True):
        del tier["size"]
        tier["sizes"] = made
    return Profile(CascadeProfile.read(profile_document(tiers=tiers)))


@pytest.mark.parametrize("name", CLIENTS)
async def test_the_default_request_of_a_client_gets_an_image(client: httpx.AsyncClient, name: str) -> None:
    answer = await post(client, **CLIENTS[name])
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("x-hadis-ignored") == ("style" if "style" in CLIENTS[name] else None)
    assert answer.json()["size"] == answer.headers["x-hadis-size"] == "32x32"


def test_every_field_of_the_newest_official_client_is_known() -> None:
    assert typing.get_type_hints(ImageGenerateParamsStreaming).keys() <= GenerateRequest.model_fields.keys()
    assert {ImagesApi().aliased(name) for name in typing.get_args(ImageModel)} == {"auto"}


IGNORED = [
    ({"style": "vivid"}, "style"),
    ({"moderation": "low", "complexity": "high"}, "moderation,complexity"),
    ({"prompt_extend": True, "sampler": {"a": [1]}}, "prompt_extend,sampler"),
    ({"style": 5, "moderation": ["low"], "complexity": {"a": 1}}, "style,moderation,complexity"),
    ({"input_fidelity": "high"}, "input_fidelity"),
    ({"stream": True, "response_format": "url"}, "response_format"),
    ({"stream": True, "response_format": "b64_json", "partial_images": 1}, None),
    ({"stream": True, "model": "dall-e-3"}, None),
    ({"stream": True, "partial_images": 2}, None),
    ({"output_compression": 50}, "output_compression"),
    ({"output_compression": 50, "output_format": "webp"}, None),
    ({"partial_images": 2, "keep_light": True}, "partial_images,keep_light"),
    ({"background": "opaque", "quality": "xhigh", "user": "ann", "safety_identifier": "b"}, None),
    ({"style": None, "unknown": None, "frame_count": None, "svg": None, "image": None, "n": None}, None),
    ({"ün\r\nknown": 1, "x" * 100: 1}, f"?n??known,{'x' * 64}"),
    ({f"field{i}": i for i in range(100)}, ",".join([*(f"field{i}" for i in range(16)), "..."])),
]


@pytest.mark.parametrize(("fields", "named"), IGNORED, ids=lambda value: str(value)[:30])
async def test_what_has_no_effect_is_named(
    client: httpx.AsyncClient, fields: dict[str, Any], named: str | None
) -> None:
    answer = await post(client, prompt="a", **fields)
    assert answer.headers.get("x-hadis-ignored") == named
    explained = await post(client, prompt="a", explain=True, style="vivid")
    assert explained.json()["hadis"][0]["ignored"] == ["style"]


REFUSED = [
    ({"background": "transparent"}, "background: images here are opaque; write opaque or auto"),
    ({"output_format": "svg"}, "output_format: images here are png, jpeg or webp"),
    ({"output_format": "gif"}, "output_format: images here are png, jpeg or webp"),
    ({"output_format": "bmp"}, "output_format: Input should be 'png', 'jpeg' or 'webp'"),
    ({"frame_count": 9}, "frame_count: an image here is one frame; leave it out"),
    ({"frame_duration_ms": 200}, "frame_duration_ms: an image here is one frame"),
    ({"svg": {"model": "x"}}, "svg: images here are png, jpeg or webp"),
    (
        {"image": "data:image/png;base64,"},
        "image: images are made here from a prompt alone; those from images are made by /v1/images/edits",
    ),
    ({"n": "two"}, "n: Input should be a valid integer"),
    ({"n": True}, "n: Input should be a valid integer"),
    ({"n": "true"}, "n: Input should be a valid integer"),
    ({"n": 1.5}, "n: Input should be a valid integer"),
    ({"n": "9" * 5000}, "n: Input should be a valid integer"),
    ({"seed": -2}, "seed: Input should be greater than or equal to 0"),
    ({"seed": 1e400}, "seed: Input should be a valid integer"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    ({"response_format": {"type": "json_object"}}, "response_format: Input should be 'b64_json' or 'url'"),
    ({"response_format": {"type": "url", "strict": True}}, "response_format: Input should be 'b64_json' or 'url'"),
    ({"prompt": ""}, "prompt: is empty"),
    ({"explain": 1}, "explain: Input should be a valid boolean"),
    ({"quality": "best"}, "quality: Input should be 'auto'"),
    ({"user": "a\x00"}, "user: holds U+0000, a control character"),
    ({"negative_prompt": "a\x07b"}, "negative_prompt: holds U+0007, a control character"),
    ({"size": "1024"}, "size: is no size; write WIDTHxHEIGHT in pixels, such as 1024x1024, or auto"),
    ({"size": "0x32"}, "size: is no size"),
    ({"size": "16:9"}, "size: is no size"),
    ({"size": "99999999x1"}, "size: is no size"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("strict", [False, True])
def test_what_cannot_be_honoured_is_refused_with_words(fields: dict[str, Any], words: str, strict: bool) -> None:
    with pytest.raises(ServeError) as refused:
        read_request(json.dumps({"prompt": "a", **fields}).encode(), strict)
    assert refused.value.status == 400
    assert refused.value.message.startswith(words)
    assert refused.value.param == words.split(":")[0]


NOTATIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"n": "2"}, {"n": 2}),
    ({"n": 2.0}, {"n": 2}),
    ({"seed": "7", "explain": "True"}, {"seed": 7, "explain": True}),
    ({"seed": -1}, {}),
    ({"guidance_scale": "7.5", "num_inference_steps": "20"}, {"guidance_scale": 7.5, "num_inference_steps": 20}),
    ({"stream": "true", "partial_images": "2"}, {"stream": True, "partial_images": 2}),
    ({"size": " 1024X512 "}, {"size": "1024x512"}),
    ({"size": "1024 x 512"}, {"size": "1024x512"}),
    ({"size": "1024×512"}, {"size": "1024x512"}),
    ({"size": "1024*512"}, {"size": "1024x512"}),
    ({"size": "AUTO"}, {}),
    ({"quality": "HD", "background": "Opaque"}, {"quality": "hd", "background": "opaque"}),
    ({"output_format": "JPEG"}, {"output_format": "jpeg"}),
    ({"user": 42, "safety_identifier": 7}, {"user": "42", "safety_identifier": "7"}),
    ({"output_format": "jpg"}, {"output_format": "jpeg"}),
    ({"response_format": "URL"}, {"response_format": "url"}),
    ({"response_format": {"type": "b64_json"}}, {"response_format": "b64_json"}),
    (dict.fromkeys(("model", "n", "size", "quality", "style", "user", "image", "response_format", "stream"), ""), {}),
]


@pytest.mark.parametrize(("fields", "documented"), NOTATIONS, ids=lambda value: str(value)[:30])
def test_values_in_other_notations_are_read_where_the_service_is_not_strict(
    fields: dict[str, Any], documented: dict[str, Any]
) -> None:
    read = read_request(json.dumps({"prompt": "a", **fields}).encode())
    assert read == read_request(json.dumps({"prompt": "a", **documented}).encode())
    assert read.ignored == ()
    with pytest.raises(ServeError):
        read_request(json.dumps({"prompt": "a", **fields}).encode(), strict=True)


def test_what_a_text_means_is_not_guessed() -> None:
    body = {"prompt": " 7 ", "user": "True", "negative_prompt": ""}
    read = read_request(json.dumps(body).encode())
    assert (read.prompt, read.user, read.negative_prompt) == (" 7 ", "True", "")


@pytest.mark.parametrize("space", ["\t", "\n", "\v", "\f", "\r\n", "\x85", "\u2028"])
def test_a_prompt_may_have_the_white_space_of_the_document_that_it_is_copied_from(space: str) -> None:
    body = {"prompt": f"a{space}b", "negative_prompt": f"c{space}d"}
    read = read_request(json.dumps(body).encode(), strict=True)
    assert (read.prompt, read.negative_prompt) == (body["prompt"], body["negative_prompt"])


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"', "utf8", "us-ascii", "iso-8859-1", ""])
async def test_a_charset_of_json_means_nothing(client: httpx.AsyncClient, charset: str) -> None:
    headers = {"content-type": f"application/json; charset={charset}"}
    answer = await client.post("/v1/images/generations", content='{"prompt": "ü"}'.encode(), headers=headers)
    assert answer.status_code == 200, answer.text


def test_what_is_never_read_is_checked_by_a_strict_service_alone() -> None:
    body = json.dumps({"prompt": "a", "style": 7}).encode()
    assert read_request(body).ignored == ("style",)
    with pytest.raises(ServeError, match="style: Input should be a valid string"):
        read_request(body, strict=True)


async def test_a_strict_service_refuses_what_it_does_not_know_and_nothing_else(profile: Profile) -> None:
    async with served(profile, Instant(), strict=True) as client:
        refused = await post(client, prompt="a", promt="b")
        known = await post(client, prompt="a", style="vivid", moderation="auto")
        assert (await post(client, prompt="a", promt=None)).status_code == 200
    assert refused.json()["error"]["message"] == "promt: unknown field; did you mean 'prompt'?"
    assert (known.status_code, known.headers["x-hadis-ignored"]) == (200, "style,moderation")


async def test_a_stream_names_what_it_ignores_too(client: httpx.AsyncClient) -> None:
    answer = await post(client, prompt="a", stream=True, style="vivid", seed=7, quality="standard")
    assert (answer.headers["x-hadis-ignored"], answer.headers["x-hadis-seed"]) == ("style", "7")
    assert json.loads(answer.text.split("data: ")[1])["quality"] == "medium"


async def test_answers_tell_what_was_made_as_openais_do(client: httpx.AsyncClient) -> None:
    official = openai.AsyncOpenAI(api_key="none", base_url="http://router/v1", http_client=cast(Any, client))
    made = await official.images.generate(
        prompt="a", model="gpt-image-1", size="1024x1024", output_format="webp", extra_body={"explain": True, "n": 2}
    )
    assert (made.size, made.quality, made.background, made.output_format) == ("32x32", "low", "opaque", "webp")
    assert made.model_extra is not None
    assert made.model_extra["hadis"][1]["seed"] == made.model_extra["hadis"][0]["seed"] + 1
    answer = await post(client, prompt="a", seed=7, explain=True)
    assert answer.headers["x-hadis-seed"] == "7"
    assert answer.json()["hadis"][0]["attempts"][0]["worker"].startswith("worker-")
    assert "http://" not in answer.text


@pytest.mark.parametrize(
    ("asked", "path", "told"),
    [
        ("auto", "light", "low"),
        ("auto", "deferred", "high"),
        ("standard", "heavy", "medium"),
        ("medium", "light", "medium"),
        ("hd", "heavy", "high"),
        ("max", "heavy", "max"),
        ("xhigh", "kept-light", "low"),
        ("low", "light", "low"),
        ("low", "heavy", "high"),
    ],
)
def test_the_quality_told_is_that_asked_for_unless_another_was_made(asked: str, path: Any, told: str) -> None:
    assert made_quality(asked, path) == told


@pytest.mark.parametrize("quality", ["high", "xhigh", "max", "hd"])
def test_qualities_from_high_to_max_ask_for_the_heavy_tier(quality: Any) -> None:
    assert GenerateRequest(prompt="a", quality=quality).preference == "heavy"


async def test_models_have_further_names(profile: Profile) -> None:
    workers = Instant()
    async with served(profile, workers, modelAliases={"dall-e-3": "heavy", "mine": "auto", "light": "heavy"}) as client:
        models = ("dall-e-3", "mine", "light")
        tiers = [(await post(client, prompt="a", model=model)).headers["x-hadis-tiers"] for model in models]
        assert tiers == ["heavy", "light", "light"], "a tier's own name goes first"
        refused = await post(client, prompt="a", model="dall-e-2")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


async def test_names_of_models_are_known_in_capitals_and_with_their_provider(profile: Profile) -> None:
    async with served(profile, Instant(), modelAliases={"Mine": "heavy", "dall-e-3": "heavy"}) as client:
        for model in ("MINE", " Mine ", "openai/DALL-E-3", "dall-e-3-2024-01-01", "Heavy", "openai/heavy"):
            answer = await post(client, prompt="a", model=model)
            assert answer.headers.get("x-hadis-tiers") == "heavy", model
        assert "url" in (await post(client, prompt="a", model="openai/dall-e-3")).json()["data"][0]
        assert (await client.get("/v1/models/openai/dall-e-3")).json()["id"] == "openai/dall-e-3"
        assert (await post(client, prompt="a", model="AUTO")).headers["x-hadis-tiers"] == "light"


async def test_a_model_is_described_by_each_of_its_names(client: httpx.AsyncClient) -> None:
    official = openai.AsyncOpenAI(api_key="none", base_url="http://router/v1", http_client=cast(Any, client))
    assert (await official.models.retrieve("gpt-image-1.5")).id == "gpt-image-1.5"
    assert (await official.models.retrieve("heavy")).to_dict()["sizes"] == ["32x32"]
    assert [m.id async for m in official.models.list()] == ["auto", "light", "heavy"]
    for name in ("x", "a/b", "%00"):
        unknown = await client.get(f"/v1/models/{name}")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
        assert "there are auto, light, heavy" in unknown.json()["error"]["message"]


MADE = ("1024x1024", "512x512", "1536x1024", "768x512", "1024x1536")


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("256x256", "512x512"),
        ("720x720", "512x512"),
        ("730x730", "1024x1024"),
        ("4096x4096", "1024x1024"),
        ("1792x1024", "1536x1024"),
        ("300x200", "768x512"),
        ("1024x1792", "1024x1536"),
        ("99999x1", "768x512"),
        ("1x99999", "1024x1536"),
    ],
)
def test_the_nearest_size_is_nearest_by_aspect_ratio_and_then_by_area(asked: str, made: str) -> None:
    assert nearest_size(asked, MADE) == made


async def test_sizes_are_the_nearest_that_the_asked_tier_makes(profile: Profile) -> None:
    workers = Instant()
    profile = sized(["32x32"], ["32x32", "64x64"])
    async with served(profile, workers) as client:
        for fields in ({}, {"model": "light"}, {"negative_prompt": "b"}, {"model": "none"}):
            answer = await post(client, prompt="a", **{"size": "1024x1024", **fields})
            assert answer.status_code == (404 if fields.get("model") == "none" else 200)
        arrivals = (await client.get("/v1/hadis/status")).json()["arrivals_by_size"]
    assert [job.params.size for job in workers.jobs] == ["64x64", None, "64x64"]
    assert arrivals == {"auto": 1, "64x64": 2, "other": 1}, "what is planned with is what is made"


async def test_a_negative_prompt_gets_the_nearest_size_of_a_tier_that_takes_it() -> None:
    workers = Instant()
    async with served(sized(["32x32"], ["64x64"]), workers) as client:
        answer = await post(client, prompt="a", size="33x33", negative_prompt="b")
        assert (answer.status_code, workers.jobs[0].params.size) == (200, None)
        assert answer.headers["x-hadis-tiers"] == "heavy"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "1024x1024"}, "size: no tier makes '1024x1024'; write 32x32 or auto"),
        ({"size": "33x32", "model": "light"}, "size: light does not make '33x32'; write 32x32 or auto"),
        ({"size": "1024"}, "size: is no size; write WIDTHxHEIGHT in pixels, such as 1024x1024, or auto"),
    ],
)
async def test_where_sizes_are_exact_others_are_refused(profile: Profile, fields: Any, message: str) -> None:
    async with served(profile, Instant(), sizePolicy="exact") as client:
        answer = await post(client, prompt="a", **fields)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
        assert (await post(client, prompt="a", size="32x32")).status_code == 200


async def test_seeds_that_nobody_named_are_numbers_that_javascript_reads(profile: Profile, monkeypatch: Any) -> None:
    monkeypatch.setattr(secrets, "randbits", lambda bits: 2**bits - 1)
    async with served(profile, Instant()) as client:
        made = (await post(client, prompt="a", n=10, explain=True)).json()["hadis"]
    assert all(one["seed"] < 2**53 for one in made)


async def test_the_safety_identifier_goes_before_the_user(profile: Profile) -> None:
    workers = Instant()
    async with served(profile, workers) as client:
        await post(client, prompt="a", user="ann", safety_identifier="bob")
        await post(client, prompt="a", user="ann", safety_identifier="")
    assert [job.client for job in workers.jobs] == ["user:bob", "user:ann"]
