"""The console in a real browser against the real thing: the demo agent, the real CLI, every process."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, WebSocketRoute, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests import browser as browsers
from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path
from tests.stack import Stack, running

PATIENCE_MS = 60_000
ARMED_MS = 700  # a card that just appeared takes no answer

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe "
    "![p](http://192.0.2.1/p.png) [go](javascript:alert(3))"
)
PRINTS = r"printf '\033[31mred\033[0m \033]0;title\007\033[2J<b>bold</b>\n'"
SCENARIOS = {
    "named": {
        "hostile": [
            {"blocks": [
                {"type": "text", "text": HOSTILE},
                {"type": "tool_use", "id": "toolu_ansi", "name": "Bash", "input": {
                    "command": PRINTS,
                    "description": "harmless</p><script>alert(4)</script>"}},
            ]},
            {"text": "z" * 1_000_000, "chunk": 250_000},
        ],
        "talk": [{"text": "word " * 300, "chunk": 20, "chunk_delay": 0.05}],
        "write": [
            {"tool": "Write", "id": "toolu_w", "input": {"file_path": "notes.txt", "content": "one\ntwo\n"}},
            "written: {{last_tool_result}}",
        ],
        "risky": [{"tool": "Bash", "id": "toolu_r", "input": {"command": "rm -rf build"}}, "told"],
    },
    "by": "position",
}  # fmt: skip


ROWS = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from sessions_app.models import AgentSession, Event

made = {}
for name, group in (("tester", "Administrator"), ("anna", "Approver"), ("vera", "Viewer")):
    user, _ = User.objects.get_or_create(username=name)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    made[name] = client.cookies["sessionid"].value

def said(seq):
    if seq % 4 == 1:
        return "text", {"text": f"Step number {seq}"}
    if seq % 4 == 2:
        return "tool_use", {"id": f"t{seq}", "name": "Bash", "input": {"command": "echo"}}
    if seq % 4 == 3:
        return "tool_result", {"tool_use_id": f"t{seq - 1}", "content": "out" * 5}
    return "tool_use", {"id": f"r{seq}", "name": "Read", "input": {"file_path": f"f{seq}.py"}}

long = AgentSession.objects.create(title="Long", status="completed", working_directory="/tmp", last_seq=20000)
lines = [(seq, *said(seq)) for seq in range(1, 20001)]
Event.objects.bulk_create(
    [Event(session=long, seq=seq, kind=kind, payload=json.dumps(what)) for seq, kind, what in lines], batch_size=2000
)
print(json.dumps({**made, "long": str(long.pk)}))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("console")
    home = folder / "home"
    home.mkdir()
    with messages_api(SCENARIOS) as api:
        env = {"AGENT_CLI_PATH": str(real_cli_path()), **real_cli_env(api.url, home)}
        with running(folder, **env) as stack:
            yield stack


@pytest.fixture(scope="module")
def rows(stack: Stack) -> dict[str, str]:
    """What no door makes quickly: signed-in browsers of three people, and a session of twenty thousand events."""
    return dict(json.loads(stack.manage("shell", "-v", "0", "-c", ROWS).strip().splitlines()[-1]))


@pytest.fixture
def person(stack: Stack, chromium: Browser, rows: dict[str, str]) -> Iterator[Callable[..., BrowserContext]]:
    """``person("anna")``: a browser in which she is signed in. What its pages complain about fails the test."""
    opened: list[tuple[Any, list[str]]] = []

    def of(name: str = "tester", **options: Any) -> BrowserContext:
        manager = browsers.context(chromium, stack.console_url, **options)
        context, complaints = manager.__enter__()
        context.add_cookies([{"name": "sessionid", "value": rows[name], "url": stack.console_url}])
        context.set_default_timeout(PATIENCE_MS)
        opened.append((manager, complaints))
        return context

    yield of
    for manager, _ in opened:
        manager.__exit__(None, None, None)
    assert [said for _, complaints in opened for said in complaints] == []


@pytest.fixture
def page(person: Callable[..., BrowserContext]) -> Page:
    return person().new_page()


def start(stack: Stack, scenario: str, **more: Any) -> str:
    body = {"prompt": f"please do scenario:{scenario}", **more}
    return str(stack.call("POST", "/api/sessions", body, expect=201)["id"])


def live(page: Page) -> None:
    expect(page.locator("html")).to_have_attribute("data-hub", "live", timeout=PATIENCE_MS)


def card(page: Page, approval: str) -> Any:
    return page.locator(f"#ask-{approval}")


def narrow_enough(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_newcomer_sees_the_whole_loop_with_the_demo_agent(stack: Stack, page: Page) -> None:
    page.goto("/welcome")
    page.click("text=Start the demo")
    page.wait_for_url(re.compile("/sessions/"))
    session = page.url.rsplit("/", 1)[1]
    first = page.locator(".ask[data-open]")
    expect(first.locator(".command")).to_contain_text("uname -srm", timeout=PATIENCE_MS)
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    page.wait_for_timeout(ARMED_MS)
    first.locator("button[value=approve]").click()
    expect(page.locator(".row-tool").first).to_contain_text("Approved by tester, here", timeout=PATIENCE_MS)

    second = page.locator(".ask[data-open]")
    expect(second).to_contain_text("hello-from-orchestra.md", timeout=PATIENCE_MS)
    page.wait_for_timeout(ARMED_MS)
    second.locator("button[value=approve]").click()
    expect(page.locator("#session-head .badge").first).to_contain_text("Completed", timeout=PATIENCE_MS)
    folder = Path(stack.call("GET", f"/api/sessions/{session}")["working_directory"])
    assert (folder / "hello-from-orchestra.md").exists()
    expect(page).to_have_title(re.compile("^Demo"))

    page.fill("#message", "please ask me")
    page.keyboard.press("Control+Enter")
    question = page.locator(".ask[data-kind=question]")
    expect(question).to_contain_text("Which greeting", timeout=PATIENCE_MS)
    assert page.input_value("#message") == ""
    assert question.locator(":checked").count() == 0
    page.wait_for_timeout(ARMED_MS)
    question.locator("text=Ahoy").click()
    question.locator("button[value=approve]").click()
    expect(page.locator("#rows")).to_contain_text("Ahoy", timeout=PATIENCE_MS)
    stack.ended(session, turn=2)


def test_of_two_who_answer_the_second_is_told_who_was_first_and_a_third_sees_it_happen(
    stack: Stack, person: Callable[..., BrowserContext]
) -> None:
    session = start(stack, "write")
    approval = stack.pending(session)
    slow = person("anna", java_script_enabled=False).new_page()
    slow.goto(f"/?open={approval['id']}")
    watcher = person("vera").new_page()
    watcher.goto("/")
    live(watcher)
    assert watcher.locator(".ask-form").count() == 0

    quick = person().new_page()
    quick.goto(f"/?open={approval['id']}")
    live(quick)
    quick.wait_for_timeout(ARMED_MS)
    card(quick, approval["id"]).locator("button[value=approve]").click()
    expect(card(quick, approval["id"])).to_contain_text("Approved by tester, here")
    expect(card(watcher, approval["id"])).to_have_attribute("data-closed", "", timeout=PATIENCE_MS)

    card(slow, approval["id"]).locator("button[value=approve]").first.click()
    expect(slow.locator(".banner").last).to_contain_text("Already answered. Approved by tester, here")
    audit = stack.call("GET", f"/api/approvals/{approval['id']}")
    assert (audit["decided_by"], audit["decided_via"]) == ("tester", "dashboard")
    stack.ended(session)


def test_a_page_that_lost_its_socket_says_so_takes_no_answer_and_catches_up_by_itself(stack: Stack, page: Page) -> None:
    sockets: list[WebSocketRoute] = []
    cut = False

    def through(route: WebSocketRoute) -> None:
        if cut:
            route.close(code=1001)
            return
        sockets.append(route)
        route.connect_to_server()

    page.route_web_socket(re.compile("/ws/hub"), through)
    session = start(stack, "write")
    approval = stack.pending(session)
    page.goto(f"/sessions/{session}")
    live(page)
    buttons = card(page, approval["id"]).locator(".actions").first
    expect(buttons).to_be_visible()

    cut = True
    sockets[-1].close(code=1001)
    expect(page.locator("#banner-reconnecting")).to_be_visible(timeout=PATIENCE_MS)
    expect(buttons).to_be_hidden()
    stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
    stack.ended(session)
    assert "written:" not in page.inner_text("#rows")

    cut = False
    page.evaluate("dispatchEvent(new Event('online'))")
    live(page)
    expect(page.locator("#rows")).to_contain_text("written:", timeout=PATIENCE_MS)
    expect(page.locator("#rows")).to_contain_text("Approved by tester, by API")
    expect(page.locator("#banner-reconnecting")).to_be_hidden()
    keys = page.evaluate("[...document.querySelectorAll('#rows [data-key]')].map(row => row.dataset.key)")
    assert len(keys) == len(set(keys))
    assert keys == sorted(keys, key=lambda key: int(key[1:]))


def test_what_an_agent_says_and_prints_stays_text(stack: Stack, page: Page) -> None:
    session = start(stack, "hostile", title=HOSTILE[:150])
    approval = stack.pending(session)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/sessions/{session}")
    live(page)
    expect(card(page, approval["id"])).to_contain_text("harmless</p><script>")
    stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
    stack.ended(session)
    expect(page.locator("#rows .t-bad")).to_have_text("red", timeout=PATIENCE_MS)
    for address in (f"/sessions/{session}", "/"):
        page.goto(address)
        live(page)
        assert page.evaluate("[...document.scripts].filter(script => !script.src).length") == 0
        assert page.evaluate("document.images.length") == 0
        assert page.evaluate("document.querySelectorAll('a[href^=\"javascript\"]').length") == 0
        content = page.content()
        assert "\u202e" not in content
        assert "\x1b" not in content
        assert narrow_enough(page)
    page.goto(f"/sessions/{session}")
    assert "\\u202egnp.exe" in page.inner_text("#rows")
    printed = page.locator("#rows .terminal").last.text_content() or ""
    assert "<b>bold</b>" in printed
    assert "⟨950,000 more characters⟩" in page.inner_text("#rows")
    assert all(url.startswith(stack.console_url) for url in asked if not url.startswith("data:"))


def test_text_streams_in_without_moving_what_is_read_and_becomes_the_finished_row(stack: Stack, page: Page) -> None:
    session = start(stack, "talk")
    page.goto(f"/sessions/{session}")
    live(page)
    expect(page.locator("#rows .live")).to_be_visible(timeout=PATIENCE_MS)
    first = page.locator("#rows > li").first
    before = first.bounding_box()
    seen = len(page.inner_text("#rows .live"))
    page.wait_for_function("length => document.querySelector('#rows .live').innerText.length > length", arg=seen)
    assert first.bounding_box() == before
    stack.ended(session)
    expect(page.locator("#rows .live")).to_be_hidden(timeout=PATIENCE_MS)
    expect(page.locator(".row-agent:not(.live)")).to_have_count(1)
    assert page.inner_text(".row-agent:not(.live) .text").count("word") == 300


def test_everything_can_be_done_by_keyboard_alone(stack: Stack, page: Page) -> None:
    risky, plain = start(stack, "risky"), start(stack, "write")
    high, low = stack.pending(risky), stack.pending(plain)
    page.goto("/")
    live(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("a")  # nothing is armed yet: it only chooses
    page.wait_for_timeout(ARMED_MS)
    assert stack.call("GET", f"/api/approvals/{high['id']}")["status"] == "pending"

    reach(page, high["id"])
    page.wait_for_timeout(ARMED_MS)
    page.keyboard.press("a")
    expect(card(page, high["id"])).to_contain_text("Approve this high-risk call?")
    assert stack.call("GET", f"/api/approvals/{high['id']}")["status"] == "pending"
    page.keyboard.press("Escape")
    press_until_one_can_type(page, "r")
    page.keyboard.type("keep the build")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card(page, high["id"])).to_contain_text("Rejected by tester, here")
    assert stack.call("GET", f"/api/approvals/{high['id']}")["reason"] == "keep the build"

    reach(page, low["id"])
    page.wait_for_timeout(ARMED_MS)
    press_until_one_can_type(page, "e")
    page.keyboard.press("Control+a")
    page.keyboard.type(json.dumps({"file_path": "notes.txt", "content": "edited\n"}))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card(page, low["id"])).to_contain_text("Approved with edits by tester, here")
    folder = Path(stack.ended(plain)["working_directory"])
    assert (folder / "notes.txt").read_text() == "edited\n"

    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.locator("#dialog textarea").first).to_be_focused()
    page.keyboard.type("please do scenario:talk")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(re.compile("/sessions/"))
    stack.ended(page.url.rsplit("/", 1)[1])


def test_a_question_moved_to_while_the_page_opens_it_by_itself_takes_the_keys(stack: Stack, page: Page) -> None:
    high, low = armed_high_and_low(stack, page)
    press_until_one_can_type(page, "r")
    page.keyboard.type("no")
    held: list[Route] = []
    page.route(f"**/approvals/{low['id']}/card", lambda route: held.append(route))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card(page, high["id"])).to_contain_text("Rejected by tester, here")
    for _ in range(200):
        page.wait_for_timeout(50)
        if held:
            break
    for _ in range(5):
        page.keyboard.press("j")
    expect(card(page, low["id"])).to_be_focused()
    held[0].continue_()
    expect(card(page, low["id"])).to_have_attribute("data-open", "")
    for late in held[1:]:
        late.continue_()
    page.wait_for_timeout(ARMED_MS)
    page.keyboard.press("a")
    expect(card(page, low["id"])).to_contain_text("Approved by tester, here")
    stack.ended(low["session"])


def test_a_question_moved_to_before_the_page_goes_on_by_itself_takes_the_keys(stack: Stack, page: Page) -> None:
    high, low = armed_high_and_low(stack, page)
    page.evaluate("htmx.config.defaultSettleDelay = 3000")  # the verdict is shown, what follows it comes later
    page.evaluate(
        "id => document.addEventListener("
        "'htmx:load', ({detail}) => { window.wentOn ||= detail.elt.id === `ask-${id}`; })",
        high["id"],
    )
    press_until_one_can_type(page, "r")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card(page, high["id"])).to_contain_text("Rejected by tester, here")
    page.evaluate("htmx.config.defaultSettleDelay = 20")
    page.evaluate(  # another part of the page comes between the card and its settling
        "id => document.addEventListener('htmx:afterSwap', ({detail}) => {"
        " if (detail.elt.id === `ask-${id}`) htmx.trigger(document.getElementById('home-decided'), 'htmx:load'); })",
        low["id"],
    )
    for _ in range(5):
        page.keyboard.press("j")
    expect(card(page, low["id"])).to_be_focused()
    assert not page.evaluate("window.wentOn")
    page.wait_for_function("() => window.wentOn")
    expect(card(page, low["id"])).to_have_attribute("data-open", "")
    page.wait_for_timeout(ARMED_MS)
    page.keyboard.press("a")
    expect(card(page, low["id"])).to_contain_text("Approved by tester, here")
    stack.ended(low["session"])


def armed_high_and_low(stack: Stack, page: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two questions on the front page, the first of them armed."""
    high, low = (stack.pending(start(stack, scenario)) for scenario in ("risky", "write"))
    page.goto("/")
    live(page)
    reach(page, high["id"])
    page.wait_for_timeout(ARMED_MS)
    return high, low


