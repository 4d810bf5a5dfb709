"""The pages of questions, lists and the account in a real browser, against the whole of Orchestra."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests import browser as browsers
from tests import stack as stacks
from tests.stack import Stack, until

AXE = Path(__file__).parents[1] / "vendor" / "axe" / "axe-4.14.1.min.js"
PATIENCE_MS = 60_000
ARMED_AFTER_MS = 900
EVIL = "</title><script>window.ran=1</script><img src=x onerror=window.ran=2>\u202egnp.exe {{ 7*7 }}"

PASSWORD = "a long enough password"
PEOPLE = f"""
from django.contrib.auth.models import Group, User
roles = dict(ada="Approver", ben="Approver", vera="Viewer", olga="Operator", root="Administrator")
for name, group in roles.items():
    User.objects.create_user(name, password={PASSWORD!r}).groups.add(Group.objects.get(name=group))
"""

CHANGED = """
from sessions_app.transcript import writer
from sessions_app.models import AgentSession
from django.db import transaction
session = AgentSession.objects.create(title="A change", agent="demo", status="completed", working_directory="/tmp")
given = {"file_path": "a.py", "old_string": "one\\ntwo\\n", "new_string": "one\\n2\\n"}
with transaction.atomic():
    writer.append(session.pk, [writer.line("tool_use", id="t1", name="Edit", input=given)])
print(session.pk)
"""
WRITTEN = """
from uuid import UUID
from sessions_app.transcript import writer
from django.db import transaction
with transaction.atomic():
    writer.append(UUID("{session}"), [writer.line("tool_result", tool_use_id="t1", content="it is written")])
