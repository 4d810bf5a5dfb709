"""Nothing moves under the finger, and no press counts that hit what it was not aimed at, in a real browser."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests import stack as stacks
from tests.desk import PHONE, RESTED_MS, WIDE, Opens, ask, seed, statuses
from tests.flows.test_browser_pages import judged
from tests.stack import Stack, until

ARRIVALS = 5
SIZES = pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "360"])
# Where the middle of each button of the card is, and what is under a finger there.
UNDER_THE_FINGER = """
card => [...card.querySelectorAll('.actions .btn, .ask-form summary')].filter(one => one.offsetParent).map(one => {
    const box = one.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
    const under = document.elementFromPoint(x, y)?.closest('.btn, summary, a, button');
    return [Math.round(x), Math.round(y), under?.textContent.trim().replace(/\\s+/g, ' ')];
})
"""
WHAT_IS_THERE = """
places => places.map(([x, y]) => [x, y,
    document.elementFromPoint(x, y)?.closest('.btn, summary, a, button')?.textContent.trim().replace(/\\s+/g, ' ')])
"""
PUSH = "() => { document.querySelector('.page-head').style.paddingBottom = '44px'; }"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("still")) as running:
        yield running


@SIZES
@pytest.mark.parametrize("where", ["/", "/approvals/{0}"])
def test_what_is_under_the_finger_stays_there_while_others_arrive(
    stack: Stack, opens: Opens, size: dict[str, Any], where: str
) -> None:
    ids = seed(stack, "high", "low")
    page = opens(where.format(ids[0]), **size)
    card = page.locator(".ask").first
    if size is PHONE and where != "/":
        page.locator("#decision-reject").scroll_into_view_if_needed()
    elif size is PHONE:
        card.locator("[data-opens=reject]").evaluate("button => button.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(RESTED_MS)
    places = card.evaluate(UNDER_THE_FINGER)
    assert [words for _, _, words in places if words and "Reject" in words]
    for number in range(ARRIVALS):
        begin = time.monotonic()
        ask(stack, f"Sooner {number}: may it go on?", timeout_minutes=number + 2)
        ask(stack, f"Later {number}", timeout_minutes=119)
        while time.monotonic() < begin + 1:
            page.wait_for_timeout(100)
            assert page.evaluate(WHAT_IS_THERE, places) == places
    if where == "/":
        offer = page.locator("#fresh button")
        expect(offer).to_contain_text("new request")
        offer.click()
        expect(page.locator("#asks .ask")).to_have_count(2 + 2 * ARRIVALS)


def test_an_offer_taken_while_the_list_is_fetched_is_not_lost(stack: Stack, opens: Opens) -> None:
    seed(stack, "high")
    page = opens("/", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    offer = page.locator("#fresh button")
    ask(stack, "Does it come?", timeout_minutes=2)
    expect(offer).to_have_text("1 new request, show")
    held: list[Route] = []
    source = page.locator("#asks").get_attribute("data-src")
    page.route(f"**{source}*", lambda route: held.append(route), times=1)
    ask(stack, "And this one?", timeout_minutes=3)
    page.wait_for_timeout(RESTED_MS)
    assert held, "the list is being fetched"
    offer.click()
    held[0].continue_()
    expect(page.locator("#asks .ask")).to_have_count(3)


def test_a_verdict_from_elsewhere_moves_no_open_card(stack: Stack, opens: Opens) -> None:
    ids = seed(stack, "external", "high", "low")
    page = opens(f"/?open={ids[0]},{ids[1]}", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    second = page.locator(f"#ask-{ids[1]}")
    places = second.evaluate(UNDER_THE_FINGER)
    stack.call("POST", f"/api/approvals/{ids[0]}/approve", {}, expect=200)
    expect(page.locator(f"#ask-{ids[0]}")).to_have_attribute("data-closed", "")
    page.wait_for_timeout(RESTED_MS)
    now = second.evaluate(UNDER_THE_FINGER)
    assert [words for _, _, words in now] == [words for _, _, words in places]
    assert all(abs(new[at] - old[at]) <= 1 for new, old in zip(now, places, strict=True) for at in (0, 1)), "rounding"


@SIZES
def test_a_press_on_a_button_that_has_just_moved_is_refused(stack: Stack, opens: Opens, size: dict[str, Any]) -> None:
    (one,) = seed(stack, "low")
    page = opens("/", **size)
    page.wait_for_timeout(RESTED_MS)
    page.evaluate(PUSH)
    page.locator(f"#ask-{one} button[value=approve]").first.click()
    expect(page.locator("#notice")).to_contain_text("The page moved under your press. Nothing was done")
    assert statuses(stack, [one]) == ["pending"]
    page.wait_for_timeout(RESTED_MS)
    page.locator(f"#ask-{one} button[value=approve]").first.click()
    expect(page.locator(f"#ask-{one}")).to_contain_text("Approved by ada, here")


@SIZES
@pytest.mark.parametrize("where", ["/", "/approvals/{0}", "session"])
def test_a_stop_that_begins_or_is_lifted_moves_no_open_card(
    stack: Stack, opens: Opens, size: dict[str, Any], where: str
) -> None:
    seed(stack)
    session = stack.call("POST", "/api/sessions", {"prompt": "Write hello.txt", "agent": "demo"}, expect=201)["id"]
    one = stack.pending(session)["id"]
    try:
        for begins in (True, False):
            if not begins:
                stack.call("POST", "/api/stop", {"reason": "the disk is full"}, expect=200)
            page = opens(f"/sessions/{session}" if where == "session" else where.format(one), **size)
            card = page.locator(".ask").first
            page.wait_for_timeout(RESTED_MS)
            places = card.evaluate(UNDER_THE_FINGER)
            stack.call("POST" if begins else "DELETE", "/api/stop", {} if begins else None, expect=200)
            banner = page.locator("#stop-banner .banner")
            expect(banner).to_have_count(1 if begins else 0)
            if begins:
                expect(banner).to_be_in_viewport()
            page.wait_for_timeout(RESTED_MS)
            after = card.evaluate(UNDER_THE_FINGER)
            assert [at[:2] for at in after] == [at[:2] for at in places]
            page.close()
            stack.call("DELETE", "/api/stop", expect=200)
    finally:
        stack.call("DELETE", "/api/stop", expect=200)
        stack.call("POST", f"/api/sessions/{session}/cancel", {})


def bar_of(page: Page) -> dict[str, dict[str, float]]:
    boxes = {}
    for name in ("Reject…", "Approve"):
        box = page.locator("#decide-bar .btn", has_text=name).bounding_box()
        assert box
        boxes[name] = dict(box)
    return boxes


@pytest.mark.parametrize("kind", ["high", "low"])
def test_on_a_phone_one_thumb_sees_and_decides(stack: Stack, opens: Opens, kind: str) -> None:
    (one,) = seed(stack, kind)
    page = opens(f"/approvals/{one}", **PHONE)
    page.wait_for_timeout(RESTED_MS)
    for shown in ("pre", "#decide-bar"):
        box = page.locator(f"main {shown}").first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 740, shown
    if kind == "high":
        expect(page.locator("#decide-bar")).to_contain_text("It deletes or overwrites data.")
    bar = bar_of(page)
    assert all(box["height"] >= 44 and box["y"] > 740 / 2 for box in bar.values())
    assert bar["Approve"]["x"] - bar["Reject…"]["x"] - bar["Reject…"]["width"] >= 24
    approve = bar["Approve"]
    at = (approve["x"] + approve["width"] / 2, approve["y"] + approve["height"] / 2)
    page.touchscreen.tap(*at)
    page.wait_for_timeout(120)
    page.touchscreen.tap(*at)
    page.wait_for_timeout(RESTED_MS)
    if kind == "high":
        assert statuses(stack, [one]) == ["pending"], "a double tap does not confirm"
        yes = page.locator("#decision-sure button")
        box = yes.bounding_box()
        assert box and box["height"] >= 44 and box["y"] > 0 and box["y"] + box["height"] <= bar["Approve"]["y"]
        yes.tap()
    until(lambda: statuses(stack, [one]) == ["approved"], "it is approved")
    expect(page.locator("#decide-bar")).to_contain_text("Approved by ada")
    assert page.url.endswith(one), "the second tap led nowhere"


@SIZES
def test_deciding_pages_have_no_violations(stack: Stack, opens: Opens, size: dict[str, Any]) -> None:
    ids = seed(stack, "high", "two", "plan")
    page = opens("/", **size, reduced_motion="reduce")
    found: list[str] = []
    for path in ("/", f"/?open={','.join(ids)}", *(f"/approvals/{one}" for one in ids)):
        page.goto(path)
        page.wait_for_selector("html[data-hub=live]", state="attached")
        page.keyboard.press("x")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            found += judged(page, path, theme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert found == [], "\n".join(found)