def press_until_one_can_type(page: Page, key: str) -> None:
    """As a person would: a card that was drawn anew meanwhile takes no key for a moment."""
    for _ in range(10):
        page.wait_for_timeout(ARMED_MS + 100)
        page.keyboard.press(key)
        page.wait_for_timeout(250)
        if page.evaluate("document.activeElement?.tagName") == "TEXTAREA":
            return
        page.wait_for_timeout(ARMED_MS + 100)
        page.keyboard.press("j")  # a key that came too early pauses them
    raise AssertionError(f"{key} opened nothing")


def reach(page: Page, approval: str) -> None:
    """Move with J until the question has the focus."""
    page.keyboard.press("Escape")
    for _ in range(12):
        page.keyboard.press("j")
        page.wait_for_timeout(150)
        if page.evaluate("id => document.activeElement?.closest('.ask')?.dataset.ask === id", approval):
            expect(card(page, approval)).to_have_attribute("data-open", "")
            return
    raise AssertionError("J never came there")


CLICK_AT_ONCE = """
window.clicked = 0;
addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
    const button = document.querySelector('.ask[data-open] button[value=approve]');
    if (button && !window.clicked) { window.clicked = 1; button.click(); }
}).observe(document.body, {subtree: true, childList: true}));
"""


def test_a_question_that_appears_under_the_finger_takes_no_answer_yet(stack: Stack, page: Page) -> None:
    page.add_init_script(CLICK_AT_ONCE)
    page.goto("/sessions/new")
    page.fill("textarea[name=prompt]", "please do scenario:write")
    page.click("text=Start >> visible=true")
    page.wait_for_url(re.compile("/sessions/[0-9a-f]{8}"))
    session = page.url.rsplit("/", 1)[1]
    approval = stack.pending(session)
    page.wait_for_function("() => window.clicked === 1")
    page.wait_for_timeout(ARMED_MS)
    assert stack.call("GET", f"/api/approvals/{approval['id']}")["status"] == "pending"
    click_until_it_counts(page, stack, approval["id"])
    stack.ended(session)