"""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("console")) as running:
        running.manage("shell", "--no-imports", "-c", PEOPLE)
        yield running


@pytest.fixture
def opens(stack: Stack, chromium: Browser) -> Iterator[Open]:
    """``opens("ada", "/approvals")``: a page of her own browser, signed in by password; complaints fail the test."""
    complaints: list[list[str]] = []
    with ExitStack() as all_of_them:

        def open_page(name: str, path: str, **options: Any) -> Page:
            own, said = all_of_them.enter_context(browsers.context(chromium, stack.console_url, **options))
            complaints.append(said)
            page = own.new_page()
            page.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
            page.goto(f"/sign-in?next={path}")
            page.fill("#id_username", name)
            page.fill("#id_password", PASSWORD)
            page.click("button:has-text('Sign in')")
            page.wait_for_selector("html[data-hub=live]", state="attached")
            return page

        yield open_page
    for said in complaints:
        assert said == []


def asked(stack: Stack, prompt: str = "Write hello.txt") -> tuple[str, dict[str, Any]]:
    """A session of the demo agent, and its open question."""
    session = stack.call("POST", "/api/sessions", {"prompt": prompt, "agent": "demo"}, expect=201)["id"]
    return session, stack.pending(session)


def external(stack: Stack, title: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = stack.call("POST", "/api/approvals", {"title": title, **more}, expect=201)
    return found


def closed(stack: Stack, approval: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = stack.call("GET", f"/api/approvals/{approval}", expect=200)
        return found if found["status"] != "pending" else None

    return until(look, "the approval closes")


def finish(stack: Stack, session: str) -> None:
    stack.call("POST", f"/api/sessions/{session}/cancel", {})


def test_a_question_is_approved_by_keyboard_alone(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    page = opens("ada", "/")
    page.wait_for_selector(f"#ask-{approval['id']}")
    page.keyboard.press("j")
    page.wait_for_selector(f"#ask-{approval['id']}[data-open]")
    page.wait_for_timeout(ARMED_AFTER_MS)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/approvals/{approval['id']}")
    page.wait_for_selector("html[data-hub=live]", state="attached")
    page.wait_for_timeout(ARMED_AFTER_MS)
    page.keyboard.press("a")
    expect(page.locator("#verdict")).to_contain_text("Approved by ada, here")
    decided = closed(stack, approval["id"])
    assert (decided["status"], decided["decided_by"], decided["decided_via"]) == ("approved", "ada", "dashboard")
    expect(page.locator("#timeline")).to_contain_text("Handed to the agent, once")
    assert page.locator("#decision button, #decision summary").count() == 0
    finish(stack, session)


def test_a_secret_on_a_card_is_revealed_on_the_page_of_the_request(stack: Stack, opens: Open) -> None:
    secret = "gh" + "p_" + "a1B2c3D4e5" * 4
    asked = external(stack, "May I go on?", body=f"git clone https://x:{secret}@github.com/acme/shop.git")
    page = opens("ada", f"/?open={asked['id']}")
    card = page.locator(f"#ask-{asked['id']}")
    expect(card).to_contain_text("https://x:[secret 1]@github.com/acme/shop.git")
    page.wait_for_timeout(ARMED_AFTER_MS)
    card.get_by_role("button", name="Reveal", exact=True).click()
    expect(page.locator("#question")).to_contain_text(secret)
    expect(page.locator("#question")).to_contain_text("1 secret shown in clear. This was recorded.")
    expect(page.locator("#timeline")).to_contain_text("Secrets revealed by ada, here")
    stack.call("POST", f"/api/approvals/{asked['id']}/cancel", {})


def test_an_edited_input_is_previewed_and_is_what_runs(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    assert approval["tool_name"] == "Bash"
    page = opens("ada", f"/approvals/{approval['id']}")
    page.wait_for_timeout(ARMED_AFTER_MS)
    page.keyboard.press("e")
    field = page.locator("textarea[name=updated_input]")
    expect(field).to_be_focused()
    field.fill('{"command": ')
    expect(page.locator("#edited")).to_contain_text("This is not JSON yet")
    field.fill('{"command": "echo changed by a person"}')
    expect(page.locator("#edited .command")).to_contain_text("echo changed by a person")
    expect(page.locator("#edited .diff ins, #edited .diff .add").first).to_be_visible()
    page.click("text=Approve as edited")
    expect(page.locator("#verdict")).to_contain_text("Approved with edits by ada, here")
    decided = closed(stack, approval["id"])
    assert decided["updated_input"] == {"command": "echo changed by a person"}
    assert decided["run_digest"] != decided["input_digest"]

    def ran() -> bool:
        events = stack.call("GET", f"/api/sessions/{session}/events?limit=1000")["results"]
        return any(
            event["kind"] == "tool_result" and "changed by a person" in str(event["payload"]) for event in events
        )

    assert until(ran, "the edited command has run")
    finish(stack, session)


def test_who_only_watches_has_no_buttons_and_no_way_around_them(stack: Stack, opens: Open) -> None:
    approval = external(stack, "May I deploy?")
    page = opens("vera", f"/approvals/{approval['id']}")
    expect(page.locator("#decision")).to_contain_text("You are watching")
    assert page.locator("main button[type=submit], main summary[data-key], #decide-bar").count() == 0
    token = page.evaluate("JSON.parse(document.body.getAttribute('hx-headers'))['X-CSRFToken']")
    for path in ("answer", "decide"):
        answer = requests.post(  # Playwright's own client does not find names below .localhost
            f"{stack.console_url}/approvals/{approval['id']}/{path}",
            data={"decision": "approve", "csrfmiddlewaretoken": token},
            headers={"X-CSRFToken": token, "Referer": stack.console_url},
            cookies={cookie["name"]: cookie["value"] for cookie in page.context.cookies()},
            timeout=30,
        )
        assert answer.status_code == 403
        assert "form was too old" not in answer.text, "it is the right that is missing"
    page.keyboard.press("a")
    page.goto("/approvals?status=pending")
    assert page.locator("[name=id], .batch-bar").count() == 0
    assert stack.call("GET", f"/api/approvals/{approval['id']}")["status"] == "pending"
    stack.call("POST", f"/api/approvals/{approval['id']}/cancel", {}, expect=200)


def test_of_two_who_look_the_second_is_told_who_was_first_and_keeps_what_was_typed(stack: Stack, opens: Open) -> None:
    approval = external(stack, "Whose answer counts?")
    address = f"/approvals/{approval['id']}"
    first, second = opens("ada", address), opens("ben", address)
    second.click("summary:has-text('Reject')")
    second.fill("textarea[name=reason]", "not on a Friday")
    first.wait_for_timeout(ARMED_AFTER_MS)
    first.click("#decision button[value=approve]")
    expect(first.locator("#verdict")).to_contain_text("Approved by ada")
    expect(second.locator("#verdict")).to_contain_text("Approved by ada, here")
    expect(second.locator("#decision .kept")).to_have_text("not on a Friday")
    assert second.locator("#decision button").count() == 0


def test_an_answer_that_comes_too_late_is_told_and_changes_nothing(stack: Stack, opens: Open) -> None:
    approval = external(stack, "Too late?")
    page = opens("ben", f"/approvals/{approval['id']}")
    page.wait_for_timeout(ARMED_AFTER_MS)
    page.route("**/decision", lambda route: route.fulfill(body=""))  # the news of it got lost
    stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
    page.click("summary:has-text('Reject')")
    page.fill("textarea[name=reason]", "no")
    page.click("#decision button[value=reject]")
    expect(page.locator("#decision [role=alert]")).to_contain_text("Already answered. Approved by tester")
    assert closed(stack, approval["id"])["status"] == "approved"


def test_several_are_answered_after_all_of_them_were_shown(stack: Stack, opens: Open) -> None:
    three = [external(stack, f"Deploy service {n}?", body=f"Build {n} is green.") for n in range(3)]
    choice = external(stack, "When?", options=["Now", "Tonight"])
    page = opens("ada", "/approvals?status=pending")
    for approval in (*three, choice):
        page.check(f"input[value='{approval['id']}']")
    page.click("text=Approve 4 chosen…")
    expect(page.locator("h1")).to_have_text("Approve 3 requests together")
    expect(page.locator("main")).to_contain_text("Build 2 is green.")
    expect(page.locator("main")).to_contain_text("it needs more than a yes")
    assert all(stack.call("GET", f"/api/approvals/{one['id']}")["status"] == "pending" for one in three)
    stack.call("POST", f"/api/approvals/{three[0]['id']}/reject", {"reason": "first"}, expect=200)
    page.click("button:has-text('Approve 3 requests')")
    expect(page.locator("h1")).to_have_text("2 of 3 recorded")
    expect(page.locator("main")).to_contain_text("already rejected")
    assert [closed(stack, one["id"])["status"] for one in three] == ["rejected", "approved", "approved"]
    stack.call("POST", f"/api/approvals/{choice['id']}/cancel", {}, expect=200)


def test_a_rejection_may_stop_the_turn(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    page = opens("root", f"/sessions/{session}")
    card = page.locator(f"#ask-{approval['id']}")
    card.wait_for()
    page.wait_for_timeout(ARMED_AFTER_MS)
    card.get_by_role("button", name="Reject…").click()
    card.locator("textarea[name=reason]").fill("not in this folder")
    card.get_by_role("button", name="Reject and stop the turn").click()
    ended = stack.ended(session)
    assert [turn["status"] for turn in ended["turns"]] == ["interrupted"]
    decided = closed(stack, approval["id"])
    assert (decided["status"], decided["decided_by"], decided["reason"]) == ("rejected", "root", "not in this folder")
    expect(page.locator("#rows")).to_contain_text("Rejected by root, here")
    expect(page.locator("#under")).to_contain_text("The agent remembers everything above")
    finish(stack, session)


def test_times_are_those_of_the_clock_on_the_readers_wall(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    for zone in ("Asia/Kolkata", "America/New_York"):
        page = opens("root", f"/sessions/{session}", timezone_id=zone)
        for address, where, form in (
            (f"/sessions/{session}", ".turn-mark time", "%H:%M"),
            (f"/approvals/{approval['id']}", "#timeline time", "%H:%M:%S"),
        ):
            page.goto(address)
            time = page.locator(where).first
            at = datetime.fromisoformat(time.get_attribute("datetime") or "").astimezone(ZoneInfo(zone))
            expect(time).to_have_text(at.strftime(form))
    finish(stack, session)


def test_a_row_of_a_list_is_a_target_as_a_whole(stack: Stack, opens: Open) -> None:
    session, approval = asked(stack)
    page = opens("root", "/approvals")
    page.locator("tr", has=page.locator(f"a[href$='{approval['id']}']")).locator("td.num").click()
    page.wait_for_url(f"**/approvals/{approval['id']}")
    finish(stack, session)


def test_hostile_texts_stay_texts_on_every_page(stack: Stack, opens: Open) -> None:
    session = stack.call("POST", "/api/sessions", {"prompt": EVIL, "title": EVIL[:200], "agent": "demo"}, expect=201)[
        "id"
    ]
    asked_by_agent = stack.pending(session)
    asked_by_program = external(
        stack, EVIL, body=f"{EVIL}\n" + "x" * 5000, facts={EVIL: EVIL, "b": {"c": EVIL}}, options=[EVIL, "plain"]
    )
    page = opens("ada", "/")
    own = [f"/sessions/{session}", *(f"/approvals/{one['id']}" for one in (asked_by_agent, asked_by_program))]
    found = [f"/sessions?q={EVIL[:30]}", f"/approvals?tool={EVIL[:30]}"]
    for path in ("/", "/sessions", "/approvals", "/statistics", "/diagnostics", *own, *found):
        page.goto(path)
        page.wait_for_timeout(100)
        assert page.evaluate("window.ran") is None, path
        assert page.evaluate("[...document.images].length + [...document.scripts].filter(s => !s.src).length") == 0, (
            path
        )
        assert "\u202e" not in page.inner_text("body"), path
        assert "49" not in page.title(), path
    page.goto(f"/approvals/{asked_by_program['id']}")
    page.wait_for_timeout(ARMED_AFTER_MS)
    page.click("summary:has-text('Reject')")
    page.fill("textarea[name=reason]", EVIL)
    page.click("#decision button[value=reject]")
    expect(page.locator("#verdict")).to_contain_text("Rejected by ada")
    assert closed(stack, asked_by_program["id"])["reason"] == EVIL
    assert page.evaluate("window.ran") is None
    finish(stack, session)


def test_a_change_in_a_transcript_is_seen_side_by_side_where_there_is_room(stack: Stack, opens: Open) -> None:
    session = stack.manage("shell", "--no-imports", "-c", CHANGED).strip().splitlines()[-1]
    page = opens("vera", f"/sessions/{session}", viewport={"width": 1280, "height": 800})
    unified, split = page.locator(".diff-unified"), page.locator(".diff-split")
    expect(unified).to_be_visible()
    expect(split).to_be_hidden()
    page.get_by_label("Split").check()
    expect(split).to_be_visible()
    expect(unified).to_be_hidden()
    stack.manage("shell", "--no-imports", "-c", WRITTEN.format(session=session))
    expect(page.locator(".row-tool samp")).to_have_text("it is written")
    expect(split).to_be_visible()  # the row was drawn again, and keeps what was chosen
    page.set_viewport_size({"width": 360, "height": 780})
    expect(unified).to_be_visible()
    expect(split).to_be_hidden()
    expect(page.get_by_label("Split")).to_be_hidden()


def test_signing_out_everywhere_ends_what_another_browser_shows(stack: Stack, opens: Open) -> None:
    here, there = opens("olga", "/account"), opens("olga", "/sessions")
    here.click("button:has-text('Sign out everywhere')")
    here.wait_for_url("**/sign-in")
    there.wait_for_url("**/sign-in?next=**")


def pages(stack: Stack) -> list[str]:
    session, approval = asked(stack)
    edit = external(stack, "A question with facts", facts={"commit": "9f3c71a"}, options=["Now", "Later"])
    done = external(stack, "A question that is over")
    stack.call("POST", f"/api/approvals/{done['id']}/reject", {"reason": "not today"}, expect=200)
    own = [f"/sessions/{session}", *(f"/approvals/{one['id']}" for one in (approval, edit, done))]
    forms = ["/sessions/new", "/account", "/welcome"]
    lists = ["/sessions", "/approvals", "/approvals?status=expired&risk=high", "/agents", "/statistics", "/diagnostics"]
    return ["/", *lists, *own, *forms]


def test_every_page_is_fit_for_screen_readers_and_for_a_phone(stack: Stack, opens: Open) -> None:
    page = opens("root", "/", reduced_motion="reduce")
    found: list[str] = []
    for path in pages(stack):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        page.goto(path)
        page.wait_for_selector("html[data-hub=live]", state="attached")
        page.evaluate("document.querySelectorAll('main details:not([name])').forEach(one => { one.open = true; })")
        found += judged(page, path, "light")
        page.emulate_media(color_scheme="dark")
        found += judged(page, path, "dark", "color-contrast")
        for width in (360, 320):
            page.set_viewport_size({"width": width, "height": 780})
            sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if sideways > 0:
                found.append(f"{path} at {width}: {sideways} px too wide")
    assert found == [], "\n".join(found)


def test_the_way_in_is_fit_for_screen_readers_too(stack: Stack, chromium: Browser) -> None:
    with browsers.quiet_page(chromium, stack.console_url, color_scheme="dark") as page:
        page.goto("/sign-in?next=/statistics")
        assert judged(page, "/sign-in", "dark") == []
        page.set_viewport_size({"width": 320, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def judged(page: Page, path: str, theme: str, *rules: str) -> list[str]:
    """What axe-core finds on the page as it stands: rule, number of places, the first of them."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    options = {"runOnly": list(rules)} if rules else {}
    violations = page.evaluate("options => axe.run(document, options).then(told => told.violations)", options)
    return [
        f"{path} ({theme}): {one['id']} in {len(one['nodes'])} places, first {one['nodes'][0]['target']}:"
        f" {one['nodes'][0].get('failureSummary', '')}"
        for one in violations
    ]
