"""Keys decide what somebody meant and nothing else, in a real browser against the whole of Orchestra."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import stack as stacks
from tests.desk import RESTED_MS, WIDE, Opens, ask, play, seed, statuses
from tests.stack import Stack, until

SENTENCES = (
    "please make a plan before that, and ask again",
    "as it stands this deletes data; say why you need it",
    "just a dry run first, yes?",
    "no. rather use a copy, say /tmp/a",
    "yes but only after the tests are green",
    "jay and kay asked the same yesterday",
    "really? ask ada again, she said a is ready",
    "every key here is 1 a 2 s 3 y",
    "a s e r y",
    "jolly good: keep going, a year has passed already",
)
DELAYS_S = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.62, 0.75, 0.9, 1.0)
LETTERS_S = (0.06, 0.14, 0.2, 0.1, 0.17, 0.06, 0.2, 0.14, 0.2, 0.1)
MIXED = ("low", "high", "question", "plan", "external", "edit", "two", "choice")
LINE = "[data-key-line]"
AT_ONCE = """
keys => keys.forEach(key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("keys")) as running:
        yield running


def typed(pages: list[Page], *, first: str = "j") -> list[tuple[float, Page, str]]:
    """On each page its own sentence, after ``first`` and R, each with its own delay and speed."""
    keys: list[tuple[float, Page, str]] = []
    for page, sentence, delay, gap in zip(pages, SENTENCES, DELAYS_S, LETTERS_S, strict=True):
        if first:
            keys += [(0.0, page, first), (1.0, page, first)]
        keys.append((1.0 + delay, page, "r"))
        keys += [(1.0 + delay + gap * (n + 1), page, letter) for n, letter in enumerate(sentence.replace(" ", "␣"))]
    return [(at, page, "Space" if key == "␣" else key) for at, page, key in keys]


@pytest.mark.parametrize("where", ["front page", "own page", "list"])
def test_a_sentence_typed_after_r_decides_nothing(stack: Stack, opens: Opens, where: str) -> None:
    ids = seed(stack, "low", *MIXED)  # J J stands on one that a single A would approve
    paths = {"front page": "/", "own page": f"/approvals/{ids[0]}", "list": "/approvals?status=pending"}
    pages = [opens(paths[where], **WIDE) for _ in SENTENCES]
    play(typed(pages, first="" if where == "own page" else "j"))
    pages[0].wait_for_timeout(RESTED_MS)
    assert statuses(stack, ids) == ["pending"] * len(ids)
    if where == "own page":
        assert {page.url.rsplit("/", 1)[1] for page in pages} == {ids[0]}, "letters never lead to another request"


def test_a_sentence_typed_on_the_page_of_a_session_decides_nothing(stack: Stack, opens: Opens) -> None:
    seed(stack)
    session = stack.call("POST", "/api/sessions", {"prompt": "Write hello.txt", "agent": "demo"}, expect=201)["id"]
    approval = stack.pending(session)["id"]
    pages = [opens(f"/sessions/{session}", **WIDE) for _ in SENTENCES]
    play(typed(pages))
    pages[0].wait_for_timeout(RESTED_MS)
    assert statuses(stack, [approval]) == ["pending"]
    stack.call("POST", f"/api/sessions/{session}/cancel", {})


def test_a_sentence_typed_before_several_are_decided_together_decides_nothing(stack: Stack, opens: Opens) -> None:
    ids = seed(stack, "external", "external")
    pages = [opens("/approvals?status=pending", **WIDE) for _ in SENTENCES]
    for page in pages:
        for one in ids:
            page.check(f"input[value='{one}']")
        page.click("text=Approve 2 chosen…")
        page.wait_for_url("**/approvals/together")
    play(typed(pages))
    assert statuses(stack, ids) == ["pending", "pending"]


@pytest.mark.parametrize("text", ["approve this one, please", "a", "yes", "ay", "1a", "say", "aa"])
def test_a_burst_of_typing_on_a_chosen_request_decides_nothing(stack: Stack, opens: Opens, text: str) -> None:
    ids = seed(stack, "low", "question")
    page = opens("/", **WIDE)
    page.keyboard.press("j")
    page.wait_for_timeout(RESTED_MS)
    if text == "a":
        page.keyboard.press("a")
        page.keyboard.press("Escape")
        expect(page.locator("#notice")).to_have_text("Stopped. Nothing was done.")
    else:
        page.keyboard.type(text, delay=60)
    page.wait_for_timeout(RESTED_MS)
    assert statuses(stack, ids) == ["pending", "pending"]