def click_until_it_counts(page: Page, stack: Stack, approval: str) -> None:
    """As a person would: a card that was drawn anew meanwhile takes no answer for a moment."""
    for _ in range(20):
        with suppress(PlaywrightTimeout):
            card(page, approval).locator("button[value=approve]").click(timeout=2000)
        page.wait_for_timeout(500)
        if stack.call("GET", f"/api/approvals/{approval}")["status"] != "pending":
            return
    raise AssertionError("no click counted")


def test_on_a_phone_nothing_hides_past_the_edge_and_targets_are_big(
    stack: Stack, person: Callable[..., BrowserContext]
) -> None:
    session = start(stack, "write")
    approval = stack.pending(session)
    page = person(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).new_page()
    for address in ("/", f"/sessions/{session}", "/welcome", "/sessions/new"):
        page.goto(address)
        live(page)
        assert narrow_enough(page), address
        small = page.evaluate(
            "[...document.querySelectorAll('main button, main .btn, .nav a')].filter(one => one.offsetParent"
            " && one.getBoundingClientRect().height < 43).map(one => one.outerHTML.slice(0, 120))"
        )
        assert small == [], address
    page.goto(f"/sessions/{session}")
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight")  # the transcript scrolls alone
    page.wait_for_timeout(ARMED_MS)
    card(page, approval["id"]).locator("button[value=approve]").tap()
    expect(page.locator(".row-tool")).to_contain_text("Approved by tester, here", timeout=PATIENCE_MS)
    stack.ended(session)


