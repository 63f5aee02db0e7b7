"""The page in a real browser: what a person does with it, and what goes wrong meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from hadis.planning.plan import TierPlan
from hadis.protocol.address import worker_name
from hadis_router.http.keys import KeyRing
from page_router import DEFERS, KEEPS, PageRouter
from PIL import Image
from playwright.sync_api import Page, expect

LOAD = """(count) => { for (let i = 0; i < count; i++) fetch("v1/images/generations", {method: "POST",
    headers: {"content-type": "application/json"}, body: JSON.stringify({prompt: "y"})}); }"""
FILES = Path(__file__).parents[2] / "router/hadis_router/http/files"


def test_an_image_and_the_path_it_took(page: Page, router: PageRouter) -> None:
    router.plan = replace(KEEPS, deferral_ratio=0.05)  # of a plan that defers none, few images are judged
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator(".path")).to_have_attribute("data-path", "light")
    expect(page.locator("figure")).to_have_count(1)
    expect(page.locator("figcaption")).to_contain_text("confidence 0.40")
    expect(page.locator(".path")).to_contain_text("difficulty 12.00")
    assert page.locator("figure img").evaluate("image => image.naturalWidth") == 64


def test_a_model_that_was_named_is_not_said_to_be_for_a_hard_prompt(page: Page, router: PageRouter) -> None:
    page.fill("#prompt", "a red circle")
    page.select_option("#model", "heavy")
    page.click("#go")
    expect(page.locator(".path .step strong")).to_have_text("The request names this model.")


def test_numbers_that_are_nothing_have_no_sign_and_shares_are_not_rounded_to_all(page: Page) -> None:
    shown = page.evaluate(
        """async () => {
            const { exactPercent, number, percent, precise, seconds } = await import("/page/dom.js");
            return [number(-0.001), number(-0.006), precise(-0), percent(-0.001), seconds(-0.001), exactPercent(0.999)];
        }"""
    )
    assert shown == ["0.00", "-0.01", "0", "0%", "0.00 s", "99.9%"]


def test_no_number_of_an_axis_is_cut(page: Page) -> None:
    spare = page.evaluate(
        """async () => {
            const { axisWidth } = await import("/page/charts.js");
            const context = document.querySelector("canvas").getContext("2d"), room = 15;  // uPlot's for ticks and gap
            const needed = (text) => context.measureText(text).width / devicePixelRatio + room;
            return ["0", "2.5", "0.083", "0.0835", "12,345"].map((text) => axisWidth(null, ["0", text]) - needed(text));
        }"""
    )
    assert min(spare) >= 0
    half = page.evaluate(
        """async () => {
            const { EDGE_PX } = await import("/page/charts.js");
            const context = document.querySelector("canvas").getContext("2d");
            return [EDGE_PX, context.measureText("00:00:00").width / devicePixelRatio / 2];
        }"""
    )
    assert half[0] > half[1], "the last time of an axis stands half beyond it"


def test_a_deferred_image_stands_beside_the_light_one(page: Page, router: PageRouter) -> None:
    router.plan = DEFERS
    expect(page.locator("#facts")).to_contain_text("100%")
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator(".path")).to_have_attribute("data-path", "deferred")
    captions = page.locator("figcaption").all_inner_texts()
    assert [text.split("\n")[0] for text in captions] == ["light", "heavy"]
    assert page.locator("figure.chosen img").get_attribute("alt") == "image by heavy"


def test_one_who_waits_is_told_how_long(page: Page, router: PageRouter) -> None:
    router.delay_s = 1.5
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator("#waiting")).to_contain_text("light draws, about")
    expect(page.locator(".path")).to_be_visible()
    expect(page.locator("#waiting")).to_be_empty()


def test_a_full_queue_says_when_to_come_again(page: Page, router: PageRouter) -> None:
    router.stop()
    router.limit, router.workers, router.delay_s = 1, 1, 5.0
    router.start()
    expect(page.locator("#link")).to_have_class("pill live")
    page.evaluate(LOAD, 4)
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator("#failure")).to_contain_text("Try again in")


def test_no_worker_is_said_and_it_recovers(page: Page, router: PageRouter) -> None:
    router.workers = 0
    expect(page.locator("#link")).to_have_text("live, no worker ready")
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator("#failure")).to_contain_text("no worker is ready yet")
    router.workers = 2
    expect(page.locator("#link")).to_have_text("live")
    page.click("#go")
    expect(page.locator(".path")).to_be_visible()
    expect(page.locator("#failure")).to_be_hidden()


def test_it_survives_a_restart_of_the_router(page: Page, router: PageRouter) -> None:
    router.stop()
    expect(page.locator("#link")).to_have_class("pill lost")
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator("#failure")).to_contain_text("does not answer")
    router.start()
    expect(page.locator("#link")).to_have_class("pill live")
    page.click("#go")
    expect(page.locator(".path")).to_be_visible()


def test_a_service_with_keys_asks_for_one(page: Page, router: PageRouter, tmp_path: Path) -> None:
    router.stop()
    keys = tmp_path / "keys"
    keys.write_text(f"sha256:{hashlib.sha256(b'shop-key').hexdigest()}\n")
    router.keys, router.delay_s = KeyRing(keys), 1.5
    router.start()
    page.reload()
    expect(page.locator("#link")).to_have_text("an API key is needed")
    page.fill("#key", "shop-kez")
    page.press("#key", "Enter")
    expect(page.locator("#link")).to_have_text("an API key is needed")
    page.fill("#key", "shop-key")
    page.press("#key", "Enter")
    expect(page.locator("#link")).to_have_class("pill live")
    expect(page.locator("#key-form")).to_be_hidden()
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator("#waiting")).to_contain_text("light draws, about")
    expect(page.locator(".path")).to_be_visible()
    page.locator(".point").first.click()
    expect(page.locator("#front-need")).to_contain_text("at 2.50 requests/s")
    page.locator(".again summary").click()
    expect(page.locator(".again pre").first).to_contain_text("Bearer $HADIS_API_KEY")
    for name, text in (("status as JSON", "plan_gpu_s"), ("metrics", "hadis_router_workers"), ("models", "auto")):
        with page.expect_popup() as tab:
            page.click(f"footer >> text={name}")
        expect(tab.value.locator("body")).to_contain_text(text)


def test_what_runs_moves_by_itself(page: Page, router: PageRouter) -> None:
    chart = page.locator(".chart", has_text="Answered, images/s")
    expect(chart).to_have_attribute(
        "aria-label", "Answered, images/s: light 0, deferred 0, heavy 0, better-light 0, kept-light 0"
    )
    for _ in range(30):
        httpx.post(f"{router.url}v1/images/generations", json={"prompt": "x"})
    expect(chart).not_to_have_attribute(
        "aria-label", "Answered, images/s: light 0, deferred 0, heavy 0, better-light 0, kept-light 0"
    )
    expect(page.locator("#facts")).to_contain_text("2.50/s, forecast 3.00")
    router.plan = DEFERS
    expect(page.locator("#changes-list")).to_contain_text("time to spare")
    for ratio, share in (("straight to heavy", "0%"), ("drawn again", "100%")):
        expect(page.locator("#facts div", has_text=ratio).locator("dd")).to_have_text(share)


def test_a_tier_that_is_off_its_profile_is_said_in_words(page: Page, router: PageRouter) -> None:
    lines = page.locator("#facts div", has_text="time per batch").locator("dd")
    expect(lines).to_have_text(["no batch yet"])
    for _ in range(20):
        router.learn("http://w0", "heavy", 1.0)
    expect(lines).to_have_text(["heavy: as long as the profile says"])
    for _ in range(20):
        router.learn("http://w0", "light", 1.5)
    stale = "light: 1.5 times as long as the profile says (the profile is out of date)"
    expect(lines).to_have_text([stale, "heavy: 1.1 times as long as the profile says"])
    expect(page.locator("#facts .bad")).to_have_text([stale])


def learn_slowness(router: PageRouter) -> None:
    """Have the second worker take four times as long as the first."""
    for _ in range(20):
        router.learn("http://w0", "light", 1.0)
        router.learn("http://w1", "light", 4.0)


def test_a_slow_worker_is_said_in_words_beside_what_it_runs(page: Page, router: PageRouter) -> None:
    workers = page.locator("#workers li")
    expect(workers).to_have_text(["1: idle", "2: idle"])
    learn_slowness(router)
    slow = rf"slow: takes [34](\.\d)? times as long as its peers \({worker_name('http://w1')}\)"
    expect(workers).to_have_text(["1: idle", re.compile(f"^2: idle, {slow}$")])
    router.delay_s = 3.0
    page.evaluate(LOAD, 2)
    expect(workers).to_have_text(["1: light", re.compile(f"^2: light, {slow}$")])


def test_energy_and_money_are_told_where_they_are_known(page: Page, router: PageRouter) -> None:
    money = page.locator("#facts div", has=page.locator("dt", has_text="money")).locator("dd")
    expect(money).to_have_text(["1.6 per hour"])
    assert page.locator("#facts dt", has_text="energy").count() == 0
    router.plan = replace(DEFERS, joules_per_image=41.96, money_per_image=0.0012345)
    expect(money).to_have_text(["0.00123 per image, 1.6 per hour"])
    expect(page.locator("#facts div", has_text="energy predicted")).to_contain_text("42 J per image")


def test_workers_that_are_missing_load_and_shared_ones_do_not(page: Page, router: PageRouter) -> None:
    tiers = (TierPlan("light", 1, 4), TierPlan("heavy", 2, 4))
    router.plan = replace(DEFERS, tiers=tiers)
    expect(page.locator("#facts div", has_text="drawn again")).to_contain_text("100%")
    expect(page.locator("#workers li")).to_have_text(["1: idle", "2: idle"])
    router.workers = 1
    expect(page.locator("#workers li")).to_have_text(["1: idle", "loading"])


def test_the_front_says_what_a_point_needs(page: Page) -> None:
    page.locator(".point").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#front-need")).to_contain_text("at 2.50 requests/s")
    assert page.locator(".point[aria-pressed=true]").count() == 1


def test_everything_can_be_done_by_keyboard(page: Page) -> None:
    focused = []
    for _ in range(16):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.className.baseVal || ''"))
    fields = [name for name in focused if name in ("prompt", "model", "seed", "size", "go")]
    assert fields[:5] == ["prompt", "model", "seed", "size", "go"]
    assert "point" in focused
    page.focus("#prompt")
    page.keyboard.type("a red circle")
    page.keyboard.press("Enter")
    expect(page.locator(".path")).to_be_visible()


def test_a_request_can_be_passed_on(page: Page, router: PageRouter) -> None:
    page.fill("#prompt", 'it\'s a <b>red</b> "circle"')
    page.fill("#seed", "7")
    page.click("#go")
    page.locator(".again summary").click()
    texts = page.locator("pre").all_inner_texts()
    assert "it'\\''s a <b>red</b>" in texts[0]
    assert 'extra_body={"seed":7}' in texts[1]
    compile(texts[1], "snippet", "exec")
    page.goto(router.url + page.locator(".again a").get_attribute("href"))  # type: ignore[operator]  # it has one
    page.reload()
    expect(page.locator("#prompt")).to_have_value('it\'s a <b>red</b> "circle"')


@pytest.mark.parametrize(("n", "image_format"), [(1, "png"), (2, "webp")])
def test_what_is_copied_as_curl_ends_in_picture_files(
    page: Page, router: PageRouter, tmp_path: Path, n: int, image_format: str
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.fill("#prompt", "it's a circle")
    page.fill("#n", str(n))
    page.select_option("#format", image_format)
    page.fill("#negative", "squares")
    page.fill("#seed", "7")
    page.click("#go")
    expect(page.locator("figure img")).to_have_count(n)
    links = page.locator("figure a").evaluate_all("links => links.map((a) => a.download)")
    assert links == [f"hadis-heavy-{7 + i}.{image_format}" for i in range(n)]
    page.locator(".again summary").click()
    page.get_by_role("button", name="copy as curl").click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert '"negative_prompt":"squares"' in command
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=20)
    names = ["image.png"] if n == 1 else ["image-1.webp", "image-2.webp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (64, 64)


def test_an_error_stands_where_the_picture_was(page: Page, router: PageRouter) -> None:
    page.fill("#prompt", "a red circle")
    page.click("#go")
    expect(page.locator("figure")).to_have_count(1)
    router.workers = 0
    expect(page.locator("#link")).to_have_text("live, no worker ready")
    page.click("#go")
    refused = "Refused (503 no_workers) no worker is ready yet. Try again in 2 s."
    expect(page.locator("#failure")).to_have_text(refused)
    expect(page.locator("figure")).to_have_count(0)
    expect(page.locator("#lost")).to_contain_text(re.compile(r"refused [\d.]+/s no worker is ready"))
    expect(page.locator("#facts div", has_text="within 8 s").locator("dd")).to_have_text("50% (objective 99%)")


def test_what_a_ratio_means_is_told_and_keeps_the_focus(page: Page, router: PageRouter) -> None:
    page.locator("#facts .tip").first.focus()
    points = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert points.startswith("within: The share of the last minute's images")
    router.plan = DEFERS
    expect(page.locator("#facts div", has_text="drawn again")).to_contain_text("100%")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == points


def test_a_router_that_is_gone_leaves_what_was_seen_last_and_says_of_when(page: Page, router: PageRouter) -> None:
    room = page.locator("#link").evaluate("pill => getComputedStyle(pill).paddingLeft")
    router.stop()
    expect(page.locator("#link")).to_have_text("router not reached, trying again")
    expect(page.locator("#now-title")).to_have_text(re.compile(r"^At \d\d:\d\d:\d\d, when the router last answered$"))
    assert page.locator("#link").evaluate("pill => getComputedStyle(pill).paddingLeft") == room
    charts = page.locator(".chart canvas")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        expect(charts).to_have_count(7)
        page.set_viewport_size({"width": 700 if scheme == "dark" else 900, "height": 800})
        expect(page.locator(".u-legend").first).to_contain_text("2.5")
    router.start()
    expect(page.locator("#now-title")).to_have_text("Now", timeout=30_000)  # it asks again every 8 s at last


def test_changes_of_plan_are_folded(page: Page) -> None:
    expect(page.locator("#changes-latest")).to_have_text(re.compile(r"^latest at \d\d:\d\d:\d\d: light \+ heavy$"))
    expect(page.locator("#changes-list")).to_be_hidden()
    page.locator("#changes summary").click()
    expect(page.locator("#changes-list")).to_be_visible()


def test_nothing_typed_becomes_markup(page: Page) -> None:
    page.fill("#prompt", "<img src=x onerror=document.title='broken'>")
    page.click("#go")
    expect(page.locator(".path")).to_be_visible()
    assert page.title() == "HADIS"
    expect(page.locator("#changes-list")).to_contain_text("a <b>calm</b> plan")
    for path in FILES.glob("*.js"):
        text = path.read_text()
        if path.name == "key.js":
            text = text.replace("sessionStorage", "")  # the key alone is kept, until the tab is closed
        assert not [
            bad for bad in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "Storage") if bad in text
        ]


OVERLAPS = """() => {
    const boxes = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
        if (!text.data.trim() || !text.parentElement.checkVisibility()) continue;
        const range = document.createRange();
        range.selectNodeContents(text);
        for (const box of range.getClientRects()) if (box.width && box.height) boxes.push([text, box]);
    }
    const common = (a, b, from, to) => Math.min(a[to], b[to]) - Math.max(a[from], b[from]);
    const crossed = (a, b) => common(a, b, "left", "right") > 1 && common(a, b, "top", "bottom") > 4;
    const overlaps = [];
    boxes.forEach(([text, box], i) => boxes.slice(i + 1).forEach(([other, its]) => {
        if (text !== other && crossed(box, its)) overlaps.push(`${text.data.trim()} | ${other.data.trim()}`);
    }));
    return overlaps;
}"""
"""Texts on others, by their lines; lines may touch, for a line is higher than its letters."""


def check_readable(page: Page, *viewports: tuple[int, str]) -> None:
    """Check that everybody can read the page as it is now, and that nothing is cut off or lies on something else."""
    for width, scheme in viewports:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two
        violations = Axe().run(page).response["violations"]
        serious = [fault for fault in violations if fault["impact"] in ("serious", "critical")]
        assert serious == [], f"{width} {scheme}: {json.dumps(serious, indent=1)[:4000]}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, scheme
        assert page.evaluate(OVERLAPS) == [], f"{width} {scheme}"


VIEWPORTS = [(width, scheme) for scheme in ("light", "dark") for width in (360, 390, 768, 1280)]


def test_everybody_can_read_it_at_any_time(page: Page, router: PageRouter) -> None:
    router.plan = DEFERS
    httpx.post(f"{router.url}v1/images/generations", json={"prompt": "x", "model": "none"})
    learn_slowness(router)
    page.fill("#prompt", "a red circle " * 9)
    page.fill("#n", "2")
    page.click("#go")
    expect(page.locator(".path")).to_have_count(2)
    expect(page.locator("#workers")).to_contain_text("slow")
    expect(page.locator("#lost")).to_contain_text("no such model")
    page.locator(".again summary").click()
    page.locator("#changes summary").click()
    page.locator(".point").last.click()
    expect(page.locator("#front-need")).to_contain_text("requests/s")
    ring = page.locator("#front-chart .plan").evaluate("ring => ring.getBBox().x + ring.getBBox().width")
    assert ring <= page.locator("#front-chart svg").evaluate("drawing => drawing.clientWidth")
    check_readable(page, *VIEWPORTS)
    router.delay_s = 5.0
    page.evaluate(LOAD, 2)
    page.click("#go")
    expect(page.locator("#waiting")).to_contain_text("about")
    check_readable(page, VIEWPORTS[0])
    router.workers = 0
    expect(page.locator("#failure")).to_be_visible(timeout=30_000)  # after the latency objective
    expect(page.locator("#link")).to_have_text("live, no worker ready")
    check_readable(page, *VIEWPORTS)


@pytest.mark.parametrize("width", [360, 2560])
def test_any_width(page: Page, router: PageRouter, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    learn_slowness(router)
    page.fill("#prompt", "a " * 200 + "x" * 300)
    page.click("#go")
    expect(page.locator(".path")).to_be_visible()
    expect(page.locator("#workers")).to_contain_text("slow")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    words = page.locator("#front-chart text").evaluate_all(
        "texts => texts.map((text) => text.getBoundingClientRect().height)"
    )
    assert min(words) >= 12, "pixels; the drawing is not scaled down with its words"


def test_it_is_small_and_asks_no_other_host(router: PageRouter) -> None:
    answer = httpx.get(router.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert sum(path.stat().st_size for path in FILES.rglob("*") if path.is_file()) < 150_000
    assert httpx.get(f"{router.url}page/main.js").headers["content-security-policy"] == policy
    assert httpx.get(f"{router.url}page/../settings.py").status_code == 404