@pytest.mark.parametrize("second", [" ", "Backspace", "Tab", "Shift", "ArrowDown", "é"])
def test_any_other_key_takes_back_one_that_waits(stack: Stack, opens: Opens, second: str) -> None:
    (one,) = seed(stack, "low")
    page = opens("/", **WIDE)
    page.keyboard.press("j")
    rested(page.locator(".ask:focus"))
    page.evaluate(AT_ONCE, ["a", second])  # a slow machine may take longer between two keys than the first one waits
    expect(page.locator("#notice")).to_contain_text("nothing was done")
    page.wait_for_timeout(RESTED_MS)
    assert statuses(stack, [one]) == ["pending"]


def test_in_a_field_enter_sends_nothing_and_the_line_says_what_does(stack: Stack, opens: Opens) -> None:
    (one,) = seed(stack, "question")
    page = opens(f"/approvals/{one}", **WIDE)
    rested(page.locator("#question"))
    page.keyboard.press("3")
    expect(page.locator("[name=other_0]")).to_be_focused()
    expect(page.locator(LINE)).to_have_text("Ctrl ↵ sends · Esc stops writing")
    page.keyboard.type("a year")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_have_text("Nothing was sent. Ctrl and Enter send it.")
    assert statuses(stack, [one]) == ["pending"]
    page.keyboard.press("Control+Enter")
    expect(page.locator("#verdict")).to_contain_text("by ada, here")


def test_an_open_fold_takes_only_the_keys_that_its_line_names(stack: Stack, opens: Opens) -> None:
    (one,) = seed(stack, "high")
    page = opens(f"/approvals/{one}", **WIDE)
    rested(page.locator("#question"))
    page.keyboard.press("a")
    expect(page.locator(LINE)).to_have_text("Y runs it once · Esc goes back")
    page.keyboard.press("a")
    expect(page.locator(LINE)).to_have_text("Keys are paused. J goes on")
    expect(page.locator("#decision-sure")).to_have_attribute("open", "")