# Scrolls near the top, waits for earlier rows and tells by how many pixels the row that was read has moved.
SCROLL_UP = """
async () => {
    const pane = document.getElementById('transcript'), rows = document.getElementById('rows');
    pane.scrollTop = 300;
    const top = pane.getBoundingClientRect().top;
    const read = [...rows.children].find(row => row.getBoundingClientRect().bottom > top + 100);
    const before = read.getBoundingClientRect().top, first = rows.querySelector('[data-seq]').dataset.seq;
    while (rows.querySelector('[data-seq]').dataset.seq === first) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return read.getBoundingClientRect().top - before;
}
"""


def test_a_session_of_twenty_thousand_events_is_read_in_pieces(rows: dict[str, str], page: Page) -> None:
    page.goto(f"/sessions/{rows['long']}")
    live(page)
    assert page.locator("#rows > li").count() < 200
    assert "Step number 19997" in page.inner_text("#rows")
    for _ in range(4):
        moved = page.evaluate(SCROLL_UP)
        assert abs(moved) < 2, f"what was read moved by {moved} px when earlier rows came in"
    assert page.evaluate("Number(document.querySelector('#rows [data-seq]').dataset.seq)") < 19_500
    assert page.locator("#rows > li").count() <= 700

    page.click("text=Search >> visible=true")
    page.fill("#search input", "Step number 4001")
    page.click("#found a")
    expect(page.locator("#rows .found-row")).to_contain_text("Step number 4001")
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    expect(page.locator("#rows")).to_contain_text("Step number 19997", timeout=PATIENCE_MS)
