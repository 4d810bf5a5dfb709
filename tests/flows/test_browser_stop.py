"""Stopping all agents in a real browser, against the whole of Orchestra in the embedded mode (SQLite)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.flows.test_browser_pages import ARMED_AFTER_MS, AXE, asked, closed, finish, opens, stack
from tests.stack import Stack, until

__all__ = ["opens", "stack"]  # fixtures

Open = Callable[..., Page]
PHONE = {"width": 360, "height": 740}
SHOTS = os.environ.get("SHOTS", "")


def shot(page: Page, name: str) -> None:
    """A picture for whoever wants to look: ``SHOTS=folder``."""
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


@pytest.fixture(autouse=True)
def lifted(stack: Stack) -> Iterator[None]:
    yield
    stack.call("DELETE", "/api/stop", expect=200)


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("axe.run()")
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


def test_two_presses_stop_everything_and_every_open_page_says_so_at_once(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    page, other = opens("ada", "/"), opens("vera", f"/sessions/{session}")
    page.get_by_label("Stop all agents…").click()
    page.fill("#reason", "the disk is full")
    shot(page, "stop-form")
    page.click("button:has-text('Stop all agents')")
    for one in (page, other):
        expect(one.locator("#stop-banner")).to_contain_text("By ada (in the console)")
        expect(one.locator("#stop-banner")).to_contain_text("the disk is full")
        expect(one.locator("#stop-banner .banner")).to_be_in_viewport()
    shot(page, "stopped-home")
    shot(other, "stopped-session")
    stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
    assert closed(stack, approval["id"])["consumed_at"] is None
    page.click("#stop-banner a")
    shot(page, "stopped-switch")
    page.click("button:has-text('Let agents go on')")
    expect(other.locator("#stop-banner .banner")).to_have_count(0)
    expect(page.locator(".banner-ok")).to_contain_text("was lifted by ada")
    until(lambda: stack.call("GET", f"/api/approvals/{approval['id']}")["consumed_at"], "the call goes on")
    finish(stack, session)


def test_countdowns_stand_still_while_agents_are_stopped(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    page = opens("ada", f"/approvals/{approval['id']}")
    stack.call("POST", "/api/stop", {}, expect=200)
    expect(page.locator("#stop-banner[data-stopped]")).to_be_attached()
    left = page.locator(".countdown b").first
    page.wait_for_timeout(1500)
    before = left.text_content()
    page.wait_for_timeout(2500)
    assert left.text_content() == before
    stack.call("DELETE", "/api/stop", expect=200)
    expect(left).not_to_have_text(before or "")
    finish(stack, session)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_the_switch_is_within_reach_and_reads_well(stack: Stack, opens: Open, theme: str) -> None:
    page = opens("ada", "/approvals", viewport=PHONE, color_scheme=theme)
    page.get_by_label("Stop all agents…").click()
    page.wait_for_selector("#reason")
    shot(page, f"phone-form-{theme}")
    assert violations(page) == []
    page.check("input[value=interrupt]")
    page.click("button:has-text('Stop all agents')")
    expect(page.locator("#stop-banner .banner")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    shot(page, f"phone-stopped-{theme}")
    page.click("#stop-banner a")
    page.wait_for_selector("button:has-text('Let agents go on')")
    assert violations(page) == []
    shot(page, f"phone-lift-{theme}")


def test_no_single_key_stops_anything(stack: Stack, opens: Open) -> None:
    page = opens("ada", "/")
    page.wait_for_timeout(ARMED_AFTER_MS)
    for key in [*"abcdefghijklmnopqrstuvwxyz0123456789", "Enter", "Space", "Escape"]:
        page.keyboard.press(key)
    assert stack.call("GET", "/api/stop", expect=200)["stopped"] is False


def test_an_operator_may_stop_and_is_told_who_lifts(stack: Stack, opens: Open) -> None:
    page = opens("olga", "/stop")
    page.click("button:has-text('Stop all agents')")
    page.wait_for_selector("#stop-banner .banner")
    page.wait_for_selector("html[data-hub=live]", state="attached")
    page.click("#stop-banner a")
    page.wait_for_url("**/stop?*")
    assert page.locator("button:has-text('Let agents go on')").count() == 0
    expect(page.locator("main")).to_contain_text("can lift it")