def test_letters_of_who_types_slowly_never_choose_and_decide(stack: Stack, opens: Opens) -> None:
    ids = seed(stack, "low", "high")
    page = opens("/", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    play([(0.75 * number, page, letter) for number, letter in enumerate("each")])
    page.wait_for_timeout(RESTED_MS)
    assert statuses(stack, ids) == ["pending", "pending"]


def test_a_key_that_comes_too_early_disarms_and_says_so(stack: Stack, opens: Opens) -> None:
    (one,) = seed(stack, "low")
    page = opens("/", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    page.keyboard.press("j")
    page.keyboard.press("r")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("came too early")
    expect(notice).to_have_attribute("role", "status")
    expect(page.locator(LINE)).to_have_text("Keys are paused. J goes on")
    page.wait_for_timeout(RESTED_MS)
    page.keyboard.press("a")
    page.wait_for_timeout(RESTED_MS)
    assert statuses(stack, [one]) == ["pending"]
    page.keyboard.press("j")
    expect(page.locator(LINE)).to_contain_text("A approves · ")
    page.wait_for_timeout(RESTED_MS)
    page.keyboard.press("a")
    expect(page.locator(f"#ask-{one}")).to_contain_text("Approved by ada, here")


def test_a_key_before_j_chooses_the_first_and_says_what_the_next_will_do(stack: Stack, opens: Opens) -> None:
    ids = seed(stack, "low", "high")
    page = opens("/", **WIDE)
    page.keyboard.press("a")
    expect(page.locator("#notice")).to_contain_text("Nothing was decided. Chosen: Run a command in tmp. A approves")
    expect(page.locator(f"#ask-{ids[0]}")).to_be_focused()
    assert statuses(stack, ids) == ["pending", "pending"]
    rested(page.locator(f"#ask-{ids[0]}"))
    page.keyboard.press("a")
    expect(page.locator(f"#ask-{ids[0]}")).to_contain_text("Approved by ada, here")


def test_on_its_own_page_moving_and_deciding_are_two_deliberate_presses(stack: Stack, opens: Opens) -> None:
    ids = seed(stack, "low", "external", "plan")
    page = opens(f"/approvals/{ids[0]}", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    page.keyboard.press("j")
    page.wait_for_url(f"**/approvals/{ids[1]}")
    page.keyboard.press("a")  # still on the way, or too early
    page.wait_for_timeout(RESTED_MS)
    assert statuses(stack, ids) == ["pending"] * 3
    page.wait_for_timeout(RESTED_MS)
    page.keyboard.press("j")  # goes on here, and not to the third
    page.wait_for_timeout(RESTED_MS)
    assert page.url.endswith(ids[1])
    page.keyboard.press("a")
    expect(page.locator("#verdict")).to_contain_text("Approved by ada, here")
    assert statuses(stack, ids) == ["pending", "approved", "pending"]


@pytest.mark.parametrize("where", ["/", "/approvals/{0}"])
def test_control_enter_sends_what_was_typed_and_the_focus_stays(stack: Stack, opens: Opens, where: str) -> None:
    ids = seed(stack, "edit", "edit", "low")
    for number, (key, words) in enumerate([("r", "not there"), ("e", '{"file_path": "/tmp/b", "content": "x"}')]):
        page = opens(where.format(ids[number]), **WIDE)
        if where == "/":
            page.keyboard.press("j")
        rested(page.locator(".ask:focus"))
        page.keyboard.press(key)
        field = page.locator("textarea:focus")
        expect(field).to_be_visible()
        expect(page.locator(LINE).first).to_contain_text("Ctrl ↵ ")
        page.keyboard.press("Control+a")
        page.keyboard.type(words)
        page.keyboard.press("Control+Enter" if key == "r" else "Meta+Enter")
        until(lambda at=number: statuses(stack, ids)[at] != "pending", "it is decided")
        page.wait_for_function("() => document.activeElement !== document.body")
    rejected, edited = (stack.call("GET", f"/api/approvals/{one}") for one in ids[:2])
    assert (rejected["status"], rejected["reason"]) == ("rejected", "not there")
    assert (edited["status"], edited["updated_input"]) == ("approved", {"file_path": "/tmp/b", "content": "x"})


def test_twenty_mixed_requests_are_worked_through_without_a_mouse(stack: Stack, opens: Opens) -> None:
    kinds = (MIXED * 3)[:20]
    ids = seed(stack, *kinds)
    page = opens("/", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    for number, (one, kind) in enumerate(zip(ids, kinds, strict=True)):
        page.keyboard.press("j")
        card = page.locator(f"#ask-{one}")
        expect(card).to_be_focused()
        expect(card).to_have_attribute("data-open", "")
        rested(card)
        box = card.bounding_box()
        assert box and box["y"] > -1, "what is decided is in view"
        if number % 7 == 6:
            page.keyboard.press("r")
            expect(card.locator("textarea:focus")).to_be_visible()
            page.keyboard.type("another way, please")
            page.keyboard.press("Control+Enter")
        else:
            for key in {"high": "ay", "question": "2a", "two": "12a", "choice": "1a"}.get(kind, "a"):
                page.keyboard.press(key)
                if key in "12" or (kind, key) == ("high", "a"):
                    rested(card)
        expect(card).to_have_attribute("data-closed", "")
    ended = statuses(stack, ids)
    assert ended == ["rejected" if number % 7 == 6 else "approved" for number in range(20)]
    given = stack.call("GET", f"/api/approvals/{ids[2]}")["answers"]
    assert given == {"When?": "Tonight"}


def rested(card: Locator) -> None:
    """The line beside the card says what each key will do, so that they do."""
    expect(card.locator(LINE)).to_contain_text(re.compile("^(A|Y|1 to|Ctrl) "))


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)
    page.wait_for_timeout(RESTED_MS)


def test_the_next_request_comes_below_what_was_decided(stack: Stack, opens: Opens) -> None:
    (one,) = seed(stack, "low")
    page = opens("/", **WIDE)
    page.wait_for_timeout(RESTED_MS)
    press(page, "j")
    page.keyboard.press("a")
    expect(page.locator(f"#ask-{one}")).to_have_attribute("data-closed", "")
    two = ask(stack, "And this?", timeout_minutes=5)
    expect(page.locator(f"#ask-{two}")).to_be_visible()
    order = page.evaluate("[...document.querySelectorAll('#asks .ask')].map(card => card.dataset.ask)")
    assert order == [one, two]
